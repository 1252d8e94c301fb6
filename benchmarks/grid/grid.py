"""The grid: every model on every corpus, unit by unit, skipping what is finished.

`run` is what `serbench run` does. For each (model, dataset) it makes a plan, extracts the missing features once, then
works through the units (trial, fold) that have no finished record, in this process or in several. Records are the only
state: a killed run is resumed by the same call. Runs that differ in the corpus that is tested alone share their units:
one training, one set of predictions for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol as Interface

from ...datasets.core.config import from_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json
from ...results.record.folder import Run
from ...results.record.storage import plain
from ...sermodels import registry
from ..core.progress import Display, Silent
from ..protocol.protocol import Protocol
from ..protocol.request import Request
from ..protocol.setting import Corpora, resolve
from .combinations import CHANCE, Given, places, request_of, requests_for, tested_places
from .finished import recall, remember
from .item_facts import item_table
from .plan import Plan, prepare
from .work import execute

__all__ = [
    "CHANCE",
    "Given",
    "Launcher",
    "from_record",
    "places",
    "request_of",
    "requests_for",
    "run",
    "run_requests",
    "sharing",
    "tested_places",
]

Opened = tuple[Request, Run, Plan | None]
"""A request, its record, and its plan unless it was finished before."""


class Launcher(Interface):
    """Works through units elsewhere: it is given the plans of a grid, then runs them all."""

    def add(self, plans: Sequence[Plan], corpora: Corpora, device: str, threads: int | None, save_models: bool) -> None:
        """Take in plans that share their training."""

    def run(self, display: Display) -> None:
        """Work through all units; each ends as a record."""


def run(
    model: str | Sequence[str],
    dataset: str | Sequence[str],
    *,
    test_dataset: str | Sequence[str] = (),
    root: Given = None,
    release: Given = None,
    test_root: Given = None,
    test_release: Given = None,
    test_split: str | None = None,
    task: str | None = None,
    classes: Sequence[str] = (),
    preset: str | None = None,
    settings: Mapping[str, str] | None = None,
    protocol: Protocol | None = None,
    trials: int = 5,
    allow_leak: bool = False,
    options: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    results: str | Path = "results",
    device: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    save_models: bool = False,
    display: Display | None = None,
    launcher: Launcher | None = None,
) -> list[Run]:
    """Train and score models on corpora under one protocol; finished trials are skipped.

    Parameters
    ----------
    model, dataset : one registered name, or several; `MODEL:PRESET` names a preset of one model, and `A+B` trains on
        two corpora together (with a `test_dataset`)
    test_dataset : corpora to test instead of the one that is trained on (rules:
        `serbench.benchmarks.protocol.setting`); naming that one too tests it by its own folds. One training serves all
        of them
    root, release : folder and release of the corpus, or dataset name -> folder, release; test_root and test_release are
        those of tested corpora
    task : a task of the corpus that is trained on, or a label set that corpora share, such as "emotion-4"
    classes : classes of the task that are kept; all, if empty
    preset, settings : for every model that is named; settings are `model.KEY`, `train.KEY` or `feature.KEY` -> text,
        as after `--set`
    search : what is searched inside each training, as `tune.Search.plain` gives it
    options : for the reader of the corpora that are trained on; `DATASET.KEY` is for that corpus alone
    results : folder that holds `runs/`
    jobs : processes that work on units at the same time
    threads : threads of each process; None = the machine's cores divided by `jobs`. Numbers are identical on one
        machine for the same number of threads, whatever `jobs` is
    launcher : what works through the units instead of this machine, such as `launch_ray.RayLauncher`

    The two chance rows that every leaderboard holds are run for each dataset and task too.

    Returns
    -------
    one `Run` per (dataset, model, test dataset), in the order of the arguments

    Raises
    ------
    SerbenchError
        For bad input. A unit that fails is recorded as failed and does not end the grid.
    """
    if jobs < 1:
        raise SerbenchError(f"jobs={jobs}: expected 1 or more.")
    requests, added = requests_for(
        model,
        dataset,
        test_dataset=test_dataset,
        root=root,
        release=release,
        test_root=test_root,
        test_release=test_release,
        test_split=test_split,
        task=task,
        classes=classes,
        preset=preset,
        settings=settings,
        protocol=protocol,
        trials=trials,
        allow_leak=allow_leak,
        options=options,
        search=search,
    )
    done = run_requests(requests, results, device, jobs, threads, save_models, display, launcher=launcher)
    return [one for one, request in zip(done, requests, strict=True) if (request.model, request.preset) not in added]


def run_requests(
    requests: Iterable[Request],
    results: str | Path = "results",
    device: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    save_models: bool = False,
    display: Display | None = None,
    configs: Mapping[str, Any] | None = None,
    corpora: Corpora | None = None,
    launcher: Launcher | None = None,
) -> list[Run]:
    """Work through requests, those that share a training together; `configs` (model -> config) replaces settings.

    A launcher is given all trainings first, and works through them together.
    """
    shown, corpora, asked, folder = display or Silent(), corpora or Corpora(), list(requests), Path(results)
    found: dict[int, Run] = {}
    told: set[str] = set()
    launched: list[list[Opened]] = []
    with _nothing_left_of_refused(found):
        for group in sharing(asked):
            opened = [_open(request, folder, corpora, configs) for request in group]
            found |= {id(request): run for request, run, _ in opened}
            plans = [plan for *_, plan in opened if plan is not None]
            for plan in plans:
                _tell(plan, shown, told)
            if launcher is None or group[0].weights:
                execute(plans, device, jobs, threads, save_models, shown)
                _conclude(opened, folder, corpora, shown, notes=not configs)
            else:
                launcher.add(plans, corpora, device, threads, save_models)
                launched.append(opened)
        if launcher is not None:
            launcher.run(shown)
    for opened in launched:
        _conclude(opened, folder, corpora, shown, notes=not configs)
    return [found[id(request)] for request in asked]


@contextmanager
def _nothing_left_of_refused(runs: Mapping[int, Run]) -> Iterator[None]:
    """Region whose refusal takes the new records with it in which nothing was worked on."""
    try:
        yield
    except SerbenchError:
        for run in runs.values():
            run.withdraw()
        raise


def _open(request: Request, results: Path, corpora: Corpora, configs: Mapping[str, Any] | None) -> Opened:
    """A request with its record, and with its plan unless it is noted as finished."""
    finished = None if configs else recall(results, request, _digests(request, corpora))
    if finished is not None:
        return request, finished, None
    plan = prepare(request, results, corpora, (configs or {}).get(request.model))
    _keep_items(plan)
    return request, plan.run, plan


def _conclude(opened: Sequence[Opened], results: Path, corpora: Corpora, shown: Display, *, notes: bool) -> None:
    """Say what is recorded; with `notes`, leave a note of each request that is finished."""
    for request, run, plan in opened:
        if notes and plan is not None and not plan.missing():
            remember(results, request, _digests(request, corpora), run, plan.setting.folds)
        shown.message(f"{run.run_id}: {request.trials} trials are recorded")


def sharing(requests: Iterable[Request]) -> list[list[Request]]:
    """Requests in groups that share their training: they differ in the corpus that is tested alone."""
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(canonical_json(plain(asdict(replace(request, test=None)))), []).append(request)
    return list(groups.values())


def from_record(
    path: str | Path,
    results: str | Path = "results",
    device: str = "auto",
    jobs: int = 1,
    threads: int | None = None,
    save_models: bool = False,
    display: Display | None = None,
    launcher: Launcher | None = None,
) -> list[Run]:
    """Repeat the run of a record (a run folder or its run.json), with its complete configuration.

    The other arguments are those of `run`. Raises SerbenchError when the corpora on disk are not the recorded ones.
    """
    folder = Path(path)
    folder = folder if folder.is_dir() else folder.parent
    spec = Run.open(folder).spec
    request = Request.from_dict(spec["arguments"])
    found = resolve(request).dataset()["digest"]
    if found != spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus at {request.root!r} has the digest {found}, the record was made with "
            f"{spec['dataset']['digest']}. Expected the same release of {spec['dataset']['name']}; "
            f"type serbench check {request.dataset} to see what it holds."
        )
    configs = None
    if not request.weights:
        configs = {request.model: from_dict(registry.load(request.model).Config, spec["model"]["config"])}
    return run_requests([request], results, device, jobs, threads, save_models, display, configs, launcher=launcher)


def _digests(request: Request, corpora: Corpora) -> list[str]:
    """Digests of all corpora of a request."""
    return [corpora.get(place).digest() for place in request.all_places()]


def _keep_items(plan: Plan) -> None:
    """Leave in the record, once, what is known of its test items."""
    if plan.run.items() is None:
        setting = plan.setting
        plan.run.write_items(item_table(setting.tested, setting.asked, list(setting.subsets)))


def _tell(plan: Plan, shown: Display, told: set[str]) -> None:
    """Show once what a pair of corpora loses by the mapping of their labels."""
    name = plan.setting.dataset()["name"]
    if plan.setting.crosses and name not in told:
        told.add(name)
        for line in (f"{name}, task {plan.setting.asked.name}:", *(f"  {note}" for note in plan.setting.notes)):
            shown.message(line)
