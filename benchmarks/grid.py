"""The grid: every model on every corpus, unit by unit, skipping what is finished.

`run` is what `serbench run` does. For each (model, dataset) it makes a plan, extracts the missing features once, then
works through the units (trial, fold) that have no finished record, in this process or in several. Records are the only
state: a killed run is resumed by the same call. Runs that differ in the corpus that is tested alone share their units:
one training, one set of predictions for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

from ..datasets._config import from_dict
from ..datasets._errors import SerbenchError, unknown
from ..datasets._files import canonical_json
from ..results._storage import plain
from ..results.records import Run
from ..sermodels import registry
from ._items import item_table
from ._memo import recall, remember
from ._progress import Display, Silent
from .plan import Plan, Request, prepare
from .protocol import Protocol
from .request import Place
from .setting import Corpora, resolve
from .work import execute

CHANCE = (("chance", None), ("chance", "random"))
"""(model, preset) of the rows that every leaderboard holds, so that each score can be read against them."""


class Launcher(Interface):
    """Works through units elsewhere: it is given the plans of a grid, then runs them all."""

    def add(
        self, plans: Sequence[Plan], corpora: Corpora, device: str, threads: int | None, save_models: bool
    ) -> None:
        """Take in plans that share their training."""

    def run(self, display: Display) -> None:
        """Work through all units; each ends as a record."""


Given = str | Path | Mapping[str, str | Path] | None
"""A text for every corpus, or corpus name -> text."""


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
    test_dataset : corpora to test instead of the one that is trained on (rules: `serbench.benchmarks.setting`); naming
        that one too tests it by its own folds. One training serves all of them
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
        model, dataset, test_dataset=test_dataset, root=root, release=release, test_root=test_root,
        test_release=test_release, test_split=test_split, task=task, classes=classes, preset=preset,
        settings=settings, protocol=protocol, trials=trials, allow_leak=allow_leak, options=options, search=search,
    )  # fmt: skip
    done = run_requests(requests, results, device, jobs, threads, save_models, display, launcher=launcher)
    return [one for one, request in zip(done, requests, strict=True) if (request.model, request.preset) not in added]


def requests_for(
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
) -> tuple[list[Request], list[tuple[str, str | None]]]:
    """The requests of a grid, and (model, preset) of the chance rows that were added to it; arguments as of `run`."""
    if trials < 1:
        raise SerbenchError(f"trials={trials}: expected 1 or more.")
    asked = [(name, named or preset) for name, _, named in (m.partition(":") for m in _several(model))]
    added: list[tuple[str, str | None]] = [row for row in CHANCE if row not in asked]
    trained = places(_several(dataset), root, release, options)
    tests = tested_places(_several(test_dataset), test_root, test_release, test_split, options, trained)
    base = Request("", "", task=task, protocol=protocol or Protocol(), trials=trials, allow_leak=allow_leak,
                   classes=tuple(classes))  # fmt: skip
    requests = [
        request_of(replace(base, search=search if (name, chosen) in asked else None), name, chosen,
                   {} if (name, chosen) in CHANCE else settings or {}, group, test)
        for group in trained
        for name, chosen in (*asked, *added)
        for test in tests
    ]
    return requests, added


def request_of(
    base: Request, model: str, preset: str | None, settings: Mapping[str, str], trained: tuple[Place, ...],
    test: Place | None,
) -> Request:  # fmt: skip
    """A request with its model and corpora; a test on the only corpus that is trained on is one by its own folds."""
    first, *also = trained
    return replace(
        base, model=model, preset=preset, settings=dict(settings), dataset=first.name, root=first.root,
        release=first.release, options=dict(first.options), also=tuple(also), test=None if trained == (test,) else test,
    )  # fmt: skip


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
    shown, corpora, asked = display or Silent(), corpora or Corpora(), list(requests)
    found: dict[int, Run] = {}
    told: set[str] = set()
    launched: list[list[Request]] = []
    everything: dict[int, Plan] = {}

    def conclude(group: list[Request]) -> None:
        for request in group:
            done = everything.pop(id(request), None)
            if done and not done.missing() and not configs:
                remember(Path(results), request, _digests(request, corpora), done.run, done.setting.folds)
            shown.message(f"{found[id(request)].run_id}: {request.trials} trials are recorded")

    for group in sharing(asked):
        plans: dict[int, Plan] = {}
        for request in group:
            finished = None if configs else recall(Path(results), request, _digests(request, corpora))
            if finished is None:
                plan = plans[id(request)] = prepare(request, results, corpora, (configs or {}).get(request.model))
                _tell(plan, shown, told)
                _keep_items(plan)
                finished = plan.run
            found[id(request)] = finished
        everything |= plans
        if launcher is None or group[0].weights:
            execute(list(plans.values()), device, jobs, threads, save_models, shown)
            conclude(group)
        else:
            launcher.add(list(plans.values()), corpora, device, threads, save_models)
            launched.append(group)
    if launcher is not None:
        launcher.run(shown)
    for group in launched:
        conclude(group)
    return [found[id(request)] for request in asked]


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
    if request.weights:
        return run_requests([request], results, device, jobs, threads, save_models, display)
    config = from_dict(registry.load(request.model).Config, spec["model"]["config"])
    return run_requests(
        [request], results, device, jobs, threads, save_models, display, {request.model: config}, launcher=launcher
    )


def _digests(request: Request, corpora: Corpora) -> list[str]:
    """Digests of all corpora of a request."""
    tested = () if request.test is None else (request.test,)
    return [corpora.get(place).digest() for place in (*request.places(), *tested)]


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


def places(
    datasets: Sequence[str], root: Given, release: Given, options: Mapping[str, Any] | None
) -> list[tuple[Place, ...]]:
    """What `A` and `A+B` stand for, with folders, releases and options of each corpus."""
    groups = [name.split("+") for name in datasets]
    names = list(dict.fromkeys(name for group in groups for name in group))
    roots, releases = _of_each("--root", root, names), _of_each("--release", release, names)
    known = {n: Place(n, roots.get(n), releases.get(n), _options(options, n, everywhere=True)) for n in names}
    return [tuple(known[name] for name in group) for group in groups]


def tested_places(
    names: Sequence[str], root: Given, release: Given, split: str | None, options: Mapping[str, Any] | None,
    trained: Sequence[tuple[Place, ...]],
) -> list[Place | None]:  # fmt: skip
    """The corpora to test (None without names: the one that is trained on).

    One that is trained on too is taken as it is, unless another folder or release is given.
    """
    roots, releases = _of_each("--test-root", root, names), _of_each("--test-release", release, names)
    known = {place.name: place for group in trained for place in group}
    found = []
    for name in names:
        own = known.get(name, Place(name, options=_options(options, name, everywhere=False)))
        place = replace(own, root=roots.get(name) or own.root, release=releases.get(name) or own.release, split=split)
        found.append(place)
    return [*found] or [None]


def _options(options: Mapping[str, Any] | None, name: str, *, everywhere: bool) -> dict[str, Any]:
    """The options of one corpus: those that carry its name, and with `everywhere` those that carry none."""
    given = {key: value for key, value in (options or {}).items() if "." not in key and everywhere}
    own = {key.partition(".")[2]: value for key, value in (options or {}).items() if key.startswith(f"{name}.")}
    return given | own


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _of_each(flag: str, given: Given, names: Sequence[str]) -> dict[str, str]:
    """A text for all of the names, or texts by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, str(given))
    for key in given:
        if key not in names:
            raise unknown(f"dataset of {flag}", key, names)
    return {name: str(value) for name, value in given.items() if value is not None}
