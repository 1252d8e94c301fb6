"""Maps between two spaces of word vectors, with a verdict on whether they worked."""
