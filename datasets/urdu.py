"""URDU: 400 utterances of Urdu talk shows in four emotions, 100 of each.

Latif, Qayyum, Usman and Qadir, "Cross Lingual Speech Emotion Recognition: Urdu vs. Western Languages", FIT 2018,
arXiv 1812.10411; files at https://github.com/siddiquelatif/URDU-Dataset (its README: "only for research purposes").

What is read: names such as `Angry/SM1_F4_A04.wav`, in the root or in folders below it: S, gender (M or F) and number of
the speaker, number of the file of that speaker, emotion letter (A, H, N, S) and number of the file in that emotion.
Emotions come from the names, not from the folders.

Grammar and counts are those of the authors' repository, README and all 400 names. The README speaks of 38 speakers;
the names tell 29 (EmoBox's list of corpora says 29 too).

Mind the voices: 26 of the 29 speakers have one emotion only, and a few have most of it (SM5 alone says 72 of the 100
neutral utterances). A split that shares speakers is solved by knowing the voice, so published accuracies near .9 on
random splits say little of emotion. The split here, `speaker-folds`, has three folds without a shared speaker, dealt
out so that every fold has every emotion (`reading.acted.balanced_folds`).
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .reading.acted import balanced_folds, gather, one_release
from .reading.locate import relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task

CITATION = (
    "S. Latif, A. Qayyum, M. Usman and J. Qadir, 'Cross Lingual Speech Emotion Recognition: Urdu vs. Western "
    "Languages', International Conference on Frontiers of Information Technology, 2018, arXiv 1812.10411"
)
CITES = ("latif2018urdu",)
FOLDS = 3
EXPECTED = {
    "utterances": 400,
    "speakers": 29,
    "emotion=anger": 100,
    "emotion=happiness": 100,
    "emotion=neutral": 100,
    "emotion=sadness": 100,
}
TASKS = (emotion_task("emotion-4", doc="the four emotions"),)
TASK_NAMES = ("emotion",)
_NAME = re.compile(r"(S([MF])\d+)_F(\d+)_([AHNS])(\d+)", re.IGNORECASE)


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load URDU from its file names.

    Raises
    ------
    SerbenchError
        For a wrong root, or two files of one name.
    """
    one_release("urdu", release)
    base, named = gather(
        root,
        parse_name,
        dataset="urdu",
        what="a clone of URDU-Dataset, with the folders Angry, Happy, Neutral and Sad",
        like="Angry/SM1_F4_A04.wav",
        archives=("*urdu*",),
    )
    rows = [
        {
            "id": item,
            "path": relative(base, path),
            "speaker": speaker,
            "gender": "male" if speaker[1] == "M" else "female",
            "language": "ur",
            "raw_emotion": letter,
        }
        for item, (path, (speaker, letter)) in named.files.items()
    ]
    table = pd.DataFrame(rows).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "urdu", "the file names")
    table["fold"] = table["speaker"].map(balanced_folds(table["speaker"], table["emotion"], FOLDS))
    return Corpus(
        name="urdu",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"speaker-folds": rotation("fold", sorted(set(table["fold"])))},
        licence="free for research only",
        citation=CITATION,
        homepage="https://github.com/siddiquelatif/URDU-Dataset",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "most speakers have one emotion only: a split that shares speakers is solved by knowing the voice",
            *named.notes("SM1_F4_A04"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, str]] | None:
    """Id, and speaker and emotion letter of a file name; None for a name of another form."""
    match = _NAME.fullmatch(stem)
    return None if match is None else (stem.upper(), (match[1].upper(), match[4].upper()))
