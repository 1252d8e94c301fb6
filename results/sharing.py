"""Records that travel: joining results folders of several machines or groups, and packing one run for others.

`merge` copies every unit of every run into one results folder. The same unit from two places is a duplicate when its
predictions are equal, and is dropped; different predictions for one unit are a conflict, and nothing is written until
the user has decided. A finished unit replaces a failed one. `export_run` packs a run as a zip file without what may
not be passed on: gold labels (unless asked for) and the paths of the machine it was made on. Audio and transcripts
are in no record. `merge` takes such files too, and gives predictions that came without gold labels those of a
labelled run of the same protocol digest, which has them for the same items.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
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

from ..datasets._errors import SerbenchError
from ..datasets._files import atomic_write, write_json
from ._identity import REQUIRED
from ._storage import join_parquet, write_parquet
from .records import Run, load_runs
from .scoring import gold_columns, key_columns

HIDDEN = "PATH"
"""What stands in an exported record where a path of the machine stood."""
LICENCE_NOTE = """This archive holds a serbench run: its complete configuration, the predictions for every test item and
the scores. {labels}
Put it into a results folder with:  serbench merge THIS.zip --out RESULTS
"""


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
        opened = {_opened(Path(source), stack): str(source) for source in sources}
        folders = [folder for folder in opened if folder.resolve() != Path(out).resolve()]
        places = {str(folder): source for folder, source in opened.items()}
        runs, notes = _read_all([Path(out), *folders], places)
        if not any(run.results != Path(out) for run in runs):
            given = ", ".join(map(str, sources)) or "nothing"
            raise SerbenchError(f"there are no runs in {given}. Expected results folders (that hold runs/) or exports.")
        chosen, duplicates, conflicts = _choose(runs, places)
        if conflicts:
            raise SerbenchError(
                f"{len(conflicts)} records conflict, so nothing was merged:\n  " + "\n  ".join(conflicts)
                + "\nDelete the unit (its .json and .parquet) that shall not count, then merge again."
            )  # fmt: skip
        labelled = {run.protocol_digest: run for run in runs if _has_labels(run)}
        written = sum(_write(unit, Path(out), labelled, notes) for unit in chosen)
        _copy_items(runs, Path(out))
        notes += _versions(runs)
    return Merged(len({unit.run.run_id for unit in chosen}), written, duplicates, tuple(dict.fromkeys(notes)))


def export_run(run: Run, path: Path, *, labels: bool = False) -> Path:
    """Pack a run with its predictions and scores into a zip file; gold labels only if asked for.

    Scores are in `scores.csv`, since they can't be computed without the labels. Texts of the record lose the paths of
    this machine. The same run always gives the same bytes.
    """
    path = Path(path)
    if path.suffix.lower() != ".zip":
        raise SerbenchError(f"{str(path)!r} is no name of a zip file. Type --out {path}.zip")
    run.verify()
    hide = _paths(run)
    note = "Gold labels are included: see to the corpus's licence." if labels else "Gold labels were removed."
    members = {"README.txt": LICENCE_NOTE.format(labels=note).encode()}
    with tempfile.TemporaryDirectory() as name:
        spec = {k: v if k in REQUIRED else _hidden(v, hide) for k, v in _without_root(run.spec).items()}
        spec["exported"] = {"labels": labels}
        copy_of = Run(Path(name) / "runs" / run.run_id, spec)
        copy_of.path.mkdir(parents=True)
        members[f"runs/{run.run_id}/run.json"] = _json(spec)
        for unit in run.units():
            _export_unit(run, copy_of, _hidden(unit, hide), labels=labels)
        if (items := run.items()) is not None:
            copy_of.write_items(items.reset_index())
        for file in sorted(copy_of.path.iterdir()):
            members[f"runs/{run.run_id}/{file.name}"] = file.read_bytes()
    members[f"runs/{run.run_id}/scores.csv"] = run.scores().to_csv(index=False, lineterminator="\n").encode()
    atomic_write(path, lambda stream: _pack(stream, members))
    return path


def _export_unit(run: Run, copy_of: Run, facts: dict[str, Any], *, labels: bool) -> None:
    """Write one unit of an export; without labels its parquet lacks the gold columns and has a digest of its own."""
    facts_file, data_file = copy_of.unit_files(facts["trial"], facts["fold"])
    if facts["status"] == "done":
        table = _predictions(run, facts)
        kept = table if labels else table.drop(columns=gold_columns(run.task), errors="ignore")
        facts = {**facts, "predictions": write_parquet(data_file, kept)}
    write_json(facts_file, facts)


def _opened(source: Path, stack: ExitStack) -> Path:
    """A results folder: the source itself, or what its zip file holds, in a folder that lives as long as the stack."""
    if source.is_dir():
        return source
    if not zipfile.is_zipfile(source):
        raise SerbenchError(f"{str(source)!r} is neither a results folder nor an exported zip file.")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"runs/[^/\\]+/[^/\\]+", name) and ".." not in name.split("/"):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return folder


def _read_all(folders: Iterable[Path], places: Mapping[str, str]) -> tuple[list[Run], list[str]]:
    """All sound runs of the folders, the target's first; damaged ones as notes."""
    runs: list[Run] = []
    notes: list[str] = []
    for folder in folders:
        found = load_runs(folder)
        runs += found
        for path, reason in found.problems.items():
            notes.append(f"left out: {reason.replace(str(folder), places.get(str(folder), str(folder)))} ({path.name})")
    return runs, notes


def _choose(runs: Sequence[Run], places: Mapping[str, str]) -> tuple[list[_Unit], int, list[str]]:
    """The units to write, the number of duplicates, and the conflicts; the first source of a unit wins."""
    held: dict[tuple[str, int, str], _Unit] = {}
    duplicates, conflicts = 0, []
    for run in runs:
        for facts in run.units():
            key = run.run_id, int(facts["trial"]), str(facts["fold"])
            first = held.get(key)
            if first is None or (first.facts["status"] == "failed" and facts["status"] == "done"):
                held[key] = _Unit(run, facts)
            elif facts["status"] == "done" and (found := _difference(first, _Unit(run, facts))):
                where = [places.get(str(r.results), str(r.results)) for r in (first.run, run)]
                conflicts.append(f"{key[0]}, trial {key[1]}, fold {key[2]}: {found}, in {where[0]} and {where[1]}")
            else:
                duplicates += 1
                if not _gold_is_there(first) and _gold_is_there(_Unit(run, facts)):
                    held[key] = _Unit(run, facts)
    return list(held.values()), duplicates, conflicts


def _difference(a: _Unit, b: _Unit) -> str:
    """What differs between the predictions of two finished units; empty for duplicates."""
    if a.facts["predictions"]["sha256"] == b.facts["predictions"]["sha256"]:
        return ""
    left, right = (_predictions(u.run, u.facts) for u in (a, b))
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
    if run.results == out and complete:
        return 0
    target = Run.create(out, {k: v for k, v in run.spec.items() if k != "exported"})
    source = None if complete else labelled.get(run.protocol_digest)
    if source is not None:
        facts.pop("predictions")
        target.write_unit(facts["trial"], facts["fold"], facts, _labelled(_predictions(run, unit.facts), source, run))
        return 1
    if not complete:
        notes.append(f"{run.run_id} came without gold labels and can't be scored: run any model (chance will do) under "
                     "the same protocol on your copy of the corpus, then merge again")  # fmt: skip
    return _copy_unit(run, target, facts)


def _copy_unit(run: Run, target: Run, facts: Mapping[str, Any]) -> int:
    """Copy a unit's files as they are, the facts last; 0 when they are there already."""
    if run.path == target.path:
        return 0
    source, copied = (r.unit_files(facts["trial"], facts["fold"])[0] for r in (run, target))
    copied.unlink(missing_ok=True)
    for suffix in (".safetensors", ".parquet", ".json"):
        if source.with_suffix(suffix).is_file():
            atomic_write(copied.with_suffix(suffix), partial(_pour, source.with_suffix(suffix)))
    return 1


def _pour(source: Path, stream: IO[bytes]) -> None:
    with source.open("rb") as data:
        shutil.copyfileobj(data, stream)


def _labelled(table: pd.DataFrame, source: Run, run: Run) -> pd.DataFrame:
    """Predictions with the gold labels that another run of the same protocol holds for the same items."""
    keys = [c for c in key_columns(table) if c != "trial"]
    gold = source.predictions(columns=[*keys, *gold_columns(source.task)])
    gold = gold.drop_duplicates(keys)[[*keys, *gold_columns(source.task)]]
    joined = table.merge(gold, on=keys, how="left", indicator=True)
    lost = joined["_merge"].ne("both")
    if lost.any():
        raise SerbenchError(
            f"{source.run_id} has no gold label for {int(lost.sum())} items of {run.run_id}, such as "
            f"{joined.loc[lost, 'id'].iloc[0]!r}. Expected a run that scored all of them."
        )
    return joined.drop(columns="_merge")


def _copy_items(runs: Iterable[Run], out: Path) -> None:
    for run in runs:
        target = out / "runs" / run.run_id
        if target.is_dir() and not (target / "items.json").is_file() and (items := run.items()) is not None:
            Run.open(target).write_items(items.reset_index())


def _versions(runs: Iterable[Run]) -> Iterator[str]:
    """A note for each run whose units were made by different versions of serbench."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for unit in run.units():
            version = (unit.get("versions") or {}).get("serbench") or run.spec.get("serbench") or "unknown"
            found.setdefault(run.run_id, set()).add(str(version))
    for run_id, versions in found.items():
        if len(versions) > 1:
            yield f"{run_id} mixes units of serbench {', '.join(sorted(versions))}"


def _has_labels(run: Run) -> bool:
    return any(_gold_is_there(_Unit(run, unit)) for unit in run.units() if unit["status"] == "done")


def _gold_is_there(unit: _Unit) -> bool:
    if unit.facts["status"] != "done":
        return True
    import pyarrow.parquet as pq

    names = pq.read_schema(unit.run.unit_files(unit.facts["trial"], unit.facts["fold"])[1]).names
    return set(gold_columns(unit.run.task)) <= set(names)


def _predictions(run: Run, facts: Mapping[str, Any]) -> pd.DataFrame:
    table = join_parquet([(run.unit_files(facts["trial"], facts["fold"])[1].read_bytes(), {})], None)
    assert table is not None
    return table


def _paths(run: Run) -> list[str]:
    """Paths of this machine that texts of the record may hold, the longest first."""
    arguments = run.spec.get("arguments") or {}
    corpora = [arguments, arguments.get("test") or {}, *(arguments.get("also") or ())]
    found = {str(run.results.resolve()), str(Path.home()), str(Path.cwd())}
    for given in (corpus["root"] for corpus in corpora if corpus.get("root")):
        found |= {str(given), str(Path(given).expanduser().resolve())}
    found |= {str(Path(file["path"]).expanduser().resolve().parent) for file in arguments.get("weights") or ()}
    return sorted((p for p in found if len(p) > 1 and p != "/"), key=len, reverse=True)


def _without_root(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A specification whose command and arguments name no folder of this machine."""
    out = copy.deepcopy(dict(spec))
    if isinstance(out.get("arguments"), dict) and out["arguments"].get("root"):
        out["arguments"]["root"] = HIDDEN
    words = shlex.split(str(out.get("command") or ""))
    for i, word in enumerate(words[:-1]):
        if word == "--root":
            name, sign, _ = words[i + 1].partition("=")
            words[i + 1] = f"{name}={HIDDEN}" if sign and "/" not in name else HIDDEN
    out["command"] = shlex.join(words)
    return out


def _hidden(value: Any, paths: Sequence[str]) -> Any:
    """Nested values in which no text holds one of the paths."""
    if isinstance(value, str):
        for path in paths:
            value = value.replace(path, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {key: _hidden(item, paths) for key, item in value.items()}
    return [_hidden(item, paths) for item in value] if isinstance(value, list) else value


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _pack(stream: Any, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
