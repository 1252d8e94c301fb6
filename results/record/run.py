"""The record of a run: a folder with the specification, one JSON and one parquet file per unit, and nothing else.

A *run* is one model configuration on one task of one corpus under one protocol; a *unit* is one training, addressed by
(trial, fold). `run.json` is written first and never changed; a unit's parquet file (every test prediction) is written
before its JSON file, so a unit whose JSON is there is finished. The JSON holds the SHA-256 of the parquet file, which
is checked whenever predictions are read. Scores are never stored: they are computed from the predictions each time,
which takes milliseconds and can't go stale.

A damaged file is a `SerbenchError` that names it and says what to delete.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write, digest
from ...datasets.schema.task import Task
from ..scores.scoring import check_predictions, not_finite, required_columns, score_predictions
from .identity import REQUIRED, differences, fill_line, identity, protocol_digest, run_id, short_names, signature
from .storage import (
    DEV_ENTRY,
    join_parquet,
    leave_dev,
    plain,
    read_dev,
    read_json,
    read_verified,
    write_parquet,
    write_record,
)
from .test_items import read_items, write_items

SCHEMA = 1
STATUSES = ("done", "failed")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes
    ----------
    path : the folder
    spec : the contents of its run.json
    fresh : whether this process made the folder
    """

    path: Path
    spec: dict[str, Any]
    fresh: bool = field(default=False, compare=False)

    @classmethod
    def create(cls, results: Path, spec: Mapping[str, Any]) -> Run:
        """Open the run that a specification describes under `results`/runs, writing its run.json if there is none.

        Raises
        ------
        SerbenchError
            When the folder is there and its run.json is damaged or describes another run.
        """
        content = dict(plain(spec))
        content |= {
            "schema": SCHEMA,
            "run_id": run_id(content),
            "protocol_digest": protocol_digest(content),
            "signature": signature(content),
        }
        path = Path(results) / "runs" / content["run_id"]
        fresh = not (path / "run.json").exists()
        if fresh:
            write_record(path / "run.json", content)
        run = replace(cls.open(path), fresh=fresh)
        if changed := differences(identity(run.spec), identity(content)):
            raise SerbenchError(f"{path / 'run.json'} describes another run: {'; '.join(changed)}. Delete this folder.")
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open a run folder (or its run.json) and check that the specification is whole and fits its id."""
        path = Path(path)
        path = path.parent if path.name == "run.json" else path
        file, remedy = path / "run.json", "Restore it, or delete it and repeat the 'serbench run' line that made it."
        if not file.is_file():
            raise SerbenchError(f"{path} is not a run: it has no run.json. Expected a folder below RESULTS/runs.")
        try:
            run = cls(path, read_json(file))
            run._check(remedy)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SerbenchError(f"{file} is damaged: {type(error).__name__}: {error}. {remedy}") from error
        return run

    def withdraw(self) -> None:
        """Delete the folder if this process made it and nothing was worked on: what was asked for was refused."""
        unworked = {"run.json", "items.json", "items.parquet", "ratings.json", "ratings.parquet"}
        if self.fresh and self.path.is_dir() and {file.name for file in self.path.iterdir()} <= unworked:
            shutil.rmtree(self.path)

    @property
    def run_id(self) -> str:
        """Name of the run and of its folder."""
        return str(self.spec["run_id"])

    @property
    def results(self) -> Path:
        """The results folder that the run lies in."""
        return self.path.parent.parent

    @property
    def name(self) -> str:
        """The model's name, with the preset unless it is the default one."""
        return short_names([self.spec])[0]

    @property
    def signature(self) -> str:
        """The recipe of the run's scores on one line."""
        return signature(self.spec)

    @property
    def protocol_digest(self) -> str:
        """Two runs are comparable only if theirs are equal."""
        return protocol_digest(self.spec)

    @cached_property
    def task(self) -> Task:
        """What was predicted."""
        return Task.from_dict(self.spec["task"])

    @property
    def folds(self) -> list[str]:
        """Names of the protocol's folds."""
        folds: Sequence[str | Mapping[str, Any]] = self.spec["protocol"]["folds"]
        return [str(fold["name"]) if isinstance(fold, Mapping) else str(fold) for fold in folds]

    def write_unit(
        self,
        trial: int,
        fold: str,
        facts: Mapping[str, Any],
        predictions: pd.DataFrame | None,
        dev: pd.DataFrame | None = None,
    ) -> dict[str, Any]:
        """Leave one finished or failed unit, with what it predicted of dev; returns the facts as written.

        Numbers that JSON can't hold (NaN, infinity) are written as null. A unit whose predictions are not all finite
        is recorded as failed, with their count, and its predictions are not kept.
        """
        content = {**plain(facts, finite=True), "trial": int(trial), "fold": str(fold)}
        if content.get("status") not in STATUSES:
            allowed = ", ".join(STATUSES)
            raise SerbenchError(f"status={content.get('status')!r} is not allowed. Expected one of: {allowed}.")
        if content["status"] == "failed":
            predictions = None
        elif predictions is None:
            raise SerbenchError(f"the unit of trial {trial}, fold {fold!r} is done but brings no predictions.")
        elif bad := not_finite(predictions):
            reason = f"{bad} of {len(predictions)} predictions are not finite numbers"
            content, predictions = {**content, "status": "failed", "error": reason}, None
        else:
            check_predictions(predictions, self.task)
        facts_file, data_file = self.unit_files(trial, fold)
        facts_file.unlink(missing_ok=True)
        content.pop(DEV_ENTRY, None)
        content |= leave_dev(facts_file, None if predictions is None else dev)
        if predictions is None:
            data_file.unlink(missing_ok=True)
        else:
            content["predictions"] = write_parquet(data_file, predictions)
        write_record(facts_file, content)
        return content

    def adopt_unit(self, trial: int, fold: str, files: Mapping[str, bytes], attempts: int = 1) -> dict[str, Any]:
        """Take over the files (name -> bytes) of a unit that `write_unit` wrote in another copy of this run.

        Returns its facts; `attempts` stands in them if there was more than one. Raises `SerbenchError` for files that
        are not whole, and then leaves none of them.
        """
        facts_file, data_file = self.unit_files(trial, fold)
        try:
            facts: dict[str, Any] = json.loads(files[facts_file.name])
            facts.pop("checksum", None)
            held = facts.get("predictions") or {}
            if facts["status"] == "done" and digest(files[data_file.name], 64) != held["sha256"]:
                raise ValueError("the predictions are not those that were written")
        except (KeyError, ValueError) as error:
            raise SerbenchError(f"the unit of trial {trial}, fold {fold!r} did not arrive whole: {error}") from error
        facts_file.unlink(missing_ok=True)
        for name in sorted(files.keys() - {facts_file.name}):
            atomic_write(self.path / name, partial(_put, files[name]))
        if data_file.name not in files:
            data_file.unlink(missing_ok=True)
        facts |= {"attempts": attempts} if attempts > 1 else {}
        write_record(facts_file, facts)
        return facts

    def unit(self, trial: int, fold: str) -> dict[str, Any] | None:
        """Facts of a unit, or None when it has not been finished."""
        path, _ = self.unit_files(trial, fold)
        return self._read_unit(path) if path.exists() else None

    def units(self) -> list[dict[str, Any]]:
        """Facts of all units, by trial and fold in the protocol's order."""
        order = {fold: i for i, fold in enumerate(self.folds)}
        facts = [unit for path in self.path.glob("unit-*.json") if (unit := self._read_unit(path)) is not None]
        return sorted(facts, key=lambda u: (u["trial"], order.get(u["fold"], len(order)), u["fold"]))

    def finished(self, trials: int, folds: Iterable[str], *, retry: bool = True) -> list[tuple[int, str]]:
        """What is still to do: (trial, fold) without a finished unit; failed ones are to do again under `retry`."""
        names = list(folds)
        done = {(u["trial"], u["fold"]) for u in self.units() if u["status"] == "done" or not retry}
        return [(trial, fold) for trial in range(trials) for fold in names if (trial, fold) not in done]

    def complete_trials(self) -> list[int]:
        """Trials of which every fold is done; only these are scored, since a trial's folds are pooled."""
        return complete(self.units(), self.folds)

    def predictions(self, trial: int | None = None, columns: Collection[str] | None = None) -> pd.DataFrame:
        """Test predictions of the finished units (of one trial): the columns of the files, and `trial` and `fold`."""
        return self._read([u for u in self.units() if u["status"] == "done" and trial in (None, u["trial"])], columns)

    def unit_predictions(self, facts: Mapping[str, Any]) -> pd.DataFrame:
        """Test predictions of one finished unit, in the columns of its file; `facts` are those of the unit."""
        return self._read([facts], None).drop(columns=["trial", "fold"])

    def dev_predictions(self, facts: Mapping[str, Any]) -> pd.DataFrame | None:
        """What one finished unit predicted of its dev part; None where the record holds nothing of it."""
        return read_dev(self.unit_files(facts["trial"], facts["fold"])[0], facts)

    def scored_predictions(self, *, every_column: bool = False) -> pd.DataFrame:
        """Predictions of the complete trials, in the columns that scores are made of, or in every column."""
        units = self.units()
        trials = complete(units, self.folds)
        wanted = [u for u in units if u["trial"] in trials and u["fold"] in self.folds]
        return self._read(wanted, None if every_column else required_columns(self.task))

    def looked_into(self) -> pd.DataFrame:
        """Every column of the predictions of the complete trials; `SerbenchError` where there is none."""
        predictions = self.scored_predictions(every_column=True)
        if not len(predictions):
            raise SerbenchError(f"{self.path}: no trial is complete. To go on, type: {self.fill_line(5)}")
        return predictions

    def scores(self) -> pd.DataFrame:
        """Scores of the complete trials in long form: trial, subset, target, metric, value, n."""
        return score_predictions(self.scored_predictions(), self.task)

    def write_items(self, items: pd.DataFrame) -> None:
        """Leave what is known of the test items: `id`, speaker, gender, dialogue, duration_seconds ..."""
        write_items(self.path, items)

    def items(self) -> pd.DataFrame | None:
        """What is known of the test items, indexed by id; None for a record that holds none."""
        return read_items(self.path)

    def verify(self) -> None:
        """Read every file of the run; raise `SerbenchError` at the first damaged one."""
        for unit in self.units():
            if unit["status"] == "done":
                self._verified(unit)

    def fill_line(self, trials: int) -> str:
        """The `serbench run` line that brings this run to `trials` finished trials."""
        return fill_line(self.spec, self.results, trials)

    def unit_files(self, trial: int, fold: str) -> tuple[Path, Path]:
        """Paths of a unit's JSON and parquet files."""
        stem = f"unit-{int(trial)}-{quote(fold, safe=' +,=@')}"
        return self.path / f"{stem}.json", self.path / f"{stem}.parquet"

    def _check(self, remedy: str) -> None:
        file = self.path / "run.json"
        if self.spec["schema"] > SCHEMA:
            raise SerbenchError(f"{file} has schema {self.spec['schema']}, expected {SCHEMA}. Update serbench.")
        expected = run_id({key: self.spec[key] for key in (*REQUIRED, *({"stress"} & self.spec.keys()))})
        _ = self.task, self.folds, self.signature
        if self.spec.get("run_id") != expected:
            raise SerbenchError(
                f"{file} was changed by hand: its contents are those of the run {expected}, its run_id says "
                f"{self.spec.get('run_id')}. {remedy}"
            )

    def _damaged(self, path: Path, reason: object) -> SerbenchError:
        line = self.fill_line(int(self.spec.get("arguments", {}).get("trials") or 5))
        names = f"{path.stem}.json and {path.stem}.parquet"
        return SerbenchError(f"{path} is damaged: {reason}. Delete {names} there and run again: {line}")

    def _read_unit(self, path: Path) -> dict[str, Any] | None:
        """Facts of a unit; None where another process is writing it anew at this moment."""
        try:
            unit = read_json(path)
            if unit["status"] not in STATUSES or self.unit_files(unit["trial"], unit["fold"])[0] != path:
                raise ValueError("trial, fold or status is wrong")
            if unit["status"] == "done" and not path.with_suffix(".parquet").is_file():
                raise ValueError("there is no parquet file beside it")
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise self._damaged(path, error) from error
        return unit

    def _verified(self, unit: Mapping[str, Any]) -> bytes:
        _, path = self.unit_files(unit["trial"], unit["fold"])
        try:
            return read_verified(path, unit.get("predictions"))
        except (ValueError, OSError) as error:
            raise self._damaged(path, error) from error

    def _read(self, units: Iterable[Mapping[str, Any]], columns: Collection[str] | None) -> pd.DataFrame:
        files = ((self._verified(u), {"trial": u["trial"], "fold": u["fold"]}) for u in units)
        joined = join_parquet(files, columns)
        empty = [*(columns or required_columns(self.task)), "trial", "fold"]
        return pd.DataFrame(columns=empty) if joined is None else joined


def _put(data: bytes, stream: IO[bytes]) -> int:
    return stream.write(data)


def complete(units: Iterable[Mapping[str, Any]], folds: Collection[str]) -> list[int]:
    """Trials of which every fold is done."""
    done: dict[int, set[str]] = {}
    for unit in units:
        if unit["status"] == "done":
            done.setdefault(unit["trial"], set()).add(unit["fold"])
    return sorted(trial for trial, names in done.items() if names >= set(folds))
