"""A plan: requests that are worked through together, met by the corpora on disk. Nothing is written.

A plan knows the rows that it reads, the features of them, the record that each request would have, its units and its
jobs. There are two kinds: one trains a model (`training`), the other scores given weights (`untrained`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol as Interface

from ...datasets.core.files import canonical_json, digest
from ...features.core.feature_extractor import FeatureExtractor, FeatureRequest, build
from ...results.record.folder import Run
from ...results.record.identity import run_id
from ...results.record.storage import plain
from ...sermodels.core.sermodel import SERModel
from ..core.machine import versions
from ..core.progress import Display
from ..protocol.protocol import Division, unit_seed
from ..protocol.request import Request
from ..protocol.setting import Setting
from .source import Rows, Source, extract_features


@dataclass(frozen=True)
class Part:
    """One request of a plan, resolved, and the specification of its record."""

    request: Request
    setting: Setting
    spec: Mapping[str, Any]

    def record(self, results: Path) -> Run | None:
        """Its record, if there is one."""
        folder = results / "runs" / run_id(plain(self.spec))
        return Run.open(folder) if (folder / "run.json").exists() else None

    def lacking(self, run: Run | None) -> list[tuple[int, str]]:
        """(trial, fold) of which a record, or none, has no finished unit."""
        trials, folds = self.request.trials, self.setting.folds
        return [(t, fold) for t in range(trials) for fold in folds] if run is None else run.finished(trials, folds)


@dataclass(frozen=True)
class Unit:
    """What is worked through at once: a fold, and the trials and parts (by number) that take what comes of it."""

    name: str
    fold: str
    trials: Sequence[int]
    parts: Sequence[int]

    def records(self) -> list[tuple[int, int]]:
        """(trial, part) of what it leaves, in the order of its job's facts."""
        return [(trial, part) for trial in self.trials for part in self.parts]


class Job(Interface):
    """A unit as plain data, which can be sent to another process or machine."""

    def run(self, sources: Sequence[Source], progress: Any = None) -> list[dict[str, Any]]:
        """Work through it; returns the facts of each record, as written."""


@dataclass(frozen=True)
class Plan(ABC):
    """Requests that are worked through together.

    Attributes
    ----------
    parts : one for each request
    features : role -> request of the features that are read
    """

    parts: tuple[Part, ...]
    features: Mapping[str, FeatureRequest]

    @property
    def request(self) -> Request:
        """The first request: what all parts have in common."""
        return self.parts[0].request

    @property
    def setting(self) -> Setting:
        """The setting of the first request."""
        return self.parts[0].setting

    @property
    @abstractmethod
    def uses_device(self) -> bool:
        """Whether a graphics card is of use."""

    @property
    def repeats(self) -> bool:
        """Whether all trials are one training, of which each gets a copy (`trial.copied`)."""
        return False

    def pool(self, division: Division) -> list[str]:
        """Ids of the unlabelled sentences that a training of a fold takes."""
        return []

    @abstractmethod
    def rows(self) -> list[Rows]:
        """(corpus, rows that features are needed of, task) of each source, in their order."""

    @abstractmethod
    def units(self, lacking: Sequence[Sequence[tuple[int, str]]]) -> list[Unit]:
        """The units that fill what is lacking: for each part, (trial, fold) without a finished record."""

    @abstractmethod
    def job(self, unit: Unit, runs: Sequence[Path], device: str, threads: int, *, save_models: bool = False) -> Job:
        """A unit for the records of the parts that lack it; `runs` are the folders of all parts."""

    def lost(self, unit: Unit, trial: int, error: str | None, threads: int) -> dict[str, Any]:
        """The failed record of a unit whose process ended before it could write one."""
        return {
            "status": "failed",
            "error": error,
            "seed": unit_seed(self.request.protocol, trial, unit.fold),
            "threads": threads,
            "versions": versions(),
        }

    def text(self) -> str:
        """The plan as text, which another process or machine reads again (`execution.read_plan`)."""
        return canonical_json(plain([[asdict(part.request) for part in self.parts], self.config_as_dict()]))

    def config_as_dict(self) -> Mapping[str, Any] | None:
        """The complete configuration of what is trained; None where nothing is."""
        return None

    def sources(self, jobs: int, display: Display) -> list[Source]:
        """The corpora with features, from the cache or made now."""
        return [
            Source(corpus, task, extract_features(corpus, rows, self.features, jobs, display))
            for corpus, rows, task in self.rows()
        ]

    def cached_features(self) -> Iterator[tuple[str, FeatureExtractor]]:
        """Role and extractor of the features that are cached; those of words are made where they are used."""
        made = ((role, build(request)) for role, request in self.features.items())
        return ((role, extractor) for role, extractor in made if not extractor.needs_words)

    def extractions(self) -> Iterator[tuple[int, str, FeatureExtractor, Rows, str]]:
        """(number of the source, role, extractor, rows, key); two with one key make the same arrays."""
        for number, rows in enumerate(self.rows()):
            corpus, table, _ = rows
            for role, extractor in self.cached_features():
                key = digest([extractor.digest(), corpus.digest(), sorted(map(str, table.index))])
                yield number, role, extractor, rows, key


def specification(
    request: Request,
    setting: Setting,
    model: Mapping[str, Any],
    features: Mapping[str, FeatureRequest],
    labels: Sequence[str],
) -> dict[str, Any]:
    """What the record of a request will say of it."""
    transfer = setting.transfer()
    recognised = "+".join(recognised_words(setting))
    extractors: dict[str, FeatureExtractor] = {role: build(wanted) for role, wanted in features.items()}
    return {
        "schema": 1,
        "model": dict(model),
        "features": {
            role: {"request": asdict(features[role]), "identity": e.identity(), "signature": e.signature()}
            for role, e in extractors.items()
        },
        "dataset": setting.dataset(),
        "task": setting.asked.to_dict(),
        "protocol": setting.describe(request.protocol),
        **({} if transfer is None else {"transfer": transfer}),
        "labels": list(dict.fromkeys([*labels, *(one for e in extractors.values() for one in e.labels(recognised))])),
        "arguments": {**asdict(request), "options": dict(request.options), "settings": dict(request.settings)},
        "command": request.command(),
        "serbench": versions()["serbench"],
    }


def recognised_words(setting: Setting) -> list[str]:
    """Who recognised words of this setting's corpora, where they are no transcript's."""
    corpora = (setting.corpus, setting.tested)
    return list(dict.fromkeys(corpus.recognised for corpus in corpora if corpus.recognised))


def heard(model: type[SERModel], config: Any, setting: Setting) -> list[str]:
    """Labels of recognised words that the model takes from the corpora of this setting."""
    return [f"words:{who}" for who in recognised_words(setting)] if model.takes_words(config) else []


def seen(model: type[SERModel], config: Any, setting: Setting) -> list[str]:
    """Labels of the corpora of this setting that a pre-trained part of the model is known to be trained on."""
    names = {part for corpus in (setting.corpus, setting.tested) for part in corpus.name.split("+")}
    return [f"encoder-saw:{name}" for name in sorted(names & model.seen(config))]
