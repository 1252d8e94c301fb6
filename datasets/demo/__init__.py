"""The embedded demo corpus: synthetic emotional dialogues in an invented language."""
