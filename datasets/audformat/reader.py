"""Any audformat database: a folder with `db.yaml` and its tables, as audb and the audformat library write it.

Wagner, Wierstorf, Geist, Schmitt, Eyben, Schuller, "audformat: a Python library for audio annotation formats",
https://github.com/audeering/audformat (MIT). The library is the extra `audformat`; many public corpora are given out in
this format (EMO-DB 2.0 on Zenodo, and those that `audb` lists).

Columns are found by the names of their schemes: emotion, arousal, valence, dominance, liking, speaker, gender, age,
language, transcription (each can be renamed by an option), also where a scheme hides behind another one's labels, as a
speaker's gender usually does. Filewise tables give whole files, segmented ones segments. What is made of them:

- `raw_emotion` is the database's label; `emotion` the canonical one, as far as the word is known. Where all are known
  the task is `emotion`; otherwise `label` has the database's labels as classes, and a note names the unknown ones. The
  option `mapping` adds words: `mapping=cheerful=happiness,cross=anger`.
- Scales of attributes are the minimum and maximum of their schemes, or the option `scale=LOW..HIGH`. An attribute with
  neither has no task, and a note says so.
- Partitions are the splits of the tables (train, dev, test). With train and test the split `official` is made; a
  missing dev part is cut from train. Without them there are up to five folds, of whole speakers where they are known.

The corpus is called audformat, and its release is the database's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from ..core.errors import SerbenchError
from ..core.libraries import library
from ..reading.locate import find, find_root, need_root, refuse_escapes
from ..schema.corpus import EMOTIONS, OFFICIAL, Corpus, Fold, make_table, rotation
from ..schema.grouping import make_groups
from ..schema.labels import canonical_words
from ..schema.task import ATTRIBUTES, Task, attribute_tasks
from .database import labels_of, open_database, partitions_of, two_letters

FOLDS = 5
_WHAT = "the folder of an audformat database, with db.yaml in it"


def load(
    root: Path | None,
    release: str | None = None,
    *,
    tables: str | None = None,
    emotion: str = "emotion",
    speaker: str = "speaker",
    gender: str = "gender",
    language: str = "language",
    text: str = "transcription",
    mapping: str | None = None,
    scale: str | None = None,
) -> Corpus:
    """Load a database; no audio is needed or opened.

    Parameters
    ----------
    release : name of the corpus in records; None = the database's name
    tables : names of the tables to take the labels from, with commas between; None = all that have them
    emotion, speaker, gender, language, text : names of the schemes
    mapping : further words, `WORD=EMOTION,...` with the canonical emotions
    scale : `LOW..HIGH` for attributes whose schemes state none

    Raises
    ------
    SerbenchError
        When the library is missing, the folder is no database, its tables can't be read or disagree, a scheme or word
        is unknown, or a file name leaves the folder.
    """
    audformat = library("audformat", "the dataset 'audformat'")
    base = find_root(
        need_root(root, "audformat", _WHAT),
        lambda folder: find(folder, ("db.yaml",), "file") is not None,
        dataset="audformat",
        looked_for="db.yaml",
        archives=("*",),
    )
    database = open_database(audformat, base)
    columns = {"raw_emotion": emotion, "speaker": speaker, "gender": gender, "language": language, "text": text}
    columns |= {name: name for name in (*ATTRIBUTES, "age")}
    frame = labels_of(audformat, database, columns, None if tables is None else [t.strip() for t in tables.split(",")])
    table, notes = _table(audformat, database, frame, _words(mapping), str(base))
    scales, scale_notes = _scales(database, table, _range(scale))
    table, splits, split_notes = _splits(table)
    return Corpus(
        name="audformat",
        release=release or str(database.name),
        root=base,
        utterances=table,
        tasks=_tasks(table, scales, str(base)),
        splits=splits,
        scales=scales,
        licence=str(database.license or "unknown"),
        citation=", ".join(str(p) for p in (database.author, database.name, database.organization) if p),
        homepage=str(database.source or ""),
        notes=(*notes, *scale_notes, *split_notes),
        generic=True,
    )


def _table(
    audformat: ModuleType, database: Any, frame: pd.DataFrame, words: Mapping[str, str], source: str
) -> tuple[pd.DataFrame, list[str]]:
    """The corpus table with partitions, and notes."""
    files = frame.index.get_level_values("file").to_series().astype("string")
    refuse_escapes(files, f"the tables of {source}")
    times = (pd.TimedeltaIndex(frame.index.get_level_values(level)) for level in ("start", "end"))
    start, end = (time.total_seconds() for time in times)
    segment = (start > 0) | ~pd.isna(end)
    partition = partitions_of(audformat, database, frame.index)
    table = frame.reset_index(drop=True)
    table.index = pd.Index(_ids(files.tolist(), list(start), list(end), list(segment)), name="id")
    table["path"] = files.to_numpy()
    table["start"] = pd.Series(start, table.index).where(segment)
    table["end"] = pd.Series(end, table.index)
    table["partition"] = partition
    notes = []
    if "gender" in table:
        table["gender"] = table["gender"].where(table["gender"].isin(["female", "male"]))
    languages = list(database.languages)
    if "language" not in table and len(languages) == 1:
        table["language"] = languages[0]
    if "language" in table:
        table["language"] = table["language"].map({c: two_letters(str(c)) for c in set(table["language"].dropna())})
    if "raw_emotion" in table:
        raw = table["raw_emotion"].astype("string")
        given = {word: words[word.strip().lower()] for word in set(raw.dropna()) if word.strip().lower() in words}
        table["emotion"] = raw.map(given).astype("string").fillna(canonical_words(raw))
        strange = raw[table["emotion"].isna()].value_counts()
        if len(strange):
            listed = ", ".join(f"{word} ({count})" for word, count in strange.items())
            notes.append(f"no canonical emotion is known for: {listed}. Type --option mapping=WORD=EMOTION,...")
    if "speaker" not in table or table["speaker"].isna().all():
        notes.append("no speakers are given: the same voice may be in training and test")
    if database.usage:
        notes.append(f"usage: {database.usage}")
    return make_table(table), notes


def _ids(files: list[str], starts: list[float], ends: list[float], segments: list[bool]) -> list[str]:
    """The file name without ending, and the segment; with ending where two files differ in it alone."""
    stems = [str(Path(file).with_suffix("")).replace("\\", "/") for file in files]
    endings = len({*files}) != len({*stems})
    names = [file if endings else stem for file, stem in zip(files, stems, strict=True)]
    return [
        f"{name}#{start:.3f}-{'' if pd.isna(end) else f'{end:.3f}'}" if cut else name
        for name, start, end, cut in zip(names, starts, ends, segments, strict=True)
    ]


def _scales(
    database: Any, table: pd.DataFrame, given: tuple[float, float] | None
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    scales, notes = {}, []
    for name in ATTRIBUTES:
        if table[name].isna().all():
            continue
        scheme = dict(database.schemes).get(name)
        low, high = (getattr(scheme, bound, None) for bound in ("minimum", "maximum"))
        if low is not None and high is not None:
            scales[name] = (float(low), float(high))
        elif given is not None:
            scales[name] = given
        else:
            notes.append(f"{name} has no scale in the database, so it has no task. Type --option scale=LOW..HIGH")
    return scales, notes


def _tasks(table: pd.DataFrame, scales: Mapping[str, tuple[float, float]], source: str) -> tuple[Task, ...]:
    raw, known = table["raw_emotion"].dropna(), table["emotion"].dropna()
    tasks: list[Task] = []
    if raw.nunique() > 1 and len(known) < len(raw):
        classes = tuple(sorted(set(raw)))
        tasks.append(Task("label", "classification", ("label",), classes, "raw_emotion", doc="the database's labels"))
    if known.nunique() > 1:
        classes = tuple(sorted(set(known)))
        tasks.append(Task("emotion", "classification", ("emotion",), classes, doc="the canonical emotions"))
    tasks += attribute_tasks(tuple(scales), dict(scales)) if scales else ()
    if not tasks:
        raise SerbenchError(
            f"no task can be made of {source}: expected an emotion with two or more classes, or attributes with a "
            "scale."
        )
    return tuple(tasks)


def _splits(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[Fold, ...]], list[str]]:
    """The official split, or folds of whole speakers; with the columns that they need."""
    parts = set(table["partition"].dropna())
    if {"train", "dev", "test"} <= parts:
        return table, {"official": (OFFICIAL,)}, []
    if {"train", "test"} <= parts:
        train = table[table["partition"].eq("train").fillna(False)]
        groups = make_groups(train, FOLDS, least=2)
        table = table.assign(dev_group=groups.of.reindex(table.index))
        fold = Fold("official", test=OFFICIAL.test, dev={"dev_group": ("1",)}, train={"dev_group": groups.names[1:]})
        return table, {"official": (fold,)}, ["there is no dev part: a fifth of train was cut off (dev_group 1)"]
    groups = make_groups(table, FOLDS, least=3)
    table = table.assign(fold_group=groups.of)
    disjoint = table["speaker"].notna().any() and "speaker" not in groups.shared
    name = "speaker-disjoint" if disjoint else "random"
    note = f"no train and test parts are given: {len(groups.names)} {name} folds were made"
    return table, {name: rotation("fold_group", groups.names)}, [note]


def _words(mapping: str | None) -> dict[str, str]:
    words = {}
    for pair in (mapping or "").split(","):
        word, separator, emotion = pair.strip().rpartition("=")
        if not pair.strip():
            continue
        if not separator or emotion.strip() not in EMOTIONS:
            raise SerbenchError(
                f"mapping={pair.strip()!r} can't be used. Expected WORD=EMOTION with one of: {', '.join(EMOTIONS)}."
            )
        words[word.strip().lower()] = emotion.strip()
    return words


def _range(scale: str | None) -> tuple[float, float] | None:
    if scale is None:
        return None
    try:
        low, high = (float(part) for part in scale.split(".."))
    except ValueError:
        low = high = 0.0
    if low >= high:
        raise SerbenchError(f"scale={scale!r} can't be used. Expected LOW..HIGH, such as 1..7.")
    return low, high
