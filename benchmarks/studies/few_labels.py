"""Does unlabelled speech help where few speakers are labelled? Scores over the number of labelled training speakers.

Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035) claim that it does, with all of their labels.
Here, in each fold, all training speakers but a few lose their labels: the same ones for every model, more labelled ones
holding the fewer (drawn by a hash of the protocol's seed and the fold's name). Their speech joins the corpus's pool.
Dev and test parts are those of the split, so that scores of all numbers stand on the same items; a dev part with labels
is more than a corpus with so few labels would have, for every row alike.

Each semi-supervised model is trained with the pool and without it; beside them stand a supervised floor, and a ceiling
with every label. Who has no pool may train as long as who has one: rows without it take as many steps (the floor both
so and with as many epochs). A gain is over the supervised row that is best on dev.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...results.display.numbers import interval, number, p_value
from ...results.display.table import Table, records, to_markdown
from ...results.record.folder import Run
from ...results.record.storage import write_csv
from ...sermodels import registry
from ..grid.execution import Execution
from ..grid.grid import run_requests
from ..protocol import split_files
from ..protocol.protocol import Division, divide
from ..protocol.request import Grid, Request
from ..protocol.setting import Corpora
from .few_labels_figure import ALONE, figure
from .figure import save_figure
from .study import Findings, Row, Study, base_request, findings_of, fitting_preset, request_for

NUMBERS = (1, 2, 4, 8)
MODELS = ("deepemocluster", "cnn-ae", "cnn-vae", "mean-teacher", "pseudo-label", "ladder", "ssae")
FLOOR = "cnn-regressor"
NAME = "few-labels"
LENGTHS = ("train.epochs", "train.patience")
LONG = f"{FLOOR}, as many steps"
NOTE = (
    "Labelled: training speakers of each fold that keep their labels; the speech of the others joins the pool. gain: "
    "over the rival, the supervised row with that number of labelled speakers that is best on dev, with the 95 % "
    "interval and p of the paired t-test over the scores; p trials: of the t-test over trial means, adjusted by Holm "
    "over the pairs of that number."
)


@dataclass(frozen=True)
class Few:
    """What was found with a number of labelled speakers; 0 stands for all of them (`ceiling`)."""

    labelled: int
    findings: Findings


def thinned(corpus: Corpus, task: Task, division: Division, labelled: int, seed: int) -> Division:
    """A fold in which `labelled` training speakers keep their labels and the others' items join the pool.

    Raises
    ------
    SerbenchError
        Where the fold has fewer training speakers, or items of unknown speakers.
    """
    speakers = corpus.items(task).loc[list(division.train), "speaker"]
    known = sorted(speakers.dropna().unique(), key=lambda name: _hash(seed, division.fold, str(name)))
    if speakers.isna().any():
        raise SerbenchError(f"{corpus.name} has items of unknown speakers, and this study labels speaker by speaker.")
    if not 1 <= labelled <= len(known):
        raise SerbenchError(
            f"--labelled {labelled}: fold {division.fold!r} of {corpus.name} has {len(known)} training speakers. "
            f"Expected 1 to {len(known)}."
        )
    kept = set(known[:labelled])
    parts: dict[bool, list[str]] = {True: [], False: []}
    for item, speaker in zip(division.train, speakers, strict=True):
        parts[speaker in kept].append(item)
    return replace(division, train=tuple(parts[True]), unlabelled=tuple(parts[False]))


def write_splits(
    corpus: Corpus, task: Task, grid: Grid, numbers: Sequence[int], folder: Path
) -> dict[int, tuple[Path, list[Division]]]:
    """The split of each number of labelled speakers as a file, for this study and for `serbench run --split FILE`."""
    divisions = divide(corpus, task, grid.protocol)
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for n in numbers:
        path = folder / f"{NAME}_{corpus.name}_{task.name}_{n}.csv"
        thin = [thinned(corpus, task, one, n, grid.protocol.seed) for one in divisions]
        split_files.write(path, split_files.rows_of(thin))
        written[n] = path, thin
    return written


def length(divisions: Sequence[Division], pool: int) -> int:
    """How many passes over the labelled items are as long as an epoch with the pool: over it, and as long over them."""
    labelled = sum(len(d.train) for d in divisions)
    return max(1, round(2 * (pool * len(divisions) + sum(len(d.unlabelled) for d in divisions)) / labelled))


def alone(model: str, preset: str | None, passes: int, asked: Mapping[str, str] | None = None) -> dict[str, str]:
    """Settings of a training without the pool that takes as many steps: passes in an epoch, or as many more epochs.

    `asked` are those of `LENGTHS` that the user set, for every row alike.
    """
    asked = asked or {}
    presets = registry.load(model).PRESETS
    config = presets.get(preset or "default", presets["default"])
    settings = dict(asked) if model == FLOOR else {**asked, "model.unlabelled": "0"}
    if hasattr(config, "labelled_passes"):
        return {**settings, "model.labelled_passes": str(passes)}
    kept = {key: int(asked.get(key, getattr(config.train, key.removeprefix("train.")))) for key in LENGTHS}
    return {**settings, **{key: str(value * passes) for key, value in kept.items()}}


def study_of(
    models: Sequence[str], labelled: int, preset: str | None, passes: int, asked: Mapping[str, str] | None = None
) -> Study:
    """The rows with some labelled speakers: the floor, and each model without and with the pool."""
    asked = dict(asked or {})
    rows = [Row(FLOOR, FLOOR, asked)]
    if passes > 1:
        rows.append(Row(LONG, FLOOR, alone(FLOOR, preset, passes, asked)))
    for name in models:
        rows += [Row(name + ALONE, name, alone(name, preset, passes, asked)), Row(name, name, asked)]
    title = f"{labelled} labelled training speaker{'s' * (labelled > 1)}"
    return Study(f"{NAME}-{labelled}", title, tuple(rows), "first")


def ceiling(models: Sequence[str], asked: Mapping[str, str]) -> Study:
    """The rows with every label: the floor, and the first model without a pool."""
    first = Row(models[0] + ALONE, models[0], {**asked, "model.unlabelled": "0"})
    return Study(f"{NAME}-all", "every training speaker is labelled", (Row(FLOOR, FLOOR, asked), first), "first")


def run_study(
    grid: Grid, how: Execution, numbers: Sequence[int], models: Sequence[str], folder: Path, corpora: Corpora
) -> list[Few]:
    """Train every row with each number of labelled speakers, and the `ceiling`.

    Parameters
    ----------
    grid : one corpus and one task, protocol, trials, preset and settings; models without that preset take their default
    folder : the splits are written there
    """
    lengths = {key: value for key, value in grid.settings.items() if key in LENGTHS}
    grid = replace(grid, settings={key: value for key, value in grid.settings.items() if key not in LENGTHS})
    base = base_request(grid)
    corpus = corpora.get(base.places()[0])
    task = corpus.task(grid.tasks[0]) if grid.tasks else corpus.tasks[0]
    asked: list[tuple[int, Study, Request]] = [(0, ceiling(models, lengths), base)]
    for n, (path, divisions) in write_splits(corpus, task, grid, numbers, folder).items():
        thin = replace(grid, protocol=replace(grid.protocol, split=str(path), dev="", share=""))
        passes = length(divisions, len(corpus.unlabelled()))
        asked.append((n, study_of(models, n, grid.preset, passes, lengths), base_request(thin)))
    requests = [
        fitting_preset(study, request_for(study, row, task.name, one)) for _, study, one in asked for row in study.rows
    ]
    runs = iter(run_requests(requests, how, corpora))
    return [Few(n, findings_of(study, [[next(runs) for _ in study.rows]])) for n, study, _ in asked]


def gains(found: Sequence[Few]) -> pd.DataFrame:
    """One row per number of labelled speakers, model and target.

    Returns
    -------
    table with the columns labelled (0 = all), row, target, metric, mean, std, n, dev, and for rows with a pool rival,
    gain, low, high, p, p_trials, run
    """
    rows: list[dict[str, Any]] = []
    for few in found:
        labels = [row.label for row in few.findings.study.rows]
        dev = {label: _dev(run) for label, run in zip(labels, few.findings.runs, strict=True)}
        supervised = [label for label in labels if label in (FLOOR, LONG) or label.endswith(ALONE)]
        rival = max(supervised, key=lambda label: dev[label])
        for row, run in zip(records(few.findings.summary), few.findings.runs, strict=True):
            label, target = str(row["row"]), row["target"]
            pair = {} if label in supervised else _against(few.findings.tests, label, rival, target)
            facts = {key: row[key] for key in ("row", "target", "metric", "mean", "std", "n")}
            rows.append({"labelled": few.labelled, **facts, "dev": dev[label], **pair, "run": run.run_id})
    return pd.DataFrame(rows)


def markdown(found: Sequence[Few]) -> str:
    """The table of `gains`, and the recipe of every score."""
    shown = [
        {
            "labelled": str(row["labelled"] or "all"),
            "model": row["row"],
            "target": row["target"],
            "dev": number(row["dev"]),
            f"test {row['metric']}": number(row["mean"]),
            "rival": "" if pd.isna(row["rival"]) else row["rival"],
            "gain": number(row["gain"], "+.3f"),
            "95 % interval": interval(row["low"], row["high"], "+.3f"),
            "p": p_value(row["p"]),
            "p trials": p_value(row["p_trials"]),
        }
        for row in records(gains(found))
    ]
    recipes = [f"- {run.signature}" for few in found for run in few.findings.runs]
    return "\n".join(["# Score over labelled speakers", "", to_markdown(Table("", shown)), "", NOTE, "", *recipes, ""])


def write(found: Sequence[Few], folder: Path, name: str) -> list[Path]:
    """few-labels_NAME.md, .csv (`gains`) and .png (`few_labels_figure.figure`)."""
    folder.mkdir(parents=True, exist_ok=True)
    page, table, picture = (folder / f"{NAME}_{name}{ending}" for ending in (".md", ".csv", ".png"))
    won = gains(found)
    write_text(page, markdown(found))
    write_csv(table, won)
    save_figure(figure(won), picture)
    return [page, table, picture]


def _against(tests: pd.DataFrame, label: str, rival: str, target: object) -> dict[str, Any]:
    """The gain of a row over another one, with its interval and p values."""
    (row,) = (r for r in records(tests) if r["target"] == target and {r["a"], r["b"]} == {label, rival})
    sign = 1 if row["a"] == label else -1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    gain = {"gain": sign * row["difference"], "low": low, "high": high}
    return {"rival": rival, **gain, "p": row["p"], "p_trials": row["p_trials_holm"]}


def _dev(run: Run) -> float:
    """Mean dev score over the trainings of a run."""
    scores = [unit["dev_score"] for unit in run.units() if unit.get("dev_score") is not None]
    return sum(scores) / len(scores) if scores else float("nan")


def _hash(seed: int, fold: str, speaker: str) -> str:
    return hashlib.sha256(f"{NAME}|{seed}|{fold}|{speaker}".encode()).hexdigest()
