"""SAVEE, Surrey audio-visual expressed emotion: four men say 120 sentences each in seven emotions, 480 recordings.

Haq and Jackson, "Speaker-dependent audio-visual emotion recognition", AVSP 2009, and "Multimodal emotion recognition",
in Machine Audition, IGI Global, 2010, doi 10.4018/978-1-61520-919-4.ch017; free for research after registration at
http://kahlan.eps.surrey.ac.uk/savee/.

What is read, in the root or one folder below it: `AudioData/DC/a01.wav` (a folder for each of DC, JE, JK, KL) or, flat,
`DC_a01.wav`: emotion (a anger, d disgust, f fear, h happiness, n neutral, sa sadness, su surprise) and number.

The counts follow from the design: per speaker 15 sentences in each of six emotions and 30 neutral ones. There is no
official partition; the split `leave-one-speaker-out` has four folds. Sentences are partly common to emotions and
speakers; which text a number stands for is not in the files, so `text` is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from .reading.acted import AUDIO, Named, collect, one_release
from .reading.locate import files_in, find, find_root, need_root, relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task

CITATION = (
    "S. Haq and P. J. B. Jackson, 'Multimodal emotion recognition', in W. Wang (ed.), Machine Audition: Principles, "
    "Algorithms and Systems, IGI Global, 2010, pp. 398-423, doi 10.4018/978-1-61520-919-4.ch017"
)
CITES = ("haq2010savee",)
SPEAKERS = ("DC", "JE", "JK", "KL")
EXPECTED = {
    "utterances": 480,
    "speakers": 4,
    "emotion=neutral": 120,
    "emotion=anger": 60,
    "emotion=disgust": 60,
    "emotion=fear": 60,
    "emotion=happiness": 60,
    "emotion=sadness": 60,
    "emotion=surprise": 60,
}
TASKS = (
    emotion_task("emotion-7", doc="the seven acted emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_NUMBERED = r"([a-z]{1,2})(\d\d)"
_FLAT = re.compile(rf"({'|'.join(SPEAKERS)})_{_NUMBERED}", re.IGNORECASE)
_NESTED = re.compile(_NUMBERED, re.IGNORECASE)
_WHAT = "the folder AudioData with the folders DC, JE, JK and KL, or one with files such as DC_a01.wav"

Parts = tuple[str, str, str]


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load SAVEE from its file names.

    Raises
    ------
    SerbenchError
        For a wrong root, an unknown emotion in a name, or two files for one take.
    """
    one_release("savee", release)
    base = find_root(
        need_root(root, "savee", _WHAT),
        lambda folder: bool(_read(folder).files),
        dataset="savee",
        looked_for="files such as DC/a01.wav or DC_a01.wav",
        archives=("*savee*", "audiodata*", "all*"),
    )
    named = _read(base)
    table = pd.DataFrame(
        [
            {
                "id": item,
                "path": relative(base, path),
                "speaker": speaker,
                "gender": "male",
                "language": "en",
                "raw_emotion": code,
                "number": int(number),
            }
            for item, (path, (speaker, code, number)) in named.files.items()
        ]
    ).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "savee", "the file names")
    return Corpus(
        name="savee",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"])))},
        licence="free for research after registration",
        citation=CITATION,
        homepage="http://kahlan.eps.surrey.ac.uk/savee/",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "four speakers, all men",
            *named.notes("DC/a01 or DC_a01"),
        ),
    )


def _read(folder: Path) -> Named[Parts]:
    """Files of both layouts."""
    inner = find(folder, ("audiodata", "audio", "all"))
    places = [folder, *([inner] if inner else [])]
    nested = [(s, own) for place in places for s in SPEAKERS if (own := find(place, (s,)))]
    flat = [(place, _flat) for place in places if _is_flat(place)]
    return collect([*flat, *((own, _nested(speaker)) for speaker, own in nested)])


def _is_flat(folder: Path) -> bool:
    return any(_FLAT.fullmatch(path.stem) for path in files_in(folder, *AUDIO))


def _flat(stem: str) -> tuple[str, Parts] | None:
    match = _FLAT.fullmatch(stem)
    return None if match is None else _identify(match[1], match[2], match[3])


def _nested(speaker: str) -> Callable[[str], tuple[str, Parts] | None]:
    def parse(stem: str) -> tuple[str, Parts] | None:
        match = _NESTED.fullmatch(stem)
        return None if match is None else _identify(speaker, match[1], match[2])

    return parse


def _identify(speaker: str, code: str, number: str) -> tuple[str, Parts]:
    parts = (speaker.upper(), code.lower(), number)
    return f"{parts[0]}_{parts[1]}{number}", parts
