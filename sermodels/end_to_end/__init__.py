"""What models share that learn from the waveform or the spectrogram: items in pieces, the training of them, layers."""
