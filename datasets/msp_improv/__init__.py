"""MSP-IMPROV: the reader, and its label file."""
