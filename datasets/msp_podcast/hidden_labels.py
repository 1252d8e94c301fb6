"""What a submission for Test3 of MSP-Podcast holds, whose labels are kept back: columns of `labels_consensus.csv`."""

from ..schema.labels import VOCABULARIES

FILE_COLUMN, CLASS_COLUMN = "FileName", "EmoClass"
ATTRIBUTE_COLUMNS = {"EmoAct": "arousal", "EmoVal": "valence", "EmoDom": "dominance"}
"""In the order of the file."""
CODES = {emotion: code for code, emotion in VOCABULARIES["msp-podcast"].items() if emotion}
