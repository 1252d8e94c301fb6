"""A study: rows (a model with settings) on tasks of one corpus, run as a grid and compared.

The protocol is that of Lin, Sridhar and Busso (ICASSP 2021), section 5.1: subsets x trials scores per row and
attribute, two-tailed t-test, significant at p < 0.05. Runs are ordinary records: what is finished is not run again, and
`serbench compare` and the leaderboard see the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...results.record.folder import Run
from ...results.scores.scoring import scored_targets
from ...results.tables.compare import compare
from ...sermodels import registry
from ..protocol.request import Grid, Request

LEVEL = 0.05


@dataclass(frozen=True)
class Row:
    """A row of a study: its name in the table, the model, and the settings that make it this row."""

    label: str
    model: str
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes
    ----------
    name, title : of the files, and the heading
    rows : in the order of the table
    rivals : what a mark says that a row beats: "others" (every other row) or "first" (the first row)
    axis : what the rows stand for, under the plot; "" = rows are unordered, and the plot draws no line
    notes : sentences below the table, such as what was made smaller
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    rivals: str
    axis: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What a study found: `summary` (row, target), `tests` (pair, target) and `scores` (row, target, trial, subset)."""

    study: Study
    summary: pd.DataFrame
    tests: pd.DataFrame
    scores: pd.DataFrame
    runs: tuple[Run, ...]


def expect_pool(model: str) -> None:
    """Raise SerbenchError for a model that takes no unlabelled pool."""
    if not registry.load(model).Model.uses_unlabelled:
        able = [name for name in registry.names() if registry.load(name).Model.uses_unlabelled]
        raise SerbenchError(
            f"--model {model}: it takes no unlabelled pool. Expected a model that does: {', '.join(able)}."
        )


def base_request(grid: Grid) -> Request:
    """The request that a study's rows are variants of: its one corpus, protocol, preset and settings."""
    (trained,) = grid.trained()
    return grid.request(trained, preset=grid.preset)


def findings_of(study: Study, groups: Sequence[Sequence[Run]]) -> Findings:
    """What the runs of a study say: `groups` holds, for each task, one run per row."""
    runs = [run for group in groups for run in group]
    labels = [row.label for row in study.rows]
    tests = pd.concat([_tests(group, labels) for group in groups], ignore_index=True)
    scores = pd.concat([_scores(run, label) for group in groups for run, label in zip(group, labels, strict=True)])
    return Findings(study, summarise(study, scores, tests), tests, scores.reset_index(drop=True), tuple(runs))


def default_tasks(corpus: Corpus, asked: Sequence[str] = ()) -> list[str]:
    """The tasks asked for, or each attribute by itself as in the paper, or the corpus's first task."""
    if asked:
        return [corpus.task(name).name for name in asked]
    single = [task.name for task in corpus.tasks if task.kind == "regression" and len(task.targets) == 1]
    return single or [corpus.tasks[0].name]


def summarise(study: Study, scores: pd.DataFrame, tests: pd.DataFrame) -> pd.DataFrame:
    """One row per row and target: mean, std, n, and `mark` ("", "*" or "**")."""
    rows = []
    for (target, label), part in scores.groupby(["target", "row"], sort=False):
        here = tests[tests["target"].eq(str(target))]
        values = part["value"]
        rows.append(
            {
                "row": label,
                "task": part["task"].iloc[0],
                "target": target,
                "metric": part["metric"].iloc[0],
                "mean": values.mean(skipna=False),
                "std": values.std(),
                "n": len(values),
                "mark": _mark(study, str(label), here),
            }
        )
    return pd.DataFrame(rows)


def fitting(model: str, settings: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that a model has."""
    return {key: value for key, value in settings.items() if _has(model, key)}


def request_for(study: Study, row: Row, task: str, base: Request) -> Request:
    """The request of a row: the base's corpus and protocol, those of its settings that fit, and the row's own.

    Raises
    ------
    SerbenchError
        For a setting that no row has or that the study decides.
    """
    for key in base.settings:
        if any(key in other.settings for other in study.rows):
            raise SerbenchError(f"--set {key}: the study {study.name} decides this setting itself. Leave it out.")
        if not any(_has(other.model, key) for other in study.rows):
            names = sorted({name for other in study.rows for name in _keys(other.model)})
            raise unknown("setting", key, names)
    return replace(base, model=row.model, task=task, settings={**fitting(row.model, base.settings), **row.settings})


def fitting_preset(study: Study, request: Request) -> Request:
    """The request without its preset, for a model that has none of that name; the study's own model must have it.

    Raises
    ------
    SerbenchError
        For a preset that the model of the first row does not have.
    """
    known = registry.load(study.rows[0].model).PRESETS
    if request.preset is not None and request.preset not in known:
        raise unknown(f"preset of {study.rows[0].model}", request.preset, known)
    return request if request.preset in registry.load(request.model).PRESETS else replace(request, preset=None)


def _has(model: str, key: str) -> bool:
    return key.startswith("feature.") or key in _keys(model)


def _keys(model: str) -> list[str]:
    """Names of a model's settings."""
    config = registry.load(model).PRESETS["default"]
    own = [f"model.{f.name}" for f in fields(config)]
    return own + ([f"train.{f.name}" for f in fields(config.train)] if hasattr(config, "train") else [])


def _tests(runs: Sequence[Run], labels: Sequence[str]) -> pd.DataFrame:
    """The paired tests of one task's runs, with the rows' names."""
    frame, names = compare(runs), dict(zip([run.run_id for run in runs], labels, strict=True))
    return frame.assign(a=frame["run_a"].map(names), b=frame["run_b"].map(names))


def _scores(run: Run, label: str) -> pd.DataFrame:
    """The scores of the task's own metric."""
    task: Task = run.task
    frame = run.scores()
    frame = frame[frame["metric"].eq(task.metric) & frame["target"].isin(scored_targets(task))]
    return frame.assign(row=label, task=task.name, run=run.run_id)


def _mark(study: Study, label: str, tests: pd.DataFrame) -> str:
    rivals = [r.label for r in study.rows if r.label != label]
    rivals = rivals if study.rivals == "others" else [r for r in rivals if r == study.rows[0].label]
    beaten = [_beats(tests, label, rival) for rival in rivals]
    return "*" * min(beaten, default=0)


def _beats(tests: pd.DataFrame, label: str, rival: str) -> int:
    """2: better by both tests, 1: by the paper's, 0: not significantly better."""
    for row in tests.to_dict("records"):
        if {row["a"], row["b"]} == {label, rival}:
            gain = row["difference"] if row["a"] == label else -row["difference"]
            if not (gain > 0 and row["p"] < LEVEL):
                return 0
            return 2 if row["p_trials_holm"] < LEVEL else 1
    raise KeyError(rival)
