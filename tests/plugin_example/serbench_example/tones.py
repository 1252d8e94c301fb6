"""Tones, a corpus of synthetic voices that serves as an example: `tones.csv` and the sound files that it names.

Licence: MIT. The columns of `tones.csv` are file, speaker, gender, partition, emotion (A anger, S sadness, N neutral),
arousal (1 to 5), text. Words share the time of their utterance evenly.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from serbench.datasets.reading.acted import one_release
from serbench.datasets.reading.label_files import numbers, read_columns
from serbench.datasets.reading.locate import need_root, refuse_escapes, require
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, make_table
from serbench.datasets.schema.labels import canonical
from serbench.datasets.schema.task import Task, attribute_tasks

CODES = {"A": "anger", "N": "neutral", "S": "sadness"}
SCALES = {"arousal": (1.0, 5.0)}
TASKS = (
    Task("emotion", "classification", ("emotion",), tuple(sorted(CODES.values())), doc="three emotions"),
    *attribute_tasks(("arousal",), SCALES),
)
TASK_NAMES = ("emotion", "attributes", "arousal")
COLUMNS = ("file", "speaker", "gender", "partition", "emotion", "arousal", "text")


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load the corpus from the folder that holds tones.csv; no sound is opened."""
    one_release("tones", release)
    base = need_root(root, "tones", "the folder with tones.csv")
    file = require(base, ("tones.csv",), "file", dataset="tones")
    table = read_columns(file, COLUMNS)
    refuse_escapes(table["file"], str(file))
    table.index = pd.Index(table["file"].str.removesuffix(".wav"), name="id")
    emotion = canonical(table["emotion"], "tones", str(file), CODES)
    table = table.rename(columns={"file": "path", "emotion": "raw_emotion"})
    table = table.assign(emotion=emotion, language="en", arousal=numbers(table["arousal"], str(file)))
    return Corpus(
        name="tones",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"official": (OFFICIAL,)},
        scales=SCALES,
        licence="MIT",
        citation="The example corpus of serbench's example of a plug-in",
        expected={"utterances": 60, "speakers": 10},
        word_source=partial(_words, base, table["text"].to_dict()),
    )


def _words(base: Path, texts: dict[str, str], item: str) -> pd.DataFrame:
    said = str(texts[item]).split()
    edges = np.linspace(0.0, soundfile.info(base / f"{item}.wav").duration, len(said) + 1)
    return pd.DataFrame({"word": said, "start": edges[:-1], "end": edges[1:], "source": "spread"})
