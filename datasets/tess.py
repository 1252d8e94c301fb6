"""TESS, the Toronto emotional speech set: two women say 200 words in seven emotions, 2,800 recordings.

Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)", Borealis, 2020, doi 10.5683/SP2/E8H2MF (CC BY-NC-ND
4.0). Words are in the carrier phrase "Say the word ...".

What is read: names such as `OAF_back_angry.wav` in the root, in its folders (`OAF_angry/`, spelt in several ways), or
one folder below: speaker (OAF, 64 years; YAF, 26), word, emotion (`ps` is pleasant surprise). A few names are misspelt
in the archives: a speaker `OA` or `YA`, other cases of letters. Emotions come from the names, not from the folders.

The counts follow from the design: 2 x 200 x 7. There is no official partition. The split `leave-one-speaker-out` tests
on one woman and trains on the other, who also gives the development set: the words whose place in the alphabet (of all
words found) is divisible by five, or the last one. With two speakers this is the only division without a shared voice,
and it rests on one training voice; all words occur on both sides.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .reading.acted import Named, collect, one_release
from .reading.locate import find_root, need_root, relative, visible
from .schema.corpus import Corpus, Fold, make_table
from .schema.labels import canonical, emotion_task

CITATION = (
    "M. K. Pichora-Fuller and K. Dupuis, 'Toronto emotional speech set (TESS)', Borealis, 2020, doi 10.5683/SP2/E8H2MF"
)
CITES = ("pichora2020tess",)
SPEAKERS = {"OAF": 64, "YAF": 26}
"""Speaker -> age in years."""
MISSPELT = {"OA": "OAF", "YA": "YAF"}
EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
EXPECTED = {"utterances": 2800, "speakers": 2, **{f"emotion={emotion}": 400 for emotion in EMOTIONS}}
TASKS = (
    emotion_task("emotion-7", doc="the seven acted emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_NAME = re.compile(r"(OAF|YAF|OA|YA)_([a-z]+)_([a-z]+)", re.IGNORECASE)
_WHAT = "the folder with TESS's folders OAF_angry to YAF_sad"


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load TESS from its file names.

    Raises
    ------
    SerbenchError
        For a wrong root, an unknown emotion in a name, or two files for one take.
    """
    one_release("tess", release)
    given = need_root(root, "tess", _WHAT)
    base = find_root(
        given,
        lambda folder: bool(_folders(folder)),
        dataset="tess",
        looked_for="files such as OAF_back_angry.wav, there or in folders such as OAF_angry",
        archives=("*",),
    )
    named = collect((folder, parse_name) for folder in _folders(base))
    table = pd.DataFrame(_rows(base, named)).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "tess", "the file names")
    return Corpus(
        name="tess",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={"leave-one-speaker-out": _folds()},
        licence="CC BY-NC-ND 4.0",
        citation=CITATION,
        homepage="https://doi.org/10.5683/SP2/E8H2MF",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "two speakers: a score rests on one training voice, and every word is heard in training and in test",
            *named.notes("OAF_back_angry"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, str, str]] | None:
    """Id, and speaker, word and emotion code of a file name; None for a name of another form.

    The id has the spelling of the majority: `OA_bite_neutral` is `OAF_bite_neutral`.
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    speaker, word, emotion = match[1].upper(), match[2].lower(), match[3].lower()
    speaker = MISSPELT.get(speaker, speaker)
    return f"{speaker}_{word}_{emotion}", (speaker, word, emotion)


def _folders(folder: Path) -> list[Path]:
    """The folder itself and those in it, where they hold files that are named like TESS's."""
    candidates = [folder, *(Path(e.path) for e in visible(folder) if e.is_dir())]
    return [c for c in candidates if any(e.is_file() and _NAME.fullmatch(Path(e.name).stem) for e in visible(c))]


def _rows(base: Path, named: Named[tuple[str, str, str]]) -> list[dict[str, object]]:
    words = sorted({word for _, (_, word, _) in named.files.values()})
    held = set(words[4::5] or words[-1:])
    return [
        {
            "id": item,
            "path": relative(base, path),
            "speaker": speaker,
            "gender": "female",
            "language": "en",
            "text": f"Say the word {word}.",
            "raw_emotion": emotion,
            "word": word,
            "age": SPEAKERS[speaker],
            "selection": "dev" if word in held else "train",
        }
        for item, (path, (speaker, word, emotion)) in named.files.items()
    ]


def _folds() -> tuple[Fold, ...]:
    pairs = zip(SPEAKERS, reversed(SPEAKERS), strict=True)
    return tuple(
        Fold(
            f"speaker-{tested}",
            test={"speaker": (tested,)},
            dev={"speaker": (other,), "selection": ("dev",)},
            train={"speaker": (other,), "selection": ("train",)},
        )
        for tested, other in pairs
    )
