"""The blocks and the LSTM of semantic fusion, faster: the same numbers as `semantic_fusion/layers.py`."""
