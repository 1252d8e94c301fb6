"""The grid: every model on every corpus, unit by unit, skipping what is finished.

`run` is what `serbench run` does: requests, the corpora that they name, plans (which write nothing), records, and then
the units (trial, fold) that have no finished record, on this machine or by a launcher. Records are the only state: a
killed run is resumed by the same call. Requests that differ in the corpus that is tested alone share their units: one
training, one set of predictions for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json
from ...results.record.folder import Run
from ...results.record.storage import plain
from ...results.record.test_items import Ratings, has_ratings, write_ratings
from ...sermodels import registry
from ..core.progress import Display
from ..protocol.protocol import unit_seed
from ..protocol.request import Grid, Names, Request
from ..protocol.setting import Corpora
from .execution import Execution, Order, ThisMachine, make_plan
from .finished import recall, remember
from .plan import Part, Plan
from .tables import item_table, rating_table
from .trial import copied


def run(model: Names = (), dataset: Names = (), **named: Any) -> list[Run]:
    """`run_grid` of the fields of `Grid` and `Execution` by their names: `run("linear", "demo", task="arousal")`."""
    how = {field.name: named.pop(field.name) for field in fields(Execution) if field.name in named}
    return run_grid(Grid(model, dataset, **named), Execution(**how))


def run_grid(grid: Grid, how: Execution) -> list[Run]:
    """Train and score models on corpora under one protocol; finished trials are skipped.

    Returns
    -------
    one `Run` per (dataset, model, test dataset), in the order in which they are named; of weights, per dataset and row

    Raises
    ------
    SerbenchError
        For bad input. A unit that fails is recorded as failed and does not end the grid.
    """
    corpora = Corpora()
    requests = requests_of(grid, corpora, how)
    runs = run_requests(requests, how, corpora)
    return [one for one, request in zip(runs, requests, strict=True) if grid.names(request)]


def run_requests(
    requests: Iterable[Request], how: Execution, corpora: Corpora | None = None, config: Mapping[str, Any] | None = None
) -> list[Run]:
    """Work through requests, those that share a training together; `config` is a model's complete configuration."""
    asked, corpora = list(requests), corpora or Corpora()
    for name in dict.fromkeys(request.model for request in asked):
        registry.known(name)  # else a corpus would be read, or made, before it is told
    if how.track:
        from ..tracking.tracked import begin

        begin(how.track, how.folder, elsewhere=how.launcher is not None)
    corpora.open(asked)
    runs = _finished(asked, how, corpora) if config is None else {}
    plans = [make_plan(group, corpora, config) for group in sharing(r for r in asked if id(r) not in runs)]
    _tell(plans, how.display)
    with _nothing_left_of_refused(runs):
        orders = _recorded(plans, how.folder, runs)
        for order in (how.launcher or ThisMachine()).work(orders, how, corpora):
            _conclude(order, how, corpora, notes=config is None)
    return [runs[id(request)] for request in asked]


def requests_of(grid: Grid, corpora: Corpora, how: Execution) -> list[Request]:
    """The requests that a grid stands for; which rows given weights make, only their files and the corpora tell."""
    if not grid.weights:
        return grid.requests()
    from ..weights.requests import requests_of as scored

    return scored(grid, corpora, how.display, save_models=how.save_models)


def sharing(requests: Iterable[Request]) -> list[list[Request]]:
    """Requests in groups that share their training: they differ in the corpus that is tested alone."""
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(canonical_json(plain(asdict(replace(request, test=None)))), []).append(request)
    return list(groups.values())


def from_record(path: str | Path, results: str | Path = "results", **how: Any) -> list[Run]:
    """`repeat` with the fields of `Execution` by their names."""
    return repeat(path, Execution(results, **how))


def repeat(path: str | Path, how: Execution) -> list[Run]:
    """Repeat the run of a record (a run folder or its run.json), with its complete configuration.

    Raises SerbenchError when the corpora on disk are not the recorded ones.
    """
    folder = Path(path)
    spec = Run.open(folder if folder.is_dir() else folder.parent).spec
    request, corpora = Request.from_dict(spec["arguments"]), Corpora()
    there = corpora.setting(request).dataset()["digest"]
    if there != spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus at {request.root!r} has the digest {there}, the record was made with "
            f"{spec['dataset']['digest']}. Expected the same release of {spec['dataset']['name']}; "
            f"type serbench check {request.dataset} to see what it holds."
        )
    return run_requests([request], how, corpora, spec["model"]["config"])


def _finished(requests: Sequence[Request], how: Execution, corpora: Corpora) -> dict[int, Run]:
    """id(request) -> run, of those that are noted as finished; nothing of them is looked at again."""
    runs = {id(r): run for r in requests if (run := recall(how.folder, r, corpora.digests(r)))}
    for request in (r for r in requests if id(r) in runs):
        how.display.message(_said(runs[id(request)], request))
    return runs


def _recorded(plans: Iterable[Plan], results: Path, runs: dict[int, Run]) -> Iterator[Order]:
    """Plans with their records, made when an order is taken up; `runs` is filled: id(request) -> record."""
    for plan in plans:
        for part in plan.parts:
            run = runs[id(part.request)] = Run.create(results, part.spec)
            if run.items() is None:
                run.write_items(item_table(part.setting.tested, part.setting.asked, list(part.setting.subsets)))
            if not has_ratings(run.path) and (said := _said_by_raters(part)) is not None:
                write_ratings(run.path, said)
            if plan.repeats:
                _copy_finished(part, run)
        yield Order(plan, tuple(runs[id(part.request)] for part in plan.parts))


def _copy_finished(part: Part, run: Run) -> None:
    """Of a deterministic model: copy finished trials into those that lack a record, fold by fold."""
    finished: dict[str, Mapping[str, Any]] = {}
    for unit in (unit for unit in run.units() if unit["status"] == "done"):
        finished.setdefault(unit["fold"], unit)
    for trial, fold in part.lacking(run):
        if fold in finished:
            copied(run, finished[fold], trial, unit_seed(part.request.protocol, trial, fold))


@contextmanager
def _nothing_left_of_refused(runs: Mapping[int, Run]) -> Iterator[None]:
    """Region whose refusal takes the new records with it in which nothing was worked on."""
    try:
        yield
    except SerbenchError:
        for run in runs.values():
            run.withdraw()
        raise


def _conclude(order: Order, how: Execution, corpora: Corpora, *, notes: bool) -> None:
    """Say what is recorded; with `notes`, leave a note of each request that is finished."""
    for part, run in zip(order.plan.parts, order.runs, strict=True):
        if notes and not part.lacking(run):
            remember(how.folder, part.request, corpora.digests(part.request), run, part.setting.folds)
        if how.track:
            from ..tracking.tracked import conclude
            from ..tracking.tracker import Place

            conclude(run, Place(how.track, how.folder))
        how.display.message(_said(run, part.request))


def _said_by_raters(part: Part) -> Ratings | None:
    """What single raters said of the test items of a part."""
    return rating_table(part.setting.tested, part.setting.asked, list(part.setting.subsets))


def _said(run: Run, request: Request) -> str:
    return f"{run.run_id}: {request.trials} trials are recorded"


def _tell(plans: Iterable[Plan], display: Display) -> None:
    """Say once what a pair of corpora loses by the mapping of their labels, and what a file's split leaves out."""
    notes: dict[str, tuple[str, ...]] = {}
    for setting in (part.setting for plan in plans for part in plan.parts):
        if setting.notes:
            name = setting.dataset()["name"]
            notes.setdefault(name, (f"{name}, task {setting.asked.name}:", *(f"  {note}" for note in setting.notes)))
    for line in (line for lines in notes.values() for line in lines):
        display.message(line)
