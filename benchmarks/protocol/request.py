"""What is asked for, as plain data: a `Grid` in names, read as one `Request` for each record.

The record holds its request, and `--from-record` runs it again.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ...datasets.core.config import from_dict
from ...datasets.core.errors import SerbenchError, unknown
from .protocol import ROLES, Protocol, given_split

CHANCE = (("chance", None), ("chance", "random"))
"""(model, preset) of the rows that every leaderboard holds, so that each score can be read against them."""
LABELS, AGREED = "train.labels", "agreed"
"""The setting that says which labels are learnt (`grid.rater_labels`), and its default."""
Names = str | Sequence[str]
"""A name, or several."""
Given = str | Path | Mapping[str, str | Path] | None
"""A text for every corpus, or corpus name -> text."""


@dataclass(frozen=True)
class Place:
    """A corpus as a user names it: dataset, folder, release, options of its reader, and the split that is tested.

    `listed` is what a split's file lists (`split_files.packed`).
    """

    name: str
    root: str | None = None
    release: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    listed: str = ""


@dataclass(frozen=True)
class WeightsFile:
    """A file of trained weights, and the SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Request:
    """One record: a model, what it is trained on, and what it is tested on.

    Attributes
    ----------
    model, preset, settings : the model and its configuration
    dataset, root, release, options : the corpus that is trained on
    also : further corpora that are trained on together with it
    test : the corpus that is tested; None = the corpus that is trained on, by its own folds
    task : a task of the corpus that is trained on, or a label set that corpora share; None = the corpus's first
    classes : the classes of a classification task that are kept; empty = all
    search : what is searched inside each training (`tune.Search.plain`); None = nothing
    refit : whether a model is fitted once more on train + dev with what it chose on dev
    calibrate : "temperature": class scores are scaled by a temperature that is fitted on dev; empty = as they are
    weights : files of trained weights that are scored instead of a training; together they predict the task
    train_with : perturbations (white:10) under each of which the training utterances are learnt once more
    """

    model: str
    dataset: str
    root: str | None = None
    release: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    task: str | None = None
    preset: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    trials: int = 5
    allow_leak: bool = False
    also: tuple[Place, ...] = ()
    test: Place | None = None
    classes: tuple[str, ...] = ()
    weights: tuple[WeightsFile, ...] = ()
    search: Mapping[str, Any] | None = None
    refit: bool = False
    calibrate: str = ""
    train_with: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """Inverse of `dataclasses.asdict`, also through JSON and from records that lack the newer fields."""
        given = dict(values)
        if made := given.get("made_of"):
            raise SerbenchError(
                f"this run was made of the predictions of others and has no training of its own: {', '.join(made)}. "
                f"Expected one of those; to make it again, type: {given['command']}"
            )
        given["protocol"] = from_dict(Protocol, given["protocol"])
        given["also"] = tuple(Place(**place) for place in given.get("also") or ())
        given["test"] = None if given.get("test") is None else Place(**given["test"])
        given["classes"] = tuple(given.get("classes") or ())
        given["train_with"] = tuple(given.get("train_with") or ())
        given["weights"] = tuple(WeightsFile(**file) for file in given.get("weights") or ())
        return cls(**given)

    def places(self) -> tuple[Place, ...]:
        """The corpora that are trained on."""
        return (Place(self.dataset, self.root, self.release, self.options), *self.also)

    def all_places(self) -> tuple[Place, ...]:
        """The corpora that are trained on, and the tested one if it is another."""
        return (*self.places(), *(() if self.test is None else (self.test,)))

    @property
    def needed_roles(self) -> tuple[str, ...]:
        """Roles that a fold must have items of: given weights train on none."""
        return ("test",) if self.weights else ROLES

    def command(self) -> str:
        """The command line that runs this request."""
        verb = "run" if self.search is None else "tune"
        parts = ["serbench", verb, "--model", self.model, "--dataset", "+".join(p.name for p in self.places())]
        parts += _corpora(self.places(), self.test)
        parts += [text for file in self.weights for text in ("--weights", file.path)]
        parts += [t for k, v in (("task", self.task), ("preset", self.preset)) if v is not None for t in (f"--{k}", v)]
        parts += ["--classes", ",".join(self.classes)] if self.classes else []
        default = Protocol()
        for key, value in asdict(self.protocol).items():
            if value != getattr(default, key) and key != "listed":
                parts += [f"--{'protocol' if key == 'name' else key}", str(value)]
        parts += ["--trials", str(self.trials)] if self.trials != 5 else []
        parts += [text for key, value in self.settings.items() for text in ("--set", f"{key}={value}")]
        if self.search is not None:
            parts += [text for key, value in self.search["space"].items() for text in ("--set", f"{key}={value}")]
            parts += ["--budget", str(self.search["budget"]), "--sampler", str(self.search["sampler"])]
        parts += ["--refit"] if self.refit else []
        parts += ["--calibrate", self.calibrate] if self.calibrate else []
        parts += ["--train-with", ",".join(self.train_with)] if self.train_with else []
        parts += list(_options(self.places(), self.test))
        return shlex.join(parts + (["--allow-leak"] if self.allow_leak else []))


@dataclass(frozen=True)
class Grid:
    """Every model on every corpus, under one protocol. Plain names; no corpus or model is looked at.

    Attributes
    ----------
    model : registered names; `MODEL:PRESET` names a preset of one model. With `weights`: the model that they are of
    dataset : registered names; `A+B` trains on two corpora together (with a `test_dataset`)
    root, release : folder and release of the corpus, or dataset name -> folder, release
    options : for the readers of the corpora that are trained on; `DATASET.KEY` is for that corpus alone
    test_dataset : corpora to test instead of the one that is trained on (rules: `setting`); naming that one too tests
        it by its own folds. One training serves all of them
    test_root, test_release, test_split : of the tested corpora
    task : of the corpus that is trained on, or a label set that corpora share, such as "emotion-4"; none = its first
    classes : classes of the task that are kept; all, if empty
    preset, settings : for every model that is named; settings are `model.KEY`, `train.KEY` or `feature.KEY` -> text,
        as after `--set`
    trials : trainings with different seeds; of `weights`: equal ones, so that the row pairs with trained ones
    search : what is searched inside each training, as `tune.space.Search.plain` gives it
    refit : whether each model that is named is fitted once more on train + dev with what it chose on dev
    calibrate : how class scores of each model that is named are calibrated on dev: "temperature", or empty
    weights : files (or folders) of trained weights to score as they are, without training
    train_with : perturbations of training audio, such as "noise:10": each utterance is learnt clean and under each

    The two chance rows that every leaderboard holds are asked for with each dataset and task too.
    """

    model: Names = ()
    dataset: Names = ()
    root: Given = None
    release: Given = None
    options: Mapping[str, Any] = field(default_factory=dict)
    test_dataset: Names = ()
    test_root: Given = None
    test_release: Given = None
    test_split: str | None = None
    task: Names | None = None
    classes: Sequence[str] = ()
    preset: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    protocol: Protocol = field(default_factory=Protocol)
    trials: int = 5
    allow_leak: bool = False
    search: Mapping[str, Any] | None = None
    weights: Sequence[str | Path] = ()
    refit: bool = False
    calibrate: str = ""
    train_with: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse a number of trials that no run can have."""
        if self.trials < 1:
            raise SerbenchError(f"trials={self.trials}: expected 1 or more.")

    @property
    def models(self) -> list[tuple[str, str | None]]:
        """(name, preset) of the models that are named."""
        return [(name, named or self.preset) for name, _, named in (m.partition(":") for m in _several(self.model))]

    @property
    def rows(self) -> list[tuple[str, str | None]]:
        """(name, preset) of the models that are named, then of the chance rows that come beside them."""
        return [*self.models, *(row for row in CHANCE if row not in self.models)]

    @property
    def tasks(self) -> list[str]:
        """The tasks that are named; empty = each corpus's first."""
        return _several(self.task or ())

    def trained(self) -> list[tuple[Place, ...]]:
        """The corpora that are trained on, each alone or together with others."""
        groups = [name.split("+") for name in _several(self.dataset)]
        names = list(dict.fromkeys(name for group in groups for name in group))
        roots, releases = _of_each("--root", self.root, names), _of_each("--release", self.release, names)
        known = {n: Place(n, roots.get(n), releases.get(n), self._options(n, everywhere=True)) for n in names}
        return [tuple(known[name] for name in group) for group in groups]

    def tested(self) -> list[Place]:
        """The corpora that are tested beside or instead of the trained ones.

        One that is trained on too is taken as it is, unless another folder or release is given.
        """
        names = _several(self.test_dataset)
        roots = _of_each("--test-root", self.test_root, names)
        releases = _of_each("--test-release", self.test_release, names)
        known = {place.name: place for group in self.trained() for place in group}
        own = [known.get(name, Place(name, options=self._options(name, everywhere=False))) for name in names]
        splits = [given_split(self.test_split, name) for name in names]
        return [
            replace(
                place,
                root=roots.get(place.name) or place.root,
                release=releases.get(place.name) or place.release,
                split=split,
                listed=listed,
            )
            for place, (split, listed) in zip(own, splits, strict=True)
        ]

    def requests(self) -> list[Request]:
        """One request for each corpus, row and tested corpus.

        Raises
        ------
        SerbenchError
            Where no model or no corpus is named.
        """
        if not self.model or not self.dataset:
            raise SerbenchError("expected --model and --dataset (or --from-record). 'serbench list' shows both.")
        return [
            self.request(trained, test, *row)
            for trained in self.trained()
            for row in self.rows
            for test in (self.tested() or (None,))
        ]

    def request(
        self, trained: Sequence[Place], test: Place | None = None, model: str = "", preset: str | None = None
    ) -> Request:
        """One request of the grid; chance takes no settings, and is searched only if it is named.

        A test on the only corpus that is trained on is one by its own folds.
        """
        first, *also = trained
        split, listed = given_split(self.protocol.split, first.name)
        return Request(
            model,
            first.name,
            first.root,
            first.release,
            dict(first.options),
            task=self.tasks[0] if self.tasks else None,
            preset=preset,
            settings={} if (model, preset) in CHANCE else dict(self.settings),
            protocol=replace(self.protocol, split=split, listed=listed),
            trials=self.trials,
            allow_leak=self.allow_leak,
            also=tuple(also),
            test=None if tuple(trained) == (test,) else test,
            classes=tuple(self.classes),
            search=self.search if (model, preset) in self.models else None,
            refit=self.refit and (model, preset) in self.models,
            calibrate=self.calibrate if (model, preset) in self.models else "",
            train_with=_perturbations(self.train_with) if (model, preset) in self.models else (),
        )

    def names(self, request: Request) -> bool:
        """Whether a request is for a row that is named, not for a chance row beside it."""
        return bool(request.weights) if self.weights else (request.model, request.preset) in self.models

    def _options(self, name: str, *, everywhere: bool) -> dict[str, Any]:
        """The options of one corpus: those that carry its name, and with `everywhere` those that carry none."""
        given = {key: value for key, value in self.options.items() if "." not in key and everywhere}
        return given | {k.partition(".")[2]: v for k, v in self.options.items() if k.startswith(f"{name}.")}


def _perturbations(texts: Sequence[str]) -> tuple[str, ...]:
    """Perturbations by their full names; those of a group one by one."""
    if not texts:
        return ()
    from ...features.perturbations.perturbation import parsed

    return tuple(one.name for one in parsed(texts))


def _corpora(trained: tuple[Place, ...], test: Place | None) -> Iterator[str]:
    for key in ("root", "release"):
        for place in trained:
            if (value := getattr(place, key)) is not None:
                yield from (f"--{key}", value if len(trained) == 1 else f"{place.name}={value}")
    if test is not None:
        yield from ("--test-dataset", test.name)
        for key in ("root", "release", "split"):
            if (value := getattr(test, key)) is not None:
                yield from (f"--test-{key}", value)


def _options(trained: tuple[Place, ...], test: Place | None) -> Iterator[str]:
    alone = len(trained) == 1 and test is None
    for place in (*trained, *((test,) if test is not None else ())):
        for key, value in place.options.items():
            yield from ("--option", f"{key}={value}" if alone else f"{place.name}.{key}={value}")


def _several(names: Names) -> list[str]:
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
