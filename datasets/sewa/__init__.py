"""SEWA: the reader, an AVEC package on disk, and the formats of its files."""
