"""JL-Corpus: four New Zealand speakers say sentences in five primary and five secondary emotions, 2,400 recordings.

James, Tian and Watson, "An Open Source Emotional Speech Corpus for Human Robot Interaction Applications", Interspeech
2018, pages 2768-2772, doi 10.21437/Interspeech.2018-1349; files at https://www.kaggle.com/datasets/tli725/jl-corpus
(listed as CC0 1.0), described at https://github.com/tli725/JL-Corpus.

What is read: names such as `female1_angry_10a_1.wav`, in the root or in folders below it (`Raw JL corpus (unchecked and
unannotated)/JL(wav+txt)`): speaker, emotion, sentence with its repetition (a, b), session (1, 2); and the text file of
the same name beside it, where it is there.

Primary emotions are angry, sad, neutral, happy and excited; secondary ones anxious, apologetic, assertive, concerned
and encouraging, which count as `other` among the canonical emotions.

The grammar is confirmed on the 2,400 names of EmoBox's list (240 of each emotion, 600 of each speaker). What the letter
behind the sentence stands for is not documented there; it is kept in `take` with the session.

There is no official partition. The split `leave-one-speaker-out` has four folds: two voices are trained on. Sentences
are common to all speakers and to the primary emotions; the secondary ones have two sentences of their own each.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .reading.acted import gather, one_release
from .reading.locate import relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import VOCABULARIES, canonical, emotion_task
from .schema.task import Task

CITATION = (
    "J. James, L. Tian and C. I. Watson, 'An Open Source Emotional Speech Corpus for Human Robot Interaction "
    "Applications', Interspeech 2018, pp. 2768-2772, doi 10.21437/Interspeech.2018-1349"
)
CITES = ("james2018jl",)
PRIMARY = ("anger", "excitement", "happiness", "neutral", "sadness")
ALL = tuple(sorted(VOCABULARIES["jl-corpus"]))
EXPECTED = {"utterances": 2400, "speakers": 4, **{f"raw_emotion={emotion}": 240 for emotion in ALL}}
TASKS = (
    Task("emotion", "classification", ("emotion",), PRIMARY, doc="the five primary emotions"),
    Task("emotion-10", "classification", ("emotion",), ALL, "raw_emotion", doc="primary and secondary emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness with excitement, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-10", "emotion-4")
_NAME = re.compile(r"((?:fe)?male[12])_([a-z]+)_(\d+)([ab])_([12])", re.IGNORECASE)


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load the JL-Corpus from its file names, with the texts that are there.

    Raises
    ------
    SerbenchError
        For a wrong root, an unknown emotion in a name, or two files of one name.
    """
    one_release("jl-corpus", release)
    base, named = gather(
        root,
        parse_name,
        dataset="jl-corpus",
        what="the folder that the JL-Corpus was unpacked into",
        like="JL(wav+txt)/female1_angry_10a_1.wav",
        archives=("*jl*", "archive*"),
    )
    rows = [
        {
            "id": item,
            "path": relative(base, path),
            "speaker": speaker,
            "gender": speaker[:-1],
            "language": "en",
            "text": _text(path),
            "raw_emotion": emotion,
            "sentence": sentence,
            "take": take,
        }
        for item, (path, (speaker, emotion, sentence, take)) in named.files.items()
    ]
    table = pd.DataFrame(rows).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "jl-corpus", "the file names")
    return Corpus(
        name="jl-corpus",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"])))},
        licence="CC0 1.0",
        citation=CITATION,
        homepage="https://www.kaggle.com/datasets/tli725/jl-corpus",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "four speakers: a score rests on two training voices",
            *named.notes("female1_angry_10a_1"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, str, str, str]] | None:
    """Id, and speaker, emotion, sentence and take of a file name; None for a name of another form."""
    match = _NAME.fullmatch(stem.lower())
    return None if match is None else (stem.lower(), (match[1], match[2], match[3], f"{match[4]}{match[5]}"))


def _text(path: Path) -> str | None:
    """The text file beside a sound file."""
    beside = path.with_suffix(".txt")
    return (beside.read_bytes().decode("utf-8-sig", "replace").strip() or None) if beside.is_file() else None
