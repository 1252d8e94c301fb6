"""The embedded demo corpus: synthetic emotional dialogues in an invented language."""

EMOTIONS = ("anger", "happiness", "neutral", "sadness")
FRAME_SECONDS = 0.1
"""Distance of the frames of a trace."""
