"""The convolutions of semantic fusion, faster: the same numbers as the plain ones."""
