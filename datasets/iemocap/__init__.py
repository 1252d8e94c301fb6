"""IEMOCAP: the reader, and the formats of its files."""
