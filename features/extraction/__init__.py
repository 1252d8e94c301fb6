"""From rows of a corpus to a table of features: looked up, made in processes, or laid out from words."""
