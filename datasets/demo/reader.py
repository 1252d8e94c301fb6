"""The embedded demo corpus: synthetic emotional dialogues in an invented language, generated at first use, offline.

Ours, MIT licence, nobody's recorded voice in it. 62 two-party dialogues of 12 turns by 26 speakers (13 women, 13 men),
16 kHz mono PCM16: 600 labelled utterances of 1 to 4 s (train 288 by 8 speakers, dev 120 by 4, test 192 by 8) and an
unlabelled pool of 144 by 6 more (`--option pool=N` makes it larger, 144 by 6 others at a time); no speaker is in
two partitions. Labels: arousal, valence, dominance on 1 to 7 (means of five simulated raters), four emotions (what most
raters chose), exact word times. Each side of the 50 labelled dialogues is a recording with a 10 Hz trace of arousal,
valence and liking in -1 to 1; it holds both voices, the partner's 9 dB softer, as a headset hears them.

The audio comes from `voice/synthesis.py`, words from `demo/babble.py`, speakers and turns from `demo/dialogues.py`,
raters and traces from `demo/affect.py`. The corpus is for trying things out and for tests: its scores say nothing about
real emotions.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..core.files import cache_root, write_json, write_text
from ..schema.corpus import OFFICIAL, Corpus, make_table
from ..schema.ratings import make_ratings
from ..schema.task import Task, attribute_tasks
from . import EMOTIONS, FRAME_SECONDS

VERSION = 1
"""Raised by hand when the content changes."""
SCALES = {"arousal": (1.0, 7.0), "valence": (1.0, 7.0), "dominance": (1.0, 7.0)}
TRACES = ("arousal", "valence", "liking")
TASKS = (
    Task("emotion", "classification", ("emotion",), labels=EMOTIONS, doc="anger, happiness, neutral, sadness"),
    *attribute_tasks(("arousal", "valence", "dominance"), SCALES),
    Task(
        "traces",
        "continuous",
        TRACES,
        scales=dict.fromkeys(TRACES, (-1.0, 1.0)),
        frame_seconds=FRAME_SECONDS,
        doc="arousal, valence and liking of each side of a dialogue, every 0.1 s",
    ),
)
TASK_NAMES = ("emotion", "attributes", "arousal", "valence", "dominance", "traces")
EXPECTED = {
    "utterances": 744,
    "train": 288,
    "dev": 120,
    "test": 192,
    "unlabelled": 144,
    "speakers": 26,
    "dialogues": 62,
    "recordings": 100,
}
GROUP = {"utterances": 144, "unlabelled": 144, "speakers": 6, "dialogues": 12}
"""What each further group of unlabelled speakers adds."""
POOL = GROUP["unlabelled"]
_STAMP = {"name": "demo", "version": VERSION}
_STALE_SECONDS = 3600.0


def load(root: Path | None = None, release: str | None = None, *, pool: str | int = POOL) -> Corpus:
    """Read the demo corpus from its folder; it is made there first where it is missing (about ten seconds).

    Parameters
    ----------
    root : folder to generate into or to read from; by default `demo-v<version>` in serbench's cache, or
        `demo-v<version>-pool<sentences>` for a larger pool
    release : the only release is "1"
    pool : unlabelled sentences, at least; whole groups of 144 by 6 speakers are made

    Raises
    ------
    SerbenchError
        For an unknown release, a pool that is no number above 0, or a root that holds something else.
    """
    if release not in (None, str(VERSION)):
        raise unknown("release of demo", str(release), [str(VERSION)])
    if not str(pool).isdigit() or not int(pool):
        raise SerbenchError(f"--option pool={pool}: expected a number of unlabelled sentences, such as {20 * POOL}.")
    groups = math.ceil(int(pool) / POOL)
    named = cache_root() / (f"demo-v{VERSION}" + (f"-pool{groups * POOL}" if groups > 1 else ""))
    folder = Path(os.path.abspath(root if root is not None else named))
    expected = _stamp(groups)
    if not (folder / "corpus.json").is_file():
        _refuse_foreign(folder)
        generate(folder, groups)
    stamp = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    if stamp != expected:
        raise SerbenchError(
            f"{str(folder)!r} holds {stamp}. Expected {expected}. "
            "Delete the folder to have it made again, or name another one with --root."
        )
    return _corpus(folder, groups)


def generate(folder: Path, groups: int = 1) -> None:
    """Make the corpus in a temporary folder beside `folder` and rename it: of two at once the first one's stays."""
    from .writing import write_corpus

    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    try:
        write_corpus(part, groups)
        write_json(part / "corpus.json", _stamp(groups))
        part.chmod(0o755)
        part.rename(folder)
    except OSError:
        if not (folder / "corpus.json").is_file():
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists() or (folder / "corpus.json").is_file():  # the latter: made by another process just now
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise SerbenchError(
            f"{str(folder)!r} exists and is not the demo corpus. Expected a new or empty folder to generate it into, "
            "or no --root at all (it then goes to serbench's cache)."
        )


def _remove_stale(folder: Path) -> None:
    """Delete unfinished folders that a killed process left more than an hour ago."""
    for part in folder.parent.glob(f".{folder.name}.*.part"):
        if time.time() - part.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(part, ignore_errors=True)


def _corpus(folder: Path, groups: int) -> Corpus:
    return Corpus(
        name="demo",
        release=str(VERSION),
        root=folder,
        utterances=make_table(_read(folder, "utterances")),
        recordings=make_table(_read(folder, "recordings")),
        tasks=TASKS,
        splits={"official": (OFFICIAL,)},
        scales=SCALES,
        licence="MIT",
        citation=f"The embedded demo corpus of serbench, version {VERSION}: synthetic, made by serbench itself.",
        subset_group="dialogue",
        expected=_expected(groups),
        notes=(
            "Synthetic babble: scores show that a pipeline works, and nothing about real emotions.",
            "The raters are simulated: five of twelve for each utterance, with habits and noise of their own.",
        ),
        word_source=partial(_rows, folder, "words"),
        trace_source=partial(_rows, folder, "traces"),
        rater_source=partial(_ratings, folder),
    )


def _stamp(groups: int) -> dict[str, Any]:
    return _STAMP | ({"pool": groups * POOL} if groups > 1 else {})


def _expected(groups: int) -> dict[str, int]:
    """What is counted with some groups of unlabelled speakers."""
    return {key: count + (groups - 1) * GROUP.get(key, 0) for key, count in EXPECTED.items()}


def _ratings(folder: Path) -> pd.DataFrame:
    """What the simulated raters said; written into a folder that was made before there was this file."""
    if not (folder / "ratings.csv").is_file():
        from .writing import ratings

        write_text(folder / "ratings.csv", ratings().to_csv(index=False, lineterminator="\n"))
    return make_ratings(_read(folder, "ratings"))


def _read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=[""])


@lru_cache(maxsize=8)
def _groups(folder: Path, name: str) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.intp]]]:
    """A table of many items, and the row numbers of each item."""
    table = _read(folder, name)
    indices = table.groupby("item").indices
    return table.drop(columns="item"), {str(item): np.asarray(rows) for item, rows in indices.items()}


def _rows(folder: Path, name: str, item: str) -> pd.DataFrame:
    """Words or frames of one item; an item without any is an error that names the first ones that have some."""
    table, rows = _groups(folder, name)
    if item not in rows:
        raise unknown(f"item with {name} in demo", item, list(rows)[:20])
    return table.iloc[rows[item]].reset_index(drop=True)
