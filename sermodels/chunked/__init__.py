"""What the DeepEmoCluster family shares: sentences as chunks, encoder and heads, decoder."""
