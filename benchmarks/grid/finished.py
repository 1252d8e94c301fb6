"""Recalling that a request is finished, without importing its model.

A finished request leaves a note under results/runs/.finished/: the digest of the request, of the corpus on disk and of
every source file that could change the outcome, and the run that it led to. When the same request comes again and
nothing of that has changed, the run folder is only checked for completeness. A note is never a record: deleting the
folder costs time and nothing else.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest, write_json
from ...results.record.folder import Run
from ...results.record.storage import plain
from ..protocol.request import Request

FLOORS = ("datasets", "features", "sermodels", "results", "benchmarks")


def recall(results: Path, request: Request, corpora: Sequence[str]) -> Run | None:
    """The finished run of an unchanged request, or None; `corpora` are the digests of all of its corpora."""
    note = _note(results, request, corpora)
    try:
        held = json.loads(note.read_text(encoding="utf-8"))
        run = Run.open(results / "runs" / held["run_id"])
        return run if not run.finished(request.trials, held["folds"]) else None
    except (OSError, ValueError, KeyError, SerbenchError):
        return None


def remember(results: Path, request: Request, corpora: Sequence[str], run: Run, folds: Sequence[str]) -> None:
    """Leave the note that a request is finished."""
    write_json(_note(results, request, corpora), {"run_id": run.run_id, "folds": list(folds)})


def _note(results: Path, request: Request, corpora: Sequence[str]) -> Path:
    key = digest(plain([asdict(request), list(corpora), source_digest(request.model)]), 32)
    return results / "runs" / ".finished" / f"{key}.json"


def source_digest(*more: str) -> str:
    """Sixteen hexadecimal digits of every source file of serbench, in whatever room it is, and of further texts."""
    texts = [[str(path.relative_to(floor)), digest(path.read_bytes())] for floor in floors() for path in sources(floor)]
    return digest([*more, *texts])


def floors() -> list[Path]:
    """The folders of the five floors, wherever serbench is installed."""
    return [Path(next(iter(importlib.import_module(f"serbench.{name}").__path__))) for name in FLOORS]


def sources(room: Path) -> Iterator[Path]:
    """The source files of a room and of the rooms in it, in the same order everywhere."""
    yield from sorted(room.glob("*.py"))
    for inner in sorted(part.parent for part in room.glob("*/__init__.py")):
        yield from sources(inner)
