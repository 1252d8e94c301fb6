"""ShEMO, the Sharif emotional speech database: 3,000 utterances of Persian radio plays, 87 speakers, six emotions.

Mohamad Nezami, Jamshid Lou and Karami, "ShEMO: a large-scale validated database for Persian speech emotion detection",
Language Resources and Evaluation 53(1), 2019, doi 10.1007/s10579-018-9427-x; files at
https://github.com/mansourehk/ShEMO and https://github.com/pariajm/sharif-emotional-speech-database ("available for
academic purposes free of charge").

What is read: names such as `female/F03S02.wav`, in the root or in folders below it: gender and number of the speaker,
emotion letter (A anger, F fear, H happiness, N neutral, S sadness, W surprise) and number of the utterance; and the
orthographic transcripts `transcript/final text/F03S02.ort` (UTF-8) where they are there.

The grammar is that of the authors' README, confirmed on the 3,000 names of their transcripts, which also give 87
speakers. No count per emotion is checked: the classes of those names and of the paper's table differ. EmoBox uses
2,838 of the 3,000.

There is no official partition. The split `speaker-folds` has five folds without a shared speaker, dealt out so that
each has about a fifth of every emotion: speakers say 1 to 160 utterances, and all of them together only 32 of fear.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .reading.acted import balanced_folds, folders, gather, one_release
from .reading.locate import files_in, relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task
from .schema.task import Task

CITATION = (
    "O. Mohamad Nezami, P. Jamshid Lou and M. Karami, 'ShEMO: a large-scale validated database for Persian speech "
    "emotion detection', Language Resources and Evaluation 53(1):1-16, 2019, doi 10.1007/s10579-018-9427-x"
)
CITES = ("nezami2019shemo",)
LABELS = ("anger", "fear", "happiness", "neutral", "sadness", "surprise")
FOLDS = 5
EXPECTED = {"utterances": 3000, "speakers": 87}
TASKS = (
    Task("emotion", "classification", ("emotion",), LABELS, doc="all six emotions; fear is rare"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_NAME = re.compile(r"([FM]\d\d)([AFHNSW])(\d\d\d?)", re.IGNORECASE)
_MARKS = str.maketrans("", "", "\ufeff\u200e\u200f")
"""Byte-order and direction marks, which are no text."""


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load ShEMO from its file names, with the transcripts that are there.

    Raises
    ------
    SerbenchError
        For a wrong root, or two files of one name.
    """
    one_release("shemo", release)
    base, named = gather(
        root,
        parse_name,
        dataset="shemo",
        what="the folder that holds female and male of ShEMO",
        like="female/F03S02.wav",
        archives=("female*", "male*", "*shemo*"),
    )
    texts = _texts(base)
    rows = [
        {
            "id": item,
            "path": relative(base, path),
            "speaker": speaker,
            "gender": "female" if speaker[0] == "F" else "male",
            "language": "fa",
            "text": texts.get(item),
            "raw_emotion": letter,
        }
        for item, (path, (speaker, letter)) in named.files.items()
    ]
    table = pd.DataFrame(rows).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "shemo", "the file names")
    table["fold"] = table["speaker"].map(balanced_folds(table["speaker"], table["emotion"], FOLDS))
    silent = sorted(set(texts) - set(table.index))
    return Corpus(
        name="shemo",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"speaker-folds": rotation("fold", sorted(set(table["fold"])))},
        licence="free of charge for academic purposes",
        citation=CITATION,
        homepage="https://github.com/mansourehk/ShEMO",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            *((f"{len(silent)} transcripts have no sound file, such as {silent[0]}",) if silent else ()),
            *(() if texts else ("no transcripts were found (transcript/final text/*.ort)",)),
            *named.notes("F03S02"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, str]] | None:
    """Id, and speaker and emotion letter of a file name; None for a name of another form."""
    match = _NAME.fullmatch(stem)
    return None if match is None else (stem.upper(), (match[1].upper(), match[2].upper()))


def _texts(base: Path) -> dict[str, str]:
    """Id -> transcript of the .ort files."""
    files = [path for folder in folders(base) for path in files_in(folder, ".ort")]
    texts = {path.stem.upper(): path.read_bytes().decode("utf-8", "replace") for path in files}
    return {item: text.translate(_MARKS).strip() for item, text in texts.items()}
