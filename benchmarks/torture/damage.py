"""Damage: one random bit of one file is flipped, of each kind of file that is read, and the file is read again.

Found means: it is refused or made again, with a message or a note. Without effect means: everything that is read is the
same as before (a blank of JSON, a byte of padding). Another identity means: the file is a user's text without a
checksum, such as word vectors; its digest is part of the recipe, so the result is another run and never taken for the
first. Anything else would be a silent change.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json, file_sha256
from ...results.record.folder import Run, load_runs
from ...results.record.storage import DEV_SUFFIX
from ...results.record.test_items import read_ratings
from .children import command
from .tally import Tally
from .works import Workshop, fingerprint, sound

FOUND, SAME, OTHER = "found", "without effect", "another identity"
Reading = Callable[[Path], str]
"""Reads a damaged file as serbench does; the digest of all that it gives. Raises for what it finds."""


def tortured(place: Path, rounds: int, seed: int) -> Iterator[Tally]:
    """A row for each kind of file, with `rounds` flipped bits."""
    shop, rng = Workshop(place, ["run linear"]), Random(seed)
    work, vectors = shop.works[0], place / "w.vec"
    folder = shop.fresh(work)
    sound(command(work.arguments, folder, seconds=30), work.name)
    vectors.write_text("3 2\nba 0.5 1\ndi 2 -3e-2\ngu 0 7\n")
    (run,) = (r.path for r in load_runs(folder / "results", model="linear"))
    (pack,) = (folder / "cache").rglob("*.pack")
    kinds: list[tuple[str, Path, Reading]] = [
        ("run.json", run / "run.json", lambda file: canonical_json(Run.open(file.parent).spec)),
        ("unit-*.json", next(iter(run.glob("unit-*.json"))), _units),
        ("predictions (unit-*.parquet)", run / "unit-0-official.parquet", _predictions),
        ("dev predictions (unit-*.dev.parquet)", run / f"unit-0-official{DEV_SUFFIX}", _dev_predictions),
        ("items.json", run / "items.json", _items),
        ("items.parquet", run / "items.parquet", _items),
        ("weights (.safetensors)", next(iter(run.glob("unit-*.safetensors"))), _weights),
        ("training state", _state(place), _taken_up),
        ("cache pack", pack, lambda file: canonical_json(fingerprint(file.parent))),
        ("word vectors (.vec)", vectors, _vectors),
    ]
    for name, file, read in kinds:
        yield flipped(name, file, read, rounds, rng)


def flipped(name: str, file: Path, read: Reading, rounds: int, rng: Random) -> Tally:
    """One bit at a time; the file is as it was in the end."""
    row, whole = Tally(name, "one bit flipped"), file.read_bytes()
    before = read(file)
    for _ in range(rounds):
        bit = rng.randrange(8 * len(whole))
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        outcome, wrong = _outcome(read, file, before)
        row.add(outcome, f"{name}, bit {bit}: {wrong}" if wrong else "")
    file.write_bytes(whole)
    return row


def _outcome(read: Reading, file: Path, before: str) -> tuple[str, str]:
    try:
        after = read(file)
    except SerbenchError:
        return FOUND, ""
    except Exception as error:  # what a user would see as a traceback
        return "", f"{type(error).__name__}: {error}"
    if after == before:
        return SAME, ""
    if file.suffix == ".vec":  # its digest is part of what is asked for
        return OTHER, ""
    if file.suffix == ".pack" and json.loads(after).items() < json.loads(before).items():
        return FOUND, ""  # the array counts as missing, and is made again
    return "", "it was read, and is not what was written"


def _units(file: Path) -> str:
    return canonical_json(Run.open(file.parent).units())


def _predictions(file: Path) -> str:
    return str(Run.open(file.parent).predictions().to_csv())


def _dev_predictions(file: Path) -> str:
    run = Run.open(file.parent)
    tables = [run.dev_predictions(unit) for unit in run.units()]
    return "".join("" if table is None else str(table.to_csv()) for table in tables)


def _items(file: Path) -> str:
    items = Run.open(file.parent).items()
    return f"{'' if items is None else items.to_csv()}{read_ratings(file.parent)}"


def _weights(file: Path) -> str:
    persist = importlib.import_module("serbench.sermodels.core.persist")
    head, arrays = persist._read(file)
    return canonical_json(head) + str({name: array.tobytes() for name, array in sorted(arrays.items())})


def _vectors(file: Path) -> str:
    module = importlib.import_module("serbench.features.words.vectors")
    module.read_vectors(file)
    return file_sha256(file)


def _course() -> Any:
    """A training in progress: a layer of two numbers, after an epoch."""
    torch, course = importlib.import_module("torch"), importlib.import_module("serbench.features.core.course")
    made = course.Course()
    torch.manual_seed(0)
    made.network = torch.nn.Linear(2, 1)
    made.optimisers = {"": torch.optim.Adam(made.network.parameters())}
    made.network(torch.ones(1, 2)).sum().backward()
    made.optimisers[""].step()
    made.epoch = 1
    made.keep_best()
    return made


def _state(place: Path) -> Path:
    file = place / "state" / "state.safetensors"
    _course().save_state(file, "this one", {"rows": [1.5]}, {})
    return file


def _taken_up(file: Path) -> str:
    made = _course()
    held = made.take_up(file, "this one")
    if held is None:
        raise SerbenchError("the state is not gone on from")
    return canonical_json(held[0]) + str({name: value.tolist() for name, value in sorted(held[1].items())})
