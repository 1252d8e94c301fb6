"""SUBESCO, the SUST Bangla emotional speech corpus: 20 actors, ten sentences, seven emotions, 7,000 recordings.

Sultana, Rahman, Selim and Iqbal, "SUST Bangla Emotional Speech Corpus (SUBESCO): An audio-only emotional speech corpus
for Bangla", PLoS ONE 16(4): e0250173, 2021, doi 10.1371/journal.pone.0250173; files at
https://zenodo.org/records/4526477 (CC BY 4.0; the hub's card says so too).

What is read: names such as `F_02_MONIKA_S_1_NEUTRAL_5.wav`, in the root or in folders below it: gender, number and name
of the speaker, S and sentence, emotion, take (1 to 5). A number is used once for a woman and once for a man, so the
speaker is F_02. One published name is misspelt, `F_02_MONIKA_S_2_SURPRISE_3].wav`: the bracket is left out of its id.

The grammar is that of the card at the hub, confirmed on the 7,000 names of EmoBox's list. The counts follow from the
design: 20 x 10 x 7 x 5.

There is no official partition. The split `speaker-folds` has five folds of two women and two men each, in the order of
their numbers; `leave-one-speaker-out` has twenty. Every sentence occurs in every fold and emotion.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .reading.acted import gather, one_release, speaker_folds
from .reading.locate import relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task

CITATION = (
    "S. Sultana, M. S. Rahman, M. R. Selim and M. Z. Iqbal, 'SUST Bangla Emotional Speech Corpus (SUBESCO): An "
    "audio-only emotional speech corpus for Bangla', PLoS ONE 16(4): e0250173, 2021, "
    "doi 10.1371/journal.pone.0250173"
)
CITES = ("sultana2021subesco",)
EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
FOLDS = 5
EXPECTED = {"utterances": 7000, "speakers": 20, **{f"emotion={emotion}": 1000 for emotion in EMOTIONS}}
TASKS = (
    emotion_task("emotion-7", doc="the seven acted emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_NAME = re.compile(r"([FM]_\d\d)_([A-Z]+)_S_(\d+)_([A-Z]+)_(\d)\]?")


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load SUBESCO from its file names.

    Raises
    ------
    SerbenchError
        For a wrong root, an unknown emotion in a name, or two files of one take.
    """
    one_release("subesco", release)
    base, named = gather(
        root,
        parse_name,
        dataset="subesco",
        what="the folder that SUBESCO was unpacked into",
        like="F_02_MONIKA_S_1_NEUTRAL_5.wav",
        archives=("*subesco*",),
    )
    rows = [
        {
            "id": item,
            "path": relative(base, path),
            "speaker": speaker,
            "gender": "female" if speaker[0] == "F" else "male",
            "language": "bn",
            "raw_emotion": emotion,
            "sentence": sentence,
        }
        for item, (path, (speaker, sentence, emotion)) in named.files.items()
    ]
    table = pd.DataFrame(rows).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "subesco", "the file names")
    genders = dict(zip(table["speaker"], table["gender"], strict=True))
    table["fold"] = table["speaker"].map(speaker_folds(genders, FOLDS))
    return Corpus(
        name="subesco",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={
            "speaker-folds": rotation("fold", sorted(set(table["fold"]))),
            "leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"]))),
        },
        licence="CC BY 4.0",
        citation=CITATION,
        homepage="https://zenodo.org/records/4526477",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "ten sentences are said by everybody in every emotion",
            *named.notes("F_02_MONIKA_S_1_NEUTRAL_5"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, str, str]] | None:
    """Id, and speaker, sentence and emotion of a file name; None for a name of another form."""
    match = _NAME.fullmatch(stem.upper())
    return None if match is None else (stem.upper().removesuffix("]"), (match[1], match[3], match[4]))
