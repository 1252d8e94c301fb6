"""Changes of the waveform before features are made: noise, rooms, codecs, levels, cuts, speed and pitch."""
