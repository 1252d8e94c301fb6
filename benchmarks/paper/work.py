"""From a plan to requests, by the grid of `serbench run`; and from their runs to blocks: one ranking each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.reading.load import needs_root, root_variable
from ...results.record.folder import Run
from ...results.record.pairing import Scored
from ...results.tables.leaderboard import leaderboard
from ..protocol.protocol import Protocol
from ..protocol.request import CHANCE, Grid, Request
from .checks import FILE, files_of
from .plan import CorpusEntry, Experiment, PaperPlan, texts


@dataclass(frozen=True)
class Asked:
    """One request of a plan: its experiment, its task (by name; None: the first), its row ("": chance)."""

    experiment: Experiment
    task: str | None
    row: str
    request: Request


@dataclass(frozen=True)
class Block:
    """The runs of an experiment and task, ranked.

    Attributes
    ----------
    rows : name of a row of the plan -> its run
    chance : runs of the chance rows
    board : the leaderboard of all of them, with a further column `row` ("": chance)
    scored : run id -> predictions and scores
    """

    experiment: Experiment
    rows: Mapping[str, Run]
    chance: tuple[Run, ...]
    board: pd.DataFrame
    scored: Mapping[str, Scored] = field(default_factory=dict)

    @property
    def runs(self) -> list[Run]:
        """All runs, chance last."""
        return [*self.rows.values(), *self.chance]

    @property
    def first(self) -> Run:
        """A run that says what all have in common."""
        return self.runs[0]


def placed(plan: PaperPlan, roots: Mapping[str, str], files: Mapping[str, str]) -> PaperPlan:
    """The plan with what the user says of folders and files, each looked for.

    Raises
    ------
    SerbenchError
        For a name that the plan does not have, a corpus without a folder, a file that is not there.
    """
    for name in roots:
        if name not in (known := [one.name for one in plan.corpora]):
            raise unknown("corpus of --root", name, known)
    corpora = tuple(replace(one, root=roots.get(one.name, one.root)) for one in plan.corpora)
    for corpus in corpora:
        _check_root(corpus)
    whole, taken = with_files(plan, files), files_of(plan)
    for one in whole.files:
        if one.name in taken and not (one.path and Path(one.path).expanduser().exists()):
            made = f" To make it, type: {one.make}." if one.make else ""
            said = f"lies at {one.path!r}, where there is none" if one.path else "is not named"
            raise SerbenchError(f"the file {one.name} of the plan {said}. Type --file {one.name}=PATH.{made}")
    return replace(whole, corpora=corpora)


def with_files(plan: PaperPlan, files: Mapping[str, str]) -> PaperPlan:
    """The plan with the paths of files that the user names."""
    for name in files:
        if name not in (known := [one.name for one in plan.files]):
            raise unknown("file of --file", name, known)
    return replace(plan, files=tuple(replace(one, path=files.get(one.name, one.path)) for one in plan.files))


def requests_of(plan: PaperPlan) -> list[Asked]:
    """Every request of a plan, with the chance rows that each ranking has."""
    asked = [(experiment, task) for experiment in plan.experiments for task in experiment.tasks or (None,)]
    return [one for experiment, task in asked for one in _of(plan, experiment, task)]


def blocks_of(plan: PaperPlan, runs: Iterable[tuple[Asked, Run]]) -> list[Block]:
    """Rank what was run.

    Raises
    ------
    SerbenchError
        Where trials are lacking (says what to type), or two rows of the plan are one and the same run.
    """
    groups: dict[tuple[int, str | None], list[tuple[Asked, Run]]] = {}
    for one, run in runs:
        groups.setdefault((plan.experiments.index(one.experiment), one.task), []).append((one, run))
    return [_block(group) for group in groups.values()]


def _of(plan: PaperPlan, experiment: Experiment, task: str | None) -> Iterator[Asked]:
    """The requests of an experiment and task: rows of the plan, then chance."""
    grid = _grid(plan, experiment, task)
    (trained,), test = grid.trained(), next(iter(grid.tested()), None)
    rows = [one for one in plan.models if not experiment.models or one.name in experiment.models]
    for row in rows:
        name, _, preset = row.model.partition(":")
        settings = {key: _filled(text, plan) for key, text in texts(row.settings, f"[[models]] {row.name!r}").items()}
        own = replace(
            grid,
            model=row.model,
            settings=settings,
            refit=row.refit,
            calibrate=row.calibrate,
            train_with=row.train_with,
        )
        yield Asked(experiment, task, row.name, own.request(trained, test, name, preset or None))
    named = [row.model for row in rows]
    for model, kind in CHANCE:
        if (f"{model}:{kind}" if kind else model) not in named:
            yield Asked(experiment, task, "", grid.request(trained, test, model, kind))


def _grid(plan: PaperPlan, experiment: Experiment, task: str | None) -> Grid:
    known = {one.name: one for one in plan.corpora}
    trained, tests = experiment.train.split("+"), [experiment.test] if experiment.test else []
    options = {
        f"{name}.{key}": value
        for name in dict.fromkeys([*trained, *tests])
        for key, value in texts(known[name].options, f"[[corpora]] {name!r}").items()
    }
    cut, root, release = plan.protocol, _known(known, "root"), _known(known, "release")
    return Grid(
        (),
        experiment.train,
        _of_these(root, trained),
        _of_these(release, trained),
        options,
        tests,
        _of_these(root, tests),
        _of_these(release, tests),
        task=task,
        classes=experiment.classes,
        protocol=Protocol("4x5", cut.split, cut.subsets, cut.group, cut.seed, cut.dev, cut.share),
        trials=cut.trials,
    )


def _known(corpora: Mapping[str, CorpusEntry], key: str) -> dict[str, str]:
    """Corpus -> its root or release, of those that have one."""
    return {name: str(value) for name, one in corpora.items() if (value := getattr(one, key))}


def _of_these(known: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: known[name] for name in names if name in known}


def _filled(text: str, plan: PaperPlan) -> str:
    """A setting with the paths of files in their places."""
    paths = {one.name: str(Path(one.path).expanduser()) for one in plan.files if one.path}
    return FILE.sub(lambda found: paths[found.group(1)], text)


def _check_root(corpus: CorpusEntry) -> None:
    given = corpus.root or os.environ.get(root_variable(corpus.name))
    if needs_root(corpus.name) and not (given and Path(given).expanduser().exists()):
        said = f"lies at {given!r}, where there is nothing" if given else "has no folder"
        raise SerbenchError(
            f"the corpus {corpus.name} of the plan {said}. Type --root {corpus.name}=FOLDER, or set "
            f"{root_variable(corpus.name)}; or type --rehearse to try the plan on miniature copies."
        )


def _block(group: Sequence[tuple[Asked, Run]]) -> Block:
    rows = {one.row: run for one, run in group if one.row}
    chance = tuple(run for one, run in group if not one.row)
    names = {run.run_id: name for name, run in rows.items()}
    if len(names) < len(rows):
        (first, second), *_ = [(a, b) for a in rows for b in rows if a < b and rows[a].run_id == rows[b].run_id]
        raise SerbenchError(f"the rows {first!r} and {second!r} of the plan are one and the same run. Leave one out.")
    kept: dict[str, Scored] = {}
    board = leaderboard([*rows.values(), *chance], kept=kept)
    if problems := board.attrs["problems"]:
        raise SerbenchError("a paper needs every trial:\n" + "\n".join(f"  {k}: {v}" for k, v in problems.items()))
    return Block(group[0][0].experiment, rows, chance, board.assign(row=board["run_id"].map(names).fillna("")), kept)
