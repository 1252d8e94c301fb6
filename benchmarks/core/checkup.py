"""`serbench doctor`: what is tried of an environment, a line each, with what to type where something is wrong.

`serbench env` says what is there and runs in a second; this tries it: the configuration file, writing into cache and
results, room on their disks, each corpus that has a folder, the graphics card, threads, broken libraries.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...datasets import registry
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import cache_root, config_path
from ...datasets.core.stages import stage
from ...datasets.reading.load import load_corpus, needs_root, root_variable
from .config_file import read
from .environment import states

GOOD, DOUBTFUL, WRONG = "good", "doubtful", "wrong"
ROOM = 5e9
"""Bytes below which a disk is doubtful: the features of one middle-sized corpus."""


@dataclass(frozen=True)
class Check:
    """What was tried, how it is (good, doubtful or wrong), what was found, and what to type."""

    name: str
    state: str
    found: str
    remedy: str = ""

    def line(self) -> str:
        """One line of `serbench doctor`."""
        return f"{self.state:<9} {self.name}: {self.found}{f'; type: {self.remedy}' if self.remedy else ''}"


def checkup(results: Path) -> Iterator[Check]:
    """Everything that is tried, in order; a check that fails in a way of its own is wrong, and ends no other."""
    tried: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("config", _config),
        ("libraries", _libraries),
        ("cache", lambda: _folder("cache", cache_root(), "SERBENCH_CACHE=FOLDER")),
        ("results", lambda: _folder("results", results, "--results FOLDER")),
        ("corpora", _corpora),
        ("device", _device),
        ("threads", _threads),
    ]
    for name, check in tried:
        try:
            with stage(f"trying {name}"):
                yield from check()
        except Exception as error:  # a broken library raises anything
            yield Check(name, WRONG, f"{type(error).__name__}: {error}")


def _config() -> Iterator[Check]:
    if (path := config_path()) is None:
        yield Check("config", GOOD, "there is no serbench.toml")
        return
    try:
        known = read(path)
    except SerbenchError as error:
        yield Check("config", WRONG, str(error))
        return
    yield Check("config", GOOD, f"{path} is read: {len(known.roots)} corpora, {len(known.options())} defaults")


def _libraries() -> Iterator[Check]:
    """Required parts that can't be used are wrong; optional ones that are there and broken are doubtful."""
    parts = states()
    for one in parts:
        if one.problem is not None and (one.required or one.version is not None):
            state = WRONG if one.required else DOUBTFUL
            yield Check(one.part.distribution, state, f"{one.problem}; lost: {one.part.lost}", one.remedy)
    usable = sum(one.problem is None for one in parts)
    yield Check("libraries", GOOD, f"{usable} of {len(parts)} parts are usable")


def _folder(name: str, folder: Path, remedy: str) -> Iterator[Check]:
    """Whether a file can be written there, and how much room there is; nothing stays."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there) as stream:
            stream.write(b"serbench")
            stream.flush()
    except OSError as error:
        yield Check(name, WRONG, f"{folder} can't be written to: {error.strerror or error}", remedy)
        return
    free = shutil.disk_usage(there).free
    yield Check(name, DOUBTFUL if free < ROOM else GOOD, f"{folder} can be written to, {free / 1e9:.1f} GB free")


def _corpora() -> Iterator[Check]:
    """Each corpus whose folder is named: opened by its label files, and whether a file of sound is there."""
    named = [name for name in registry.names() if os.environ.get(root_variable(name))]
    for name in named:
        folder = os.environ[root_variable(name)]
        try:
            corpus = load_corpus(name)
        except SerbenchError as error:
            yield Check(name, WRONG, str(error), f"serbench check {name} --root FOLDER" if needs_root(name) else "")
            continue
        some = [corpus.root / path for path in corpus.utterances["path"].dropna().head(1)]
        said = f"{folder}: {len(corpus.utterances)} utterances"
        if all(path.exists() for path in some):
            yield Check(name, GOOD, said)
        else:
            yield Check(name, DOUBTFUL, f"{said}, but {some[0]} is not there", f"serbench check {name}")
    if not named:
        yield Check("corpora", GOOD, "no folder is named; demo needs none")


def _device() -> Iterator[Check]:
    """A product of two matrices on the device that `auto` takes."""
    import torch

    from .machine import resolve_device

    device = resolve_device("auto")
    try:
        one = torch.ones(64, 64, device=device)
        right = bool((one @ one == 64).all().item())
    except RuntimeError as error:
        yield Check("device", WRONG, f"{device} can't compute: {str(error).splitlines()[0]}", "--device cpu")
        return
    driver = shutil.which("nvidia-smi") is not None and device == "cpu"
    if not right:
        yield Check("device", WRONG, f"{device} computes wrongly", "--device cpu")
    elif driver:
        yield Check("device", DOUBTFUL, "cpu is taken, though there is an NVIDIA driver", "serbench env")
    else:
        yield Check("device", GOOD, f"{device} computes")


def _threads() -> Iterator[Check]:
    cores, asked = os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS", "")
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    said = f"{free} of {cores} cores may be used, OMP_NUM_THREADS is {asked or 'not set'}"
    many = asked.isdigit() and int(asked) > free
    yield Check("threads", DOUBTFUL if many else GOOD, said, f"export OMP_NUM_THREADS={free}" if many else "")
