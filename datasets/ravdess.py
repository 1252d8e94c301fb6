"""RAVDESS: 24 actors speak (and sing) two sentences in eight emotions and two intensities, 1,440 spoken recordings.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", PLoS ONE 13(5):
e0196391, 2018, doi 10.1371/journal.pone.0196391; files at https://zenodo.org/records/1188976 (CC BY-NC-SA 4.0).

What is read: names such as `Actor_12/03-01-06-01-02-01-12.wav`, in the root or one folder below it: modality (03 is
sound alone), channel (01 speech, 02 song), emotion (01 neutral, 02 calm, 03 happy, 04 sad, 05 angry, 06 fearful, 07
disgust, 08 surprised), intensity (01 normal, 02 strong; neutral has 01 alone), statement, repetition, actor (odd a man,
even a woman). The actor is taken from the name, not from the folder. Sound tracks of the videos (modality 01, 02) are
left out: they are the same takes.

The counts follow from the design: 24 actors x 2 statements x 2 repetitions x (7 emotions x 2 intensities + neutral).

There is no official partition. The split `leave-four-actors-out` has six folds of actors 1-4, 5-8 ... 21-24, two women
and two men each, of 240 recordings. Both texts occur in every fold, so text alone tells nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .core.errors import SerbenchError, unknown
from .reading.acted import collect, one_release
from .reading.locate import find_root, need_root, relative, visible
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import canonical, emotion_task
from .schema.task import Task

CITATION = (
    "S. R. Livingstone and F. A. Russo, 'The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS): "
    "A dynamic, multimodal set of facial and vocal expressions in North American English', PLoS ONE 13(5): e0196391, "
    "2018, doi 10.1371/journal.pone.0196391"
)
CITES = ("livingstone2018ravdess",)
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
INTENSITIES = {"01": "normal", "02": "strong"}
CHANNELS = {"speech": ("01",), "song": ("02",), "both": ("01", "02")}
_LEFT_OUT = {"speech": ("*/03-02-*",), "song": ("*/03-01-*",), "both": ()}
LABELS = ("anger", "calm", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
EXPECTED = {
    "utterances": 1440,
    "speakers": 24,
    "emotion=neutral": 96,
    "emotion=calm": 192,
    "emotion=happiness": 192,
    "emotion=sadness": 192,
    "emotion=anger": 192,
    "emotion=fear": 192,
    "emotion=disgust": 192,
    "emotion=surprise": 192,
}
TASKS = (
    Task("emotion", "classification", ("emotion",), LABELS, doc="the eight acted emotions"),
    emotion_task("emotion-7", "emotion-7", doc="without calm"),
    emotion_task("emotion-4", "emotion-4", doc="anger, happiness, neutral, sadness"),
)
TASK_NAMES = ("emotion", "emotion-7", "emotion-4")
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")
_ACTOR = re.compile(r"actor[_ -]?(\d\d?)", re.IGNORECASE)
_WHAT = "the folder that holds Actor_01 to Actor_24"


@dataclass(frozen=True)
class Name:
    """The seven numbers of a file name."""

    modality: str
    channel: str
    emotion: str
    intensity: str
    statement: str
    repetition: str
    actor: str


def load(root: Path | None, release: str | None = None, *, channel: str = "speech") -> Corpus:
    """Load RAVDESS from its file names.

    Parameters
    ----------
    channel : "speech" (1,440 recordings), "song" (five emotions and neutral) or "both"

    Raises
    ------
    SerbenchError
        For a wrong root, a name with an unknown code, or two files of one name.
    """
    one_release("ravdess", release)
    if channel not in CHANNELS:
        raise unknown("value of channel", channel, CHANNELS)
    base = find_root(
        need_root(root, "ravdess", _WHAT),
        lambda folder: bool(_actors(folder)),
        dataset="ravdess",
        looked_for="folders Actor_01 to Actor_24 with files such as 03-01-06-01-02-01-12.wav",
        archives=("audio_speech_actors*", "audio_song_actors*", "*ravdess*", "actor*"),
    )
    named = collect((folder, parse_name) for folder in _actors(base))
    chosen = {i: f for i, f in named.files.items() if f[1].modality == "03" and f[1].channel in CHANNELS[channel]}
    if not chosen:
        raise SerbenchError(
            f"ravdess: {len(named.files)} files follow the grammar in {str(base)!r}, but none is sound alone of "
            f"channel={channel}. Expected names that begin with 03-01 (speech) or 03-02 (song)."
        )
    table = pd.DataFrame([_row(base, item, *file) for item, file in chosen.items()]).set_index("id")
    table["emotion"] = canonical(table["raw_emotion"], "ravdess", "the file names")
    left = len(named.files) - len(chosen)
    return Corpus(
        name="ravdess",
        release="",
        root=base,
        utterances=make_table(table),
        tasks=TASKS,
        splits={
            "leave-four-actors-out": rotation("fold", sorted(set(table["fold"]))),
            "leave-one-speaker-out": rotation("speaker", sorted(set(table["speaker"]))),
        },
        licence="CC BY-NC-SA 4.0",
        citation=CITATION,
        homepage="https://zenodo.org/records/1188976",
        expected=EXPECTED if channel == "speech" else {},
        further=("*/0[12]-*", *_LEFT_OUT[channel]),
        notes=(
            "the labels are in the file names: a file that is gone is not in the table",
            "two sentences are said by everybody in every emotion",
            *((f"{left} files of other modalities or channels were left out",) if left else ()),
            *named.notes("03-01-06-01-02-01-12"),
        ),
    )


def parse_name(stem: str) -> tuple[str, Name] | None:
    """Id and numbers of a file name; None for a name of another form.

    Raises
    ------
    SerbenchError
        For a statement, intensity or actor that the corpus does not have.
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        return None
    name = Name(*match.groups())
    codes = (("intensity", name.intensity, INTENSITIES), ("statement", name.statement, STATEMENTS))
    for what, code, known in codes:
        if code not in known:
            raise SerbenchError(f"{stem!r} has the {what} {code!r}. Expected {' or '.join(known)}; is it of RAVDESS?")
    if not 1 <= int(name.actor) <= 24:
        raise SerbenchError(f"{stem!r} is of actor {name.actor!r}. Expected 01 to 24; is it of RAVDESS?")
    return stem, name


def _actors(folder: Path) -> list[Path]:
    return [Path(e.path) for e in visible(folder) if e.is_dir() and _ACTOR.fullmatch(e.name)]


def _row(base: Path, item: str, path: Path, name: Name) -> dict[str, object]:
    return {
        "id": item,
        "path": relative(base, path),
        "speaker": name.actor,
        "gender": "male" if int(name.actor) % 2 else "female",
        "language": "en",
        "text": STATEMENTS[name.statement],
        "raw_emotion": name.emotion,
        "intensity": INTENSITIES[name.intensity],
        "channel": "speech" if name.channel == "01" else "song",
        "repetition": int(name.repetition),
        "fold": str((int(name.actor) - 1) // 4 + 1),
    }
