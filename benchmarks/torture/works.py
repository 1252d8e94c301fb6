"""What is done while it is tortured: works on a corpus of a dozen short noises, each in under a second or so.

A work is a command in a folder of its own. What it leaves is compared as `fingerprint` says it: every file by its
bytes, records without how the work went (the seconds that it took, the epoch after which a training was taken up), a
cache by the arrays in it, since the names of its packs are times.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from ...features.cache.pack import SUFFIX, Entry, load, scan
from .children import Done, command

TIMED = frozenset(
    {"finished", "seconds", "cpu_seconds", "seconds_fit", "seconds_predict", "peak_mib", "cost", "checksum"}
)
"""Keys of a record that say how long something took."""
COURSE = TIMED | {"resumed_after_epoch"}
"""Keys of a record that say how the work went: how long it took, and whether a training was taken up."""
TINY = {"channels": "4,8", "strides": "4,4", "width": "8", "chunk_seconds": "0.25", "max_seconds": "0.5"}
FUSION = {"sampling_rate": "2000", "filters": "4,4,4", "pools": "5,4,2", "projection": "8", "width": "8", "units": "4"}
OF_THE_MACHINE = ("cache/audio/",)
"""Folders that remember times of files, so they are the same nowhere."""
NOTES = ".finished/"
FIRST = ("run linear", "run deepemocluster", "run semantic-fusion", "extract", "report", "merge", "words speech2vec")
"""The works of each kind of torture that names none."""


@dataclass(frozen=True)
class Work:
    """A command, and the names of the works whose outcome has to be there before."""

    name: str
    arguments: tuple[str, ...]
    after: tuple[str, ...] = ()


def works(corpus: Path) -> dict[str, Work]:
    """All works on a corpus that `write_corpus` wrote, by their names."""
    table = ("--dataset", "table", "--root", str(corpus))
    run = ("run", *table, "--trials", "2", "--subsets", "2", "--device", "cpu", "--threads", "1")
    words = ("--words", str(corpus.with_name("times.csv")), "--device", "cpu")
    speech = ("min_count=2", "dim=4", "epochs=8")
    made = [
        Work(
            "run linear",
            (*run, "--model", "linear", "--task", "emotion", "--set", "model.feature=mel", "--save-models"),
        ),
        Work(
            "run deepemocluster",
            (*run, "--model", "deepemocluster", "--task", "arousal", *settings(TINY, clusters="2")),
        ),
        Work("run semantic-fusion", (*run, "--model", "semantic-fusion", "--task", "emotion", *settings(FUSION))),
        Work("extract", ("extract", "mel", *table, "--out", "arrays.npz")),
        Work("report", ("report", "--bootstrap", "20"), ("run linear",)),
        Work("merge", ("merge", "results", "--out", "merged"), ("run linear",)),
        Work("run of many units", (*run, "--model", "chance:random", "--task", "emotion", "--trials", "40")),
        Work("extract again", ("extract", "mel", *table, "--out", "arrays.npz"), ("extract",)),
        Work(
            "words speech2vec", ("words", "speech2vec", "table", *table[2:], *words, "--out", "w.vec", *_each(speech))
        ),
    ]
    return {work.name: work for work in made}


def settings(network: dict[str, str], **more: str) -> list[str]:
    """What is typed for a network of that size, trained for two epochs."""
    given = {f"model.{key}": value for key, value in {**network, **more}.items()} | {"train.epochs": "2"}
    return _each([f"{key}={value}" for key, value in given.items()])


def _each(given: Sequence[str]) -> list[str]:
    return [part for text in given for part in ("--set", text)]


def write_corpus(folder: Path, count: int = 12) -> Path:
    """A table of noises with emotion, arousal and words, by speakers of three partitions; the times of its words."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    rows, times = [], []
    for k in range(count):
        name = f"{k:02}.wav"
        soundfile.write(folder / name, rng.normal(0, 0.02 * (1 + k % 5), 4800), 8000)
        part = ("train", "train", "dev", "test")[k % 4]
        row = {"path": name, "speaker": f"s{k % 4}", "partition": part, "arousal": 1 + k * 5 % 7 + k / 100}
        rows.append({**row, "emotion": ("anger", "sadness")[k // 4 % 2], "text": "ba di gu"})
        times += [
            {"item": name, "word": w, "start": 0.2 * i, "end": 0.2 * (i + 1)} for i, w in enumerate(["ba", "di", "gu"])
        ]
    pd.DataFrame(rows).to_csv(folder / "toy.csv", index=False)
    pd.DataFrame(times).to_csv(folder / "times.csv", index=False)
    return folder / "toy.csv"


class Workshop:
    """The corpus, and for each work the folder that it begins with.

    Parameters
    ----------
    place : folder for everything
    names : the works that are needed; None = all
    """

    def __init__(self, place: Path, names: Sequence[str] | None = None) -> None:
        self.place = place
        every = works(write_corpus(place / "corpus"))
        self.works = [every[name] for name in names or FIRST]
        self._every, self._count = every, 0

    def named(self, name: str) -> Work:
        """A work by its name."""
        return self._every[name]

    def fresh(self, work: Work) -> Path:
        """A new folder in which the work can begin."""
        self._count += 1
        folder = self.place / f"at-{self._count}"
        if not work.after:
            folder.mkdir()
            return folder
        before = self.place / f"before-{'-'.join(work.after)}"
        if not before.exists():
            for name in work.after:
                sound(command(self._every[name].arguments, before), name)
        shutil.copytree(before, folder)
        return folder


def sound(done: Done, name: str) -> Done:
    """What ended well; anything else is an error of the torture itself."""
    if done.status != 0:
        raise RuntimeError(f"{name} ended with {done.status}: {done.said[-2000:]}")
    return done


def fingerprint(folder: Path) -> dict[str, str]:
    """Path -> digest of all that is in a folder, and of the arrays in its cache."""
    found: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith(OF_THE_MACHINE):
            continue
        if path.suffix == SUFFIX:
            found |= _arrays(path, f"{path.parent.relative_to(folder).as_posix()}/")
        elif NOTES in name:  # named after a digest of the sources too
            found[f"{NOTES}{hashlib.sha256(path.read_bytes()).hexdigest()}"] = ""
        else:
            found[name] = hashlib.sha256(_bytes(path)).hexdigest()
    return found


def _arrays(pack: Path, section: str) -> dict[str, str]:
    """Key -> digest of the arrays that a reader of the pack sees."""
    entries = [piece for piece in scan(str(pack)) if isinstance(piece, Entry)]
    arrays = {entry.key.hex(): load(str(pack), entry) for entry in entries}
    return {
        section + key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items() if array is not None
    }


def _bytes(path: Path) -> bytes:
    """A file's bytes; of a record without how the work went."""
    data = path.read_bytes()
    if path.suffix != ".json":
        return data
    try:
        return json.dumps(_untimed(json.loads(data)), sort_keys=True).encode()
    except ValueError:
        return data


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(item) for key, item in value.items() if key not in COURSE}
    return [_untimed(item) for item in value] if isinstance(value, list) else value


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders that stayed."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.name.endswith((".part", ".tmp")))
