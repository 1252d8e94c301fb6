"""The weights that a run kept with `--save-models`: where they are, and what to type where they are not."""

from __future__ import annotations

from pathlib import Path

from ...datasets.core.errors import SerbenchError
from ...results.record.folder import Run


def saved_weights(run: Run, trial: int, fold: str | None, command: str) -> Path:
    """The file of a unit's weights; an error that says how to get it, where it is missing.

    Parameters
    ----------
    fold : its name; None = the first of the protocol's
    command : what the user typed after `serbench`, with `{run}` in the run's place
    """
    if run.spec["model"].get("weights"):
        raise SerbenchError(f"{run.run_id} scores given weights. Expected a run that trained a model.")
    if run.spec["model"].get("parents"):
        raise SerbenchError(
            f"{run.run_id} is made of other runs and has no weights of its own. Name one of those runs."
        )
    fold = fold_of(run, fold)
    stem = run.unit_files(trial, fold)[0].with_suffix(".safetensors")
    for file in (stem, run.path / f"unit-{trial}-{fold}.safetensors"):
        if file.is_file():
            return file
    there = sorted(p.name for p in run.path.glob("unit-*.safetensors"))
    unit = run.unit(trial, fold)
    if there:
        remedy = f"There are: {', '.join(there)}. Choose one with --trial and --fold."
    elif unit is not None and unit["status"] == "done":
        folder = f"{run.results}-models"
        remedy = (
            "Its trials are finished and would not be trained again, so train them in another folder. Type\n"
            f"  serbench run --from-record {run.path} --save-models --results {folder}\n"
            f"  serbench {command.format(run=run.run_id)} --results {folder}"
        )
    else:
        remedy = f"Type\n  {run.fill_line(max(trial + 1, 1))} --save-models"
    raise SerbenchError(f"the run {run.run_id} has no weights of trial {trial}, fold {fold!r}. {remedy}")


def fold_of(run: Run, asked: str | None) -> str:
    """The fold that is asked for, else the first; an error that lists the folds for one that there is not."""
    if asked is not None and asked not in run.folds:
        there = ", ".join(run.folds)
        raise SerbenchError(f"--fold {asked!r}: {run.run_id} has no such fold. Expected one of: {there}.")
    return run.folds[0] if asked is None else asked
