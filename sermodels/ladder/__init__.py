"""Ladder networks: a layer's clean values rebuilt from noisy ones and from the layer above."""
