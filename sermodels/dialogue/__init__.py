"""Models that read the frames of turns, one turn or several of a dialogue: their settings, base and layers."""
