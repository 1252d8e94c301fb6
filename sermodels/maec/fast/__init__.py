"""The blocks and the GRU of MAEC, faster: the same numbers as `maec/layers.py`."""
