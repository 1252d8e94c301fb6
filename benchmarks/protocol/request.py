"""What was asked for, as plain data: the record holds a `Request`, and `--from-record` runs it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...datasets.core.config import from_dict
from .protocol import ROLES, Protocol


@dataclass(frozen=True)
class Place:
    """A corpus as a user names it: dataset, folder, release, options of its reader, and the split that is tested."""

    name: str
    root: str | None = None
    release: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None


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
    weights : files of trained weights that are scored instead of a training; together they predict the task
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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Request:
        """Inverse of `dataclasses.asdict`, also through JSON and from records that lack the newer fields."""
        given = dict(values)
        given["protocol"] = from_dict(Protocol, given["protocol"])
        given["also"] = tuple(Place(**place) for place in given.get("also") or ())
        given["test"] = None if given.get("test") is None else Place(**given["test"])
        given["classes"] = tuple(given.get("classes") or ())
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
            if value != getattr(default, key):
                parts += [f"--{'protocol' if key == 'name' else key}", str(value)]
        parts += ["--trials", str(self.trials)] if self.trials != 5 else []
        parts += [text for key, value in self.settings.items() for text in ("--set", f"{key}={value}")]
        if self.search is not None:
            parts += [text for key, value in self.search["space"].items() for text in ("--set", f"{key}={value}")]
            parts += ["--budget", str(self.search["budget"]), "--sampler", str(self.search["sampler"])]
        parts += list(_options(self.places(), self.test))
        return shlex.join(parts + (["--allow-leak"] if self.allow_leak else []))


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
