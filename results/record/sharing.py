"""Records that travel: joining results folders of several machines or groups, and packing one run for others.

`merge` copies every unit of every run, and of what `serbench stress` made of it, into one results folder. The same
unit from two places is a duplicate when its predictions are equal, and is dropped; different predictions for one unit
are a conflict, and nothing is written until the user has decided. A finished unit replaces a failed one. `merge` takes
the zip files of `export_run` (`record/packing.py`) too, and gives predictions that came without gold labels those of a
labelled run of the same protocol digest, which has them for the same items.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write
from ...datasets.core.stages import track
from ..scores.scoring import gold_columns, key_columns
from .folder import Run, load_runs
from .packing import export_run
from .storage import DEV_SUFFIX
from .stressed import FOLDER, folder as stress_folder
from .test_items import has_ratings, read_ratings, write_ratings

__all__ = ["Merged", "export_run", "has_labels", "merge", "opened"]
LARGEST, MOST_TIMES = 64 << 20, 50
"""A zip file unpacks to 64 MiB, or to 50 times its own size; what does to more holds no records."""


@dataclass(frozen=True)
class Merged:
    """What a merge did: numbers of runs and units copied, duplicates dropped, and notes for the user."""

    runs: int
    units: int
    duplicates: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    """One unit to be written: where from, and with which gold labels if its own were removed."""

    run: Run
    facts: Mapping[str, Any]


def merge(sources: Sequence[Path], out: Path) -> Merged:
    """Join results folders (or exported zip files) into `out`, which may hold runs already.

    Raises
    ------
    SerbenchError
        Without any run, or when two sources hold different predictions for one unit (all conflicts are named, and
        nothing is written).
    """
    with ExitStack() as stack:
        places_of = {opened(Path(source), stack): str(source) for source in sources}
        folders = [folder for folder in places_of if folder.resolve() != Path(out).resolve()]
        places = {str(folder): source for folder, source in places_of.items()}
        runs, notes = _read_all([Path(out), *folders], places)
        if not any(run.results != _home(run, out) for run in runs):
            given = ", ".join(map(str, sources)) or "nothing"
            raise SerbenchError(f"there are no runs in {given}. Expected results folders (that hold runs/) or exports.")
        chosen, duplicates, conflicts = _choose(runs, places)
        if conflicts:
            raise SerbenchError(
                f"{len(conflicts)} records conflict, so nothing was merged:\n  "
                + "\n  ".join(conflicts)
                + "\nDelete the unit (its .json and .parquet) that shall not count, then merge again."
            )
        labelled = {run.protocol_digest: run for run in runs if has_labels(run)}
        written = sum(_write(unit, Path(out), labelled, notes) for unit in track(chosen, "writing units"))
        _copy_items(runs, Path(out))
        notes += _versions(runs)
    return Merged(len({unit.run.run_id for unit in chosen}), written, duplicates, tuple(dict.fromkeys(notes)))


def opened(source: Path, stack: ExitStack) -> Path:
    """A results folder: the source itself, or what its zip file holds, in a folder that lives as long as the stack.

    Only files of run folders are unpacked, and none of an archive that unpacks to far more than records do.
    """
    if source.is_dir():
        return source
    if not zipfile.is_zipfile(source):
        raise SerbenchError(f"{str(source)!r} is neither a results folder nor an exported zip file.")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with zipfile.ZipFile(source) as archive:
        _refuse_bomb(source, archive)
        for name in archive.namelist():
            if re.fullmatch(rf"({FOLDER}/)?runs/[^/\\]+/[^/\\]+", name) and ".." not in name.split("/"):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return folder


def _refuse_bomb(source: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a zip file that unpacks to far more than records do: they are packed already, or short."""
    whole = sum(entry.file_size for entry in archive.infolist())
    if whole > max(LARGEST, MOST_TIMES * source.stat().st_size):
        raise SerbenchError(
            f"{str(source)!r} has {source.stat().st_size} bytes and would unpack to {whole}. Expected records, which "
            "are packed already: a file that 'serbench export' wrote."
        )


def _read_all(folders: Iterable[Path], places: Mapping[str, str]) -> tuple[list[Run], list[str]]:
    """All sound runs of the folders, the target's first; damaged ones as notes."""
    runs: list[Run] = []
    notes: list[str] = []
    for folder in folders:
        for here in (load_runs(folder), load_runs(stress_folder(folder))):
            runs += here
            for path, reason in here.problems.items():
                said = reason.replace(str(folder), places.get(str(folder), str(folder)))
                notes.append(f"left out: {said} ({path.name})")
    return runs, notes


def _home(run: Run, out: Path) -> Path:
    """The results folder that a run belongs into: records of perturbed audio have one of their own."""
    return stress_folder(out) if run.spec.get("stress") else Path(out)


def _choose(runs: Sequence[Run], places: Mapping[str, str]) -> tuple[list[_Unit], int, list[str]]:
    """The units to write, the number of duplicates, and the conflicts; the first source of a unit wins."""
    held: dict[tuple[str, int, str], _Unit] = {}
    duplicates, conflicts = 0, []
    for run in track(runs, "comparing runs"):
        for facts in run.units():
            key = run.run_id, int(facts["trial"]), str(facts["fold"])
            first = held.get(key)
            if first is None or (first.facts["status"] == "failed" and facts["status"] == "done"):
                held[key] = _Unit(run, facts)
            elif facts["status"] == "done" and (conflict := _difference(first, _Unit(run, facts))):
                where = [places.get(str(r.results), str(r.results)) for r in (first.run, run)]
                conflicts.append(f"{key[0]}, trial {key[1]}, fold {key[2]}: {conflict}, in {where[0]} and {where[1]}")
            else:
                duplicates += 1
                if not _gold_is_there(first) and _gold_is_there(_Unit(run, facts)):
                    held[key] = _Unit(run, facts)
    return list(held.values()), duplicates, conflicts


def _difference(a: _Unit, b: _Unit) -> str:
    """What differs between the predictions of two finished units; empty for duplicates."""
    if a.facts["predictions"]["sha256"] == b.facts["predictions"]["sha256"]:
        return ""
    left, right = (u.run.unit_predictions(u.facts) for u in (a, b))
    common = [c for c in left if c in right]
    left, right = (t[common].sort_values(key_columns(t), ignore_index=True) for t in (left, right))
    if len(left) != len(right):
        return f"{len(left)} and {len(right)} predictions"
    for column in common:
        x, y = left[column], right[column]
        if rows := int((x.ne(y) & ~(x.isna() & y.isna())).sum()):
            return f"{rows} of {len(left)} values of {column} differ"
    return ""


def _write(unit: _Unit, out: Path, labelled: Mapping[str, Run], notes: list[str]) -> int:
    """Bring one unit into the results folder; 0 when it is there already."""
    run, facts, complete = unit.run, dict(unit.facts), _gold_is_there(unit)
    home = _home(run, out)
    if run.results == home and complete:
        return 0
    target = Run.create(home, {k: v for k, v in run.spec.items() if k != "exported"})
    source = None if complete else labelled.get(run.protocol_digest)
    if source is not None:
        facts.pop("predictions")
        target.write_unit(facts["trial"], facts["fold"], facts, _labelled(unit, source))
        return 1
    if not complete:
        notes.append(
            f"{run.run_id} came without gold labels and can't be scored: run any model (chance will do) under "
            "the same protocol on your copy of the corpus, then merge again"
        )
    return _copy_unit(run, target, facts)


def _copy_unit(run: Run, target: Run, facts: Mapping[str, Any]) -> int:
    """Copy a unit's files as they are, the facts last; 0 when they are there already."""
    if run.path == target.path:
        return 0
    source, copied = (r.unit_files(facts["trial"], facts["fold"])[0] for r in (run, target))
    copied.unlink(missing_ok=True)
    for suffix in (".safetensors", DEV_SUFFIX, ".parquet", ".json"):
        if source.with_suffix(suffix).is_file():
            atomic_write(copied.with_suffix(suffix), partial(_pour, source.with_suffix(suffix)))
    return 1


def _pour(source: Path, stream: IO[bytes]) -> None:
    with source.open("rb") as data:
        shutil.copyfileobj(data, stream)


def _labelled(unit: _Unit, source: Run) -> pd.DataFrame:
    """Predictions with the gold labels that another run of the same protocol holds for the same items."""
    table = unit.run.unit_predictions(unit.facts)
    keys = [c for c in key_columns(table) if c != "trial"]
    gold = source.predictions(columns=[*keys, *gold_columns(source.task)])
    gold = gold.drop_duplicates(keys)[[*keys, *gold_columns(source.task)]]
    joined = table.merge(gold, on=keys, how="left", indicator=True)
    lost = joined["_merge"].ne("both")
    if lost.any():
        raise SerbenchError(
            f"{source.run_id} has no gold label for {int(lost.sum())} items of {unit.run.run_id}, such as "
            f"{joined.loc[lost, 'id'].iloc[0]!r}. Expected a run that scored all of them."
        )
    return joined.drop(columns="_merge")


def _copy_items(runs: Iterable[Run], out: Path) -> None:
    for run in runs:
        target = _home(run, out) / "runs" / run.run_id
        if target.is_dir() and not (target / "items.json").is_file() and (items := run.items()) is not None:
            Run.open(target).write_items(items.reset_index())
        if target.is_dir() and not has_ratings(target) and (answered := read_ratings(run.path)) is not None:
            write_ratings(target, answered)


def _versions(runs: Iterable[Run]) -> Iterator[str]:
    """A note for each run whose units were made by different versions of serbench."""
    versions_of: dict[str, set[str]] = {}
    for run in runs:
        for unit in run.units():
            version = (unit.get("versions") or {}).get("serbench") or run.spec.get("serbench") or "unknown"
            versions_of.setdefault(run.run_id, set()).add(str(version))
    for run_id, versions in versions_of.items():
        if len(versions) > 1:
            yield f"{run_id} mixes units of serbench {', '.join(sorted(versions))}"


def has_labels(run: Run) -> bool:
    """Whether any finished unit of a run holds gold labels."""
    return any(_gold_is_there(_Unit(run, unit)) for unit in run.units() if unit["status"] == "done")


def _gold_is_there(unit: _Unit) -> bool:
    if unit.facts["status"] != "done":
        return True
    import pyarrow.parquet as pq

    names = pq.read_schema(unit.run.unit_files(unit.facts["trial"], unit.facts["fold"])[1]).names
    return set(gold_columns(unit.run.task)) <= set(names)
