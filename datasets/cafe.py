"""CaFE, the Canadian French emotional speech dataset: 12 actors, six sentences, seven emotions, 936 recordings.

Gournay, Lahaie and Lefebvre, "A Canadian French Emotional Speech Dataset", ACM Multimedia Systems Conference 2018,
pages 399-402, doi 10.1145/3204949.3208121; files at https://zenodo.org/records/1478765 (listed as CC BY-NC-SA 4.0).

What is read: names such as `Peur/Fort/06-P-2-5.wav`, in the root or in folders below it: actor (01 to 12; odd a man,
even a woman), emotion letter (C anger, D disgust, J happiness, N neutral, P fear, S surprise, T sadness), intensity (1
faible, 2 fort; neutral has 1 alone), sentence (1 to 6). Folder names are not read: some programs unpack their accents
(`Colère`) wrongly. `CaFE_48k` has wav files, `CaFE_192k` AIFF files of the same takes: unpack one of them.

The grammar is confirmed on the 936 names of EmoBox's list; the actors' gender and the sentences are those that the
readers of nkululeko and Strong-AI-Lab/emotion agree on. The counts follow from the design: 12 x 6 x (6 x 2 + 1).

There is no official partition. The split `leave-two-actors-out` has six folds of a man and a woman each (01 and 02, 03
and 04 ...), `leave-one-speaker-out` twelve. Every sentence occurs in every fold and emotion.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from .reading.acted import AUDIO, gather, one_release
from .reading.locate import relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task

CITATION = (
    "P. Gournay, O. Lahaie and R. Lefebvre, 'A Canadian French Emotional Speech Dataset', ACM Multimedia Systems "
    "Conference, 2018, pp. 399-402, doi 10.1145/3204949.3208121"
)
CITES = ("gournay2018cafe",)
SENTENCES = {
    "1": "Un cheval fou dans mon jardin.",
    "2": "Deux ânes aigris au pelage brun.",
    "3": "Trois cygnes aveugles au bord du lac.",
    "4": "Quatre vieilles truies éléphantesques.",
    "5": "Cinq pumas fiers et passionnés.",
    "6": "Six ours aimants domestiqués.",
}
INTENSITIES = {"1": "mild", "2": "strong"}
ACTED = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
EXPECTED = {
    "utterances": 936,
    "speakers": 12,
    "emotion=neutral": 72,
    **{f"emotion={emotion}": 144 for emotion in ACTED},
}
TASKS = (
    emotion_task("emotion-7", doc="the seven acted emotions"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-4")
_NAME = re.compile(r"(0[1-9]|1[0-2])-([CDJNPST])-([12])-([1-6])", re.IGNORECASE)


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load CaFE from its file names.

    Raises
    ------
    SerbenchError
        For a wrong root, or two files of one take.
    """
    one_release("cafe", release)
    base, named = gather(
        root,
        parse_name,
        dataset="cafe",
        what="the folder that CaFE_48k.zip was unpacked into",
        like="Peur/Fort/06-P-2-5.wav",
        archives=("*cafe*",),
        endings=(*AUDIO, ".aiff", ".aif"),
    )
    table = pd.DataFrame([_row(item, relative(base, path), name) for item, (path, name) in named.files.items()])
    table = table.set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "cafe", "the file names")
    return Corpus(
        name="cafe",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={
            "leave-two-actors-out": rotation("pair", sorted(set(table["pair"]))),
            "leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"]))),
        },
        licence="CC BY-NC-SA 4.0",
        citation=CITATION,
        homepage="https://zenodo.org/records/1478765",
        expected=EXPECTED,
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "six sentences are said by everybody in every emotion",
            *named.notes("06-P-2-5"),
        ),
    )


def parse_name(stem: str) -> tuple[str, tuple[str, str, str, str]] | None:
    """Id, and actor, emotion letter, intensity and sentence of a file name; None for a name of another form."""
    match = _NAME.fullmatch(stem.upper())
    return None if match is None else (stem.upper(), (match[1], match[2], match[3], match[4]))


def _row(item: str, path: str, name: tuple[str, str, str, str]) -> dict[str, object]:
    actor, letter, intensity, sentence = name
    first = (int(actor) - 1) // 2 * 2 + 1
    return {
        "id": item,
        "path": path,
        "speaker": actor,
        "gender": "male" if int(actor) % 2 else "female",
        "language": "fr",
        "text": SENTENCES[sentence],
        "raw_emotion": letter,
        "intensity": INTENSITIES[intensity],
        "sentence": sentence,
        "pair": f"{first:02d}+{first + 1:02d}",
    }
