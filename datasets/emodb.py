"""EMO-DB, the Berlin database of acted German emotional speech: 535 utterances, 10 actors, 7 emotions, 10 texts.

Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss, "A database of German emotional speech", Interspeech 2005,
doi 10.21437/Interspeech.2005-446; documentation at http://emodb.bilderbar.info/docu/. Actors, texts and the file-name
grammar are those of that documentation.

What is read, under the root or one folder below it, in any case of letters:

- `wav/03a01Fa.wav`: speaker (2 digits), text (letter and 2 digits), emotion letter, version letter. The labels are in
  the names. The index is every name in `wav/` and in `silb/`, so the table is complete without any audio, and a sound
  file that is gone stays in the table and is reported as missing.
- `erkennung.txt` (Latin-1, decimal commas, padded with no-break spaces): the share of about 20 listeners, in percent,
  who recognised the emotion and who found it natural. It lists 816 recorded takes; the 281 that were never published
  can't be told from the others by their rates, so the file makes no index. It may be absent.
- `silb/03a01Fa.silb` (Latin-1; tab or blanks): start time and syllable. "(" is a pause and the closing "." the end of
  speech. `words` gives syllables in the column `word`, each until the next mark; of two syllables marked at the same
  time the first one stands. `13a01Wb.silb` is empty as published.

The documentation prints text a05 with "Stück Papier". All 62 published takes are segmented as "Blatt Papier", and
the sound agrees (that syllable has no fricative onset), so `text` has what was said. The a04 takes are
given in today's spelling ("Heute Abend").

There is no official partition. The default split leaves out one pair of a woman and a man at a time (5 folds); the
pairs are formed in the order of the speaker numbers.
"""

from __future__ import annotations

import re
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from .core.errors import SerbenchError
from .core.files import inside
from .reading.acted import collect, one_release
from .reading.locate import files_in, find, find_root, need_root, relative
from .schema.corpus import Corpus, make_table, rotation
from .schema.labels import VOCABULARIES, emotion_task
from .schema.task import Task

CITATION = (
    "F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier and B. Weiss, 'A database of German emotional speech', "
    "Interspeech 2005, pp. 1517-1520, doi 10.21437/Interspeech.2005-446"
)
CITES = ("burkhardt2005emodb",)
EMOTION_LETTERS = VOCABULARIES["emodb"]
LABELS = ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness")
SPEAKERS = {
    "03": ("male", 31),
    "08": ("female", 34),
    "09": ("female", 21),
    "10": ("male", 32),
    "11": ("male", 26),
    "12": ("male", 30),
    "13": ("female", 32),
    "14": ("female", 35),
    "15": ("male", 25),
    "16": ("female", 31),
}
PAIRS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))
TEXTS = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute Abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Blatt Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
TASKS = {
    "emotion": Task("emotion", "classification", ("emotion",), LABELS, doc="the seven acted emotions"),
    "emotion-4": emotion_task("emotion-4", "emotion-4"),
}
TASK_NAMES = ("emotion", "emotion-4")
EXPECTED = {
    "utterances": 535,
    "speakers": 10,
    "emotion=anger": 127,
    "emotion=boredom": 81,
    "emotion=disgust": 46,
    "emotion=fear": 69,
    "emotion=happiness": 71,
    "emotion=neutral": 79,
    "emotion=sadness": 62,
}

_NAME = re.compile(rf"({'|'.join(SPEAKERS)})({'|'.join(TEXTS)})([{''.join(EMOTION_LETTERS)}])([a-z])")
_PAUSE, _END = "(", "."


@dataclass(frozen=True)
class _Layout:
    """What was found on disk: `base` holds `wav/` and `silb/`; names are by utterance id."""

    base: Path
    audio: Mapping[str, str]  # id -> path relative to base
    syllables: Mapping[str, Path]
    ratings: Path | None
    foreign: tuple[str, ...]  # sound files whose names don't follow the grammar


def load(root: Path | None, release: str | None = None) -> Corpus:
    """Load EMO-DB from the folder that its archive was unpacked into.

    Raises
    ------
    SerbenchError
        When `root` is missing or holds neither `wav/` nor `silb/`, when a line of a label file can't be read, or two
        sound files have one name.
    """
    one_release("emodb", release)
    layout = _find(root)
    ids = sorted({*layout.audio, *layout.syllables})
    ratings = read_ratings(layout.ratings) if layout.ratings else {}
    return Corpus(
        name="emodb",
        release="",
        root=layout.base,
        utterances=make_table([_row(item, layout, ratings) for item in ids]),
        tasks=tuple(TASKS.values()),
        splits={
            "leave-one-speaker-pair-out": rotation("speaker_pair", [_pair_name(p) for p in PAIRS]),
            "leave-one-speaker-out": rotation("speaker", SPEAKERS),
        },
        licence="CC0-1.0",
        citation=CITATION,
        homepage="http://emodb.bilderbar.info",
        expected=EXPECTED,
        notes=_notes(layout, ids, ratings),
        word_source=partial(_syllables_of, layout),
    )


def parse_name(stem: str) -> tuple[str, str, str, str]:
    """Speaker, text code, emotion letter and version of a file name without its ending.

    Raises
    ------
    SerbenchError
        When the name does not follow the grammar, or names an unknown speaker or text.
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        raise SerbenchError(
            f"{stem!r} is not an EMO-DB name. Expected a speaker ({', '.join(SPEAKERS)}), a text ({', '.join(TEXTS)}), "
            f"an emotion letter ({', '.join(EMOTION_LETTERS)}) and a version letter, such as 03a01Fa."
        )
    speaker, text, letter, version = match.groups()
    return speaker, text, letter, version


def read_ratings(path: Path) -> dict[str, tuple[float, float]]:
    """Utterance id -> (recognised, natural), both in percent, of `erkennung.txt`.

    Raises
    ------
    SerbenchError
        Naming the line that is not: number, file name, percentage, percentage, with tabs between.
    """
    lines = path.read_text(encoding="latin-1").splitlines()
    ratings: dict[str, tuple[float, float]] = {}
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in line.split("\t")]  # strip takes no-break spaces too
        if not any(cells) or cells[0].lower() == "nr.":
            continue
        try:
            _, name, recognised, natural = cells
            ratings[name.rsplit(".", 1)[0]] = (_percent(recognised), _percent(natural))
        except ValueError:
            raise SerbenchError(
                f"line {number} of {path} can't be read: {line!r}. Expected number, file name, recognised and natural "
                "(percentages such as 90,00) with tabs between. Take the file from the original archive."
            ) from None
    return ratings


def read_syllables(path: Path, duration: float = float("nan")) -> pd.DataFrame:
    """Syllables of a `.silb` file: columns word, start, end in seconds; empty for an empty file.

    `duration` [s] ends the last syllable where the file has no closing ".".

    Raises
    ------
    SerbenchError
        Naming the line that is not a time and a syllable.
    """
    marks: list[tuple[float, str]] = []
    for number, line in enumerate(path.read_bytes().decode("latin-1").splitlines(), 1):
        if not line.strip():
            continue
        try:
            time, syllable = line.split()
            marks.append((float(time), syllable))
        except ValueError:
            raise SerbenchError(
                f"line {number} of {path} can't be read: {line!r}. Expected a time in seconds and a syllable."
            ) from None
    unique = dict(reversed(marks))  # the first of two at the same time stands
    starts = sorted(unique)
    ends = [*starts, duration][1:]
    rows: list[dict[str, object]] = [
        {"word": unique[start], "start": start, "end": end}
        for start, end in zip(starts, ends, strict=True)
        if unique[start] not in (_PAUSE, _END)
    ]
    return _syllable_table(rows)


def _syllable_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["word", "start", "end"]).astype({"word": str, "start": float, "end": float})


def _percent(text: str) -> float:
    value = float(text.replace(",", "."))
    if not 0 <= value <= 100:
        raise ValueError(text)
    return value


def _row(item: str, layout: _Layout, ratings: Mapping[str, tuple[float, float]]) -> dict[str, object]:
    speaker, code, letter, version = parse_name(item)
    gender, age = SPEAKERS[speaker]
    recognised, natural = ratings.get(item, (float("nan"), float("nan")))
    return {
        "id": item,
        "path": layout.audio.get(item, f"wav/{item}.wav"),
        "speaker": speaker,
        "gender": gender,
        "language": "de",
        "text": TEXTS[code],
        "raw_emotion": letter,
        "emotion": EMOTION_LETTERS[letter],
        "age": age,
        "text_code": code,
        "version": version,
        "recognised": recognised,
        "natural": natural,
        "speaker_pair": next(_pair_name(pair) for pair in PAIRS if speaker in pair),
    }


def _pair_name(pair: tuple[str, str]) -> str:
    return "+".join(pair)


def _notes(layout: _Layout, ids: list[str], ratings: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    notes = ["text a05 is given as it is spoken (Blatt Papier), not as the documentation prints it (Stück Papier)"]
    if layout.ratings is None:
        notes.append("erkennung.txt was not found, so recognised and natural are missing")
    else:
        unpublished, unrated = set(ratings) - set(ids), set(ids) - set(ratings)
        if unpublished:
            notes.append(f"{len(unpublished)} takes of erkennung.txt have no sound file, so they are not in the table")
        if unrated:
            notes.append(f"{len(unrated)} utterances are not in erkennung.txt, such as {min(unrated)}")
    silent = [item for item in ids if item not in layout.syllables]
    if silent:
        notes.append(f"{len(silent)} utterances have no syllable file, such as {silent[0]}")
    if layout.foreign:
        notes.append(f"{len(layout.foreign)} files in wav/ don't follow the file-name grammar: {layout.foreign[0]} ...")
    return tuple(notes)


def _syllables_of(layout: _Layout, item: str) -> pd.DataFrame:
    parse_name(item)
    path = layout.syllables.get(item)
    if path is None:
        return _syllable_table([])
    audio = inside(layout.base, layout.audio[item]) if item in layout.audio else None
    return read_syllables(path, _duration(audio))


def _duration(path: Path | None) -> float:
    """Length in seconds from the header; missing where there is no readable sound file."""
    try:
        if path is not None:
            with wave.open(str(path), "rb") as sound:
                return sound.getnframes() / sound.getframerate()
    except (OSError, EOFError, wave.Error, ZeroDivisionError):
        pass
    return float("nan")


def _find(root: Path | None) -> _Layout:
    folder = need_root(root, "emodb", "the folder that holds wav/ and silb/ of EMO-DB")
    if folder.name.lower() == "wav" and _named(folder, ".wav"):
        folder = folder.parent
    looked_for = "wav/ with files such as 03a01Fa.wav, or silb/ with 03a01Fa.silb, there and one folder below"
    base = find_root(folder, lambda f: bool(_audio(f) or _marks(f)), dataset="emodb", looked_for=looked_for)
    audio, wav = _audio(base), find(base, ["wav"])
    foreign = [p.name for p in files_in(wav, ".wav") if p.stem not in audio] if wav else []
    paths = {stem: relative(base, path) for stem, path in audio.items()}
    return _Layout(base, paths, _marks(base), find(base, ["erkennung.txt"], "file"), tuple(foreign))


def _audio(base: Path) -> dict[str, Path]:
    return _named(find(base, ["wav"]), ".wav")


def _marks(base: Path) -> dict[str, Path]:
    return _named(find(base, ["silb"]), ".silb")


def _named(folder: Path | None, ending: str) -> dict[str, Path]:
    """Files of a folder that follow the grammar, by name without ending."""
    places = [(folder, lambda stem: (stem, None) if _NAME.fullmatch(stem) else None)] if folder else []
    named = collect(places, [ending])
    return {item: path for item, (path, _) in named.files.items()}
