"""Semantic fusion: the model, its network, sound and words on the grid of label frames."""
