"""Which components are meant by a name or a distribution, and every check of one of them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator

from ...datasets import miniatures, registry as datasets
from ...datasets.core.errors import SerbenchError, unknown
from ...features import registry as features
from ...sermodels import registry as models
from .check import Result, UncheckedError, carried_out

REGISTRIES = {"model": models, "dataset": datasets, "feature": features}


def components(names: Iterable[str]) -> list[tuple[str, str]]:
    """(kind, name) of the components that are meant: registered names, or what a distribution adds by entry points.

    Raises
    ------
    SerbenchError
        For a name that is neither, or a distribution without entry points of ours.
    """
    return list(dict.fromkeys(component for name in names for component in _meant(name)))


def conform(kind: str, name: str) -> Iterator[Result]:
    """The results of all checks of a component, as they come."""
    yield from {"model": _model, "dataset": _dataset, "feature": _feature}[kind](name)


def _meant(name: str) -> list[tuple[str, str]]:
    try:
        entries = importlib.metadata.distribution(name).entry_points
    except (importlib.metadata.PackageNotFoundError, ValueError):
        entries = None
    groups = {registry.group: kind for kind, registry in REGISTRIES.items()} | {miniatures.group: "dataset"}
    if added := [(groups[entry.group], entry.name) for entry in entries or () if entry.group in groups]:
        return sorted(added)
    if registered := [(k, name) for k, registry in REGISTRIES.items() if name.partition(":")[0] in registry.names()]:
        return registered
    if entries is not None:
        raise SerbenchError(
            f"the distribution {name!r} adds no component. Expected entry points of the groups {', '.join(groups)}; "
            "after a change of its pyproject.toml, install it again."
        )
    every = [one for registry in REGISTRIES.values() for one in registry.names()]
    raise unknown("component or installed distribution", name, every)


def _model(name: str) -> Iterator[Result]:
    from . import models as checks
    from .material import taken

    first = carried_out("model", name, checks.offers_what_a_model_needs, name)
    yield first
    if first.problems:
        return
    yield from (carried_out("model", name, check, name) for check in checks.OF_A_MODEL[1:])
    for check in checks.OF_A_KIND:
        parts = {kind: carried_out("model", name, check, name, kind) for kind in sorted(taken(name))}
        problems = tuple(f"{kind}: {text}" for kind, part in parts.items() for text in part.problems)
        yield Result("model", name, next(iter(parts.values())).check, problems)


def _feature(name: str) -> Iterator[Result]:
    from . import features as checks

    first = carried_out("feature", name, checks.offers_what_a_feature_needs, name)
    yield first
    if not first.problems and not first.skipped:
        further = checks.OF_WORDS if checks.built(name).needs_words else checks.OF_SOUND
        yield from (carried_out("feature", name, check, name) for check in (*checks.OF_A_FEATURE[1:], *further))


def _dataset(name: str) -> Iterator[Result]:
    from . import datasets as checks

    first = carried_out("dataset", name, checks.offers_what_a_dataset_needs, name)
    yield first
    if first.problems:
        return
    yield from (carried_out("dataset", name, check, name) for check in checks.OF_A_DATASET[1:])
    try:
        with checks.opened(name) as corpus:
            yield from (carried_out("dataset", name, check, name, corpus) for check in checks.OF_A_CORPUS)
    except UncheckedError as reason:
        yield Result("dataset", name, "the corpus itself", skipped=str(reason))
    except Exception as error:
        yield Result("dataset", name, "the corpus itself", (f"{type(error).__name__}: {error}",))
