"""The runs of a results folder, and a table of them; a run itself is `Run` (`record/run.py`).

A damaged folder does not end the reading: `load_runs` reports it beside the sound ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from .identity import protocol_digest
from .run import Run, complete

__all__ = ["Run", "Runs", "load_runs", "protocol_digest", "run_row", "runs_table"]
COSTS = ("feature_parameters", "macs_per_second", "real_time_factor")
"""Columns of what a trained model costs to run, measured with the units; empty where a record has none."""


class Runs(list[Run]):
    """A list of runs, and in `problems` the folders that could not be read (path -> reason)."""

    def __init__(self, runs: Iterable[Run] = (), problems: Mapping[Path, str] | None = None) -> None:
        super().__init__(runs)
        self.problems: dict[Path, str] = dict(problems or {})

    def named(self, name: str) -> Run:
        """The one run that `MODEL`, `MODEL:PRESET`, a name in tables (`linear+refit`) or a run id names.

        Raises
        ------
        SerbenchError
            For a name that is none's, or several runs'.
        """
        model, _, preset = name.partition(":")
        alike = [r for r in self if r.run_id == name or r.run_id.startswith(name + "_")] or [
            r for r in self if r.spec["model"]["name"] == model and (not preset or r.spec["model"]["preset"] == preset)
        ]
        alike = [r for r in alike or self if r.name == name] or alike
        if len(alike) > 1 and not preset:
            alike = [r for r in alike if r.spec["model"]["preset"] == "default"] or alike
        if len(alike) == 1:
            return alike[0]
        there = ", ".join(sorted(r.run_id for r in alike or self))
        problem = "names several runs" if alike else "names no run"
        raise SerbenchError(
            f"{name!r} {problem}. Expected MODEL, MODEL:PRESET, a run id, or a --task. There are: {there}."
        )


def load_runs(
    results: Path,
    *,
    model: str | Collection[str] | None = None,
    dataset: str | Collection[str] | None = None,
    task: str | Collection[str] | None = None,
) -> Runs:
    """All sound runs under `results`/runs, by folder name; filters take a name or several.

    Every file is read and checked. A damaged folder does not end the reading: it is left out and stands in `.problems`
    (damaged folders are reported whatever the filters say).
    """
    runs = Runs()
    wanted = {"model": model, "dataset": dataset, "task": task}
    for path in track(sorted((Path(results) / "runs").glob("[!.]*/")), "reading runs"):
        if not any(path.glob("[!.]*")):
            continue  # made by a process that ended before it wrote anything
        try:
            run = Run.open(path)
            if path.name != run.run_id:
                raise SerbenchError(f"{path} holds the run {run.run_id}. Rename the folder so, or delete the copy.")
            run.verify()
        except (SerbenchError, OSError) as error:
            runs.problems[path] = str(error)
            continue
        if all(_chosen(run.spec[key]["name"], names) for key, names in wanted.items()):
            runs.append(run)
    return runs


def some_runs(results: Path, *, dataset: str | None = None, task: str | None = None) -> Runs:
    """`load_runs`, where there is one at least; a SerbenchError that says how to make one else."""
    runs = load_runs(results, dataset=dataset, task=task)
    if not runs:
        raise SerbenchError(
            f"there are no runs under {str(results / 'runs')!r}"
            f"{f' for {dataset}' if dataset else ''}{f' and the task {task}' if task else ''}. "
            "Type 'serbench run --model chance --dataset demo' to make one."
        )
    return runs


def runs_table(results: Path | str | Iterable[Run]) -> pd.DataFrame:
    """One row per run, indexed by run id, for notebooks: what it is, how far it is, what it cost."""
    runs = load_runs(Path(results)) if isinstance(results, str | Path) else list(results)
    return pd.DataFrame([run_row(run) for run in runs], columns=None if runs else ["run_id"]).set_index("run_id")


def run_row(run: Run) -> dict[str, Any]:
    """The facts of a run as one flat row: costs are sums over its units, `left_out` counts the excluded files."""
    spec, units = run.spec, run.units()
    versions = {str(spec.get("serbench") or ""), *(str((u.get("versions") or {}).get("serbench", "")) for u in units)}
    return {
        "run_id": run.run_id,
        "model": spec["model"]["name"],
        "preset": spec["model"].get("preset") or "default",
        "search_budget": (spec["model"].get("search") or {}).get("budget"),
        "dataset": spec["dataset"]["name"],
        "release": spec["dataset"]["release"],
        "task": run.task.name,
        "kind": run.task.kind,
        "protocol": spec["protocol"].get("name", ""),
        "protocol_digest": run.protocol_digest,
        "labels": ",".join(spec.get("labels") or ()),
        "trials": len(complete(units, run.folds)),
        "failed_trials": len({u["trial"] for u in units if u["status"] == "failed"}),
        "left_out": len({item for u in units for item in u.get("excluded") or ()}),
        "seconds": _total(units, "seconds"),
        "cpu_seconds": _total(units, "cpu_seconds"),
        "parameters": max((u["parameters"] for u in units if u.get("parameters") is not None), default=None),
        **_running_costs(units),
        "serbench": ",".join(sorted(versions - {""})),
        "signature": run.signature,
        "command": spec.get("command") or "",
        "path": str(run.path),
    }


def _running_costs(units: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Medians of what the units say of the model's cost: frozen parameters, multiply-accumulates, real-time factor."""
    costs = [unit.get("cost") or {} for unit in units]
    return {key: _median([c[key] for c in costs if c.get(key) is not None]) for key in COSTS}


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _total(units: Iterable[Mapping[str, Any]], key: str) -> float:
    return round(sum(float(u.get(key) or 0.0) for u in units), 3)


def _chosen(name: str, wanted: str | Collection[str] | None) -> bool:
    return wanted is None or (name == wanted if isinstance(wanted, str) else name in wanted)
