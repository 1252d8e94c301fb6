"""Damage: one random bit of one file is flipped, of each kind of file that is read, and the file is read again.

Found means: it is refused or made again, with a message or a note. Without effect means: everything that is read is the
same as before (a blank of JSON, a byte of padding). Another identity means: the file is a user's text without a
checksum, such as word vectors; its digest is part of the recipe, so the result is another run and never taken for the
first. Anything else would be a silent change.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json, file_sha256, sealed, write_bytes
from ...results.record.folder import Run, load_runs
from ...results.record.storage import DEV_SUFFIX
from ...results.record.test_items import read_ratings
from .children import command
from .tally import Tally
from .works import Workshop, fingerprint, sound

FOUND, SAME, OTHER = "found", "without effect", "another identity"
OF_USERS = (".vec", ".bin", ".tar")
"""Files without a checksum, whose digest is part of a recipe or of the notes of what was made of them."""
Reading = Callable[[Path], str]
"""Reads a damaged file as serbench does; the digest of all that it gives. Raises for what it finds."""


def tortured(place: Path, rounds: int, seed: int) -> Iterator[Tally]:
    """A row for each kind of file, with `rounds` flipped bits."""
    rng = Random(seed)
    for name, file, read in (*_of_a_run(place), *_of_a_cache(place), *_of_users(place)):
        yield flipped(name, file, read, rounds, rng)


def _of_a_run(place: Path) -> Iterator[tuple[str, Path, Reading]]:
    """What a run leaves and reads again."""
    shop = Workshop(place, ["run linear"])
    work = shop.works[0]
    folder = shop.fresh(work)
    sound(command(work.arguments, folder, seconds=30), work.name)
    sound(command(("push", "linear", "sent"), folder), "push")
    (run,) = (r.path for r in load_runs(folder / "results", model="linear"))
    yield "run.json", run / "run.json", lambda file: canonical_json(Run.open(file.parent).spec)
    yield "unit-*.json", next(iter(run.glob("unit-*.json"))), _units
    yield "predictions (unit-*.parquet)", run / "unit-0-official.parquet", _predictions
    yield "dev predictions (unit-*.dev.parquet)", run / f"unit-0-official{DEV_SUFFIX}", _dev_predictions
    yield "items.json", run / "items.json", _items
    yield "items.parquet", run / "items.parquet", _items
    yield "weights (.safetensors)", next(iter(run.glob("unit-*.safetensors"))), _weights
    yield "training state", _state(place), _taken_up
    for name in ("config.json", "model.safetensors"):
        yield f"a model that travels ({name})", folder / "sent" / name, _pulled
    (pack,) = (folder / "cache").rglob("*.pack")
    yield "cache pack", pack, lambda file: canonical_json(fingerprint(file.parent))


def _of_a_cache(place: Path) -> Iterator[tuple[str, Path, Reading]]:
    """What saves time, and may be made again; of packs above."""
    audio = importlib.import_module("serbench.features.core.audio")
    heard, memory = place / "corpus" / "00.wav", place / "memory"
    hashes, seen = audio.AudioHashes(memory), audio.signature(heard)
    hashes.learn(heard, seen, file_sha256(heard), time.time() + 60)  # as if it had rested
    hashes.save()
    (memories,) = memory.iterdir()
    yield "remembered digests of sound", memories, lambda _: _there(audio.AudioHashes(memory).known(heard, seen))
    sound_of_parquet = importlib.import_module("serbench.datasets.hf.sound")
    index = place / "unpacked" / "index-0.json"
    write_bytes(index, sealed(b'[["ab.wav","clip0.wav"],[null,"clip1.wav"]]'))
    (index.parent / "ab.wav").touch()
    yield "index of unpacked sound", index, lambda file: _there(sound_of_parquet._known(file, file.parent))


def _of_users(place: Path) -> Iterator[tuple[str, Path, Reading]]:
    """Files that others wrote, and a map made of them."""
    makers = importlib.import_module("serbench.benchmarks.torture.inputs.readers").MAKERS
    for name in ("word vectors (.vec)", "word vectors (.bin)"):
        yield name, makers[name](place / "vectors").files[0], _vectors
    maps, numpy = importlib.import_module("serbench.features.spaces.map_file"), importlib.import_module("numpy")
    file = place / f"x{maps.SUFFIX}"
    maps.save_map(file, maps.SpaceMap("unit-centre", numpy.ones(4, "<f4"), numpy.eye(4, dtype="<f4")))
    yield "map of word vectors", file, lambda file: str(maps.load_map(file).sha256)
    released = makers["checkpoint (.pth.tar)"](place).files[0]
    yield "weights of others (.pth.tar)", released, _converted


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
    if file.suffix in OF_USERS:  # its digest is part of what is asked for
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


def _converted(file: Path) -> str:
    importer = importlib.import_module("serbench.sermodels.deepemocluster.importer")
    return str(importer.convert(file, file.parent)[1]["sha256"])


def _pulled(file: Path) -> str:
    with importlib.import_module("serbench.sermodels.hub.places").at_hand(file.parent) as (folder, config, _):
        return canonical_json(config) + _weights(folder / "model.safetensors")


def _there(known: object) -> str:
    if known is None:
        raise SerbenchError("nothing is remembered; it is made again")
    return str(known)


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
