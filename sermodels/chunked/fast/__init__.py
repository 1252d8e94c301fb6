"""The encoder of the DeepEmoCluster family, faster: the same numbers as the plain convolutions."""
