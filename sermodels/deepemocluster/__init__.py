"""DeepEmoCluster: the model, and the import of the networks that its authors released."""
