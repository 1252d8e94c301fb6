"""The folders of MSP-Podcast beside its labels: sound, transcripts, alignments and the unlabelled pool.

Folders are listed, and no sound is opened. Each function adds columns or rows to the table and says in notes what is
missing or too much.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError
from ..reading.aligned_words import no_words, read_textgrid
from ..reading.locate import find, packed_archives, relative
from .labels import read_transcripts, recordings

AUDIOS, TRANSCRIPTS = ("audios", "audio"), ("transcripts", "transcript")
ALIGNED = ("forcealigned", "forcedaligned", "force_aligned", "forced_aligned")
POOL = ("unlabelled", "unlabeled", "unlabel*")


def with_audio(table: pd.DataFrame, base: Path) -> tuple[pd.DataFrame, list[str]]:
    """Add path and recording; say what is missing or too much."""
    folder = find(base, AUDIOS)
    prefix = "Audios" if folder is None else relative(base, folder)
    recording = recordings(table.index)
    table = table.assign(path=prefix + "/" + table.index.astype("string") + ".wav", recording=recording)
    odd = table.index[recording.isna().to_numpy()]
    notes = [f"{len(odd)} segment names don't follow the usual grammar, such as {odd[0]}" if len(odd) else ""]
    if folder is None:
        return table, [*notes, "no folder Audios: labels can be read, features can't be made"]
    present = {name[:-4] for name in os.listdir(folder) if name[-4:].lower() == ".wav" and name[0] != "."}
    named = set(table.index.to_numpy(dtype=object))
    absent, extra = len(named - present), len(present - named)
    return table, [
        *notes,
        f"{absent} segments have no sound file in {prefix}" if absent else "",
        f"{extra} sound files in {prefix} are in no label file and are not used" if extra else "",
    ]


def with_text(table: pd.DataFrame, base: Path) -> tuple[pd.DataFrame, list[str]]:
    """Add the texts."""
    folder = find(base, TRANSCRIPTS)
    if folder is None:
        return table, ["no folder Transcripts: the texts are missing"]
    table["text"] = read_transcripts(folder, table.index).reindex(table.index)
    silent = int((table["text"].isna() & table["partition"].ne("test3")).sum())
    return table, [f"{silent} segments have no transcript" if silent else ""]


def with_pool(table: pd.DataFrame, base: Path) -> tuple[pd.DataFrame, list[str]]:
    """Add the unlabelled pool: every wav file below a folder whose name begins with "unlabel"."""
    folder = find(base, POOL)
    paths = [] if folder is None else sorted(_waves(base, folder))
    if not paths:
        return table, []
    pool = pd.DataFrame({"path": pd.array(paths, dtype="string"), "partition": "unlabelled"})
    pool.index = pd.Index(pool["path"].str.rsplit("/", n=1).str[-1].str[:-4], name="id")
    doubled = pool.index[pool.index.duplicated() | pool.index.isin(table.index)]
    if len(doubled):
        raise SerbenchError(
            f"two files for one id: {doubled[0]!r} is in {folder} and also labelled, or there twice ({len(doubled)} "
            "such files). The pool must hold other segments than the labelled partitions; move these away."
        )
    pool["recording"] = recordings(pool.index)
    tested = table.loc[table["partition"].str.startswith("test").to_numpy(dtype=bool), "recording"].dropna()
    near = int(pool["recording"].isin(set(tested)).sum())
    note = f"{near} segments of the unlabelled pool are from podcasts that a test set also has" if near else ""
    return pd.concat([table, pool]), [note]


def _waves(base: Path, folder: Path) -> list[str]:
    paths = []
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = relative(base, Path(where))
        paths += [f"{below}/{name}" for name in names if name.lower().endswith(".wav") and not name.startswith(".")]
    return paths


def packed(base: Path) -> str:
    """A note of the archives that wait to be unpacked, of the parts that come as such."""
    parts = ((AUDIOS, "audio*"), (TRANSCRIPTS, "transcript*"), (ALIGNED, "force*"))
    lacking = [pattern for names, pattern in parts if find(base, names) is None]
    waiting = packed_archives(base, lacking) if lacking else []
    return f"not unpacked: {', '.join(waiting)}" if waiting else ""


def word_times(base: Path) -> Callable[[str], pd.DataFrame]:
    """Segment -> its words with their times; none where this copy has no alignment."""
    return partial(_words, find(base, ALIGNED))


def _words(folder: Path | None, item: str) -> pd.DataFrame:
    path = None if folder is None else folder / f"{item}.TextGrid"
    return read_textgrid(path) if path is not None and path.is_file() else no_words()
