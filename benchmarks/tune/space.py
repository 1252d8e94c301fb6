"""What a search ranges over: settings with their values, as typed after `--set`, and a model's default space.

`--set model.k=10,20,30` names candidates, `--set train.learning_rate=1e-4..1e-2:log` a range; any other text fixes its
setting. A space is kept as these texts, so a record says what was typed; `parse` reads them. `tune/search.py` is
the search itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ...datasets.core.config import override
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.task import Task
from ...sermodels import registry

SAMPLERS = ("auto", "tpe", "random", "grid")
BUDGET = 20
"""Candidates of a training, unless another number is asked for."""


@dataclass(frozen=True)
class Choice:
    """One of several texts."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, on a logarithmic scale if `log`, a whole one if `whole`."""

    low: float
    high: float
    log: bool
    whole: bool

    def text(self, value: float) -> str:
        """A number of the range as it would be typed."""
        return str(int(value)) if self.whole else repr(float(value))


@dataclass(frozen=True)
class Search:
    """What is searched, as records hold it.

    Attributes
    ----------
    space : setting -> `A,B,C` (`A;B` where values are lists), or `LOW..HIGH`, or `LOW..HIGH:log`
    budget : candidates of each training
    sampler : one of `SAMPLERS`; auto = grid where it is no larger than the budget, else tpe
    """

    space: Mapping[str, str] = field(default_factory=dict)
    budget: int = BUDGET
    sampler: str = "auto"

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "space": dict(self.space)}


def search_of(
    module: Any,
    model: str,
    settings: Mapping[str, str],
    budget: int = BUDGET,
    sampler: str = "auto",
    preset: str | None = None,
) -> tuple[dict[str, str], Search]:
    """What `--set` texts fix, and the search that they describe; the model's default space where they describe none.

    Raises
    ------
    SerbenchError
        For an unknown sampler, a budget below 1, a setting of features, or a model without a default space.
    """
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, SAMPLERS)
    if budget < 1:
        raise SerbenchError(f"--budget {budget}: expected 1 or more.")
    config = module.PRESETS.get(preset or "default", module.PRESETS["default"])  # another name is refused later
    space = {key: text for key, text in settings.items() if searched(config, key, text)}
    fixed = {key: text for key, text in settings.items() if key not in space}
    if not space:
        if not hasattr(module, "SEARCH"):
            known = ", ".join(name for name in registry.names() if registry.declared(name, "SEARCH"))
            raise SerbenchError(
                f"there is no default search space for {model!r} (there is one for {known}). Say what to search: "
                "--set model.KEY=A,B,C or --set train.learning_rate=1e-4..1e-2:log."
            )
        space = {key: text for key, text in module.SEARCH.items() if key not in fixed}
    if not space:
        raise SerbenchError("every setting of the default space is fixed by --set; there is nothing to search.")
    for key in space:
        if key.startswith("feature."):
            raise SerbenchError(
                f"--set {key}={space[key]}: features can't be searched, since they are made once for all trainings. "
                "Run 'serbench tune' once for each value."
            )
    return fixed, resolved(Search(space, budget, sampler), config)


def searched(config: Any, key: str, text: str) -> bool:
    """Whether a `--set` text names several values."""
    return ".." in text or (";" if is_list(config, key) else ",") in text


def is_list(config: Any, key: str) -> bool:
    """Whether a setting is a list itself, so that commas are a part of a value."""
    return isinstance(current(config, key), tuple)


def current(config: Any, key: str) -> Any:
    """The value of a setting `model.KEY` or `train.KEY`, None where there is none."""
    part, _, name = key.partition(".")
    return getattr(getattr(config, "train", None) if part == "train" else config, name, None)


def resolved(search: Search, config: Any) -> Search:
    """The search with its sampler decided, and with no more candidates than a grid has points."""
    dimensions = parse(search.space, config)
    points = math.prod(len(d.values) if isinstance(d, Choice) else 0 for d in dimensions.values())
    if search.sampler == "grid" and not points:
        raise SerbenchError("--sampler grid: a range has no grid. Name the values, such as --set model.k=10,20,30.")
    small = 0 < points <= search.budget
    if search.sampler == "auto":
        return replace(search, sampler="grid" if small else "tpe", budget=points if small else search.budget)
    return replace(search, budget=min(points, search.budget)) if search.sampler == "grid" else search


def parse(space: Mapping[str, str], config: Any) -> dict[str, Choice | Range]:
    """The dimensions of a space.

    Raises
    ------
    SerbenchError
        For a range that is empty, not of numbers, or (log) not above 0.
    """
    return {key: _dimension(key, text, config) for key, text in space.items()}


def _dimension(key: str, text: str, config: Any) -> Choice | Range:
    if ".." not in text:
        separator = ";" if is_list(config, key) else ","
        values = tuple(dict.fromkeys(part.strip() for part in text.split(separator) if part.strip()))
        if not values:
            raise SerbenchError(f"--set {key}={text}: expected one or more values.")
        return Choice(values)
    bounds, _, scale = text.partition(":")
    first, _, last = bounds.partition("..")
    try:
        low, high = float(first), float(last)
    except ValueError:
        raise SerbenchError(f"--set {key}={text}: expected LOW..HIGH or LOW..HIGH:log, with numbers.") from None
    if not low < high or scale not in ("", "log") or (scale and low <= 0):
        raise SerbenchError(f"--set {key}={text}: expected LOW..HIGH with LOW below HIGH, and above 0 with ':log'.")
    value = current(config, key)
    return Range(low, high, scale == "log", isinstance(value, int) and not isinstance(value, bool))


def candidate(config: Any, settings: Mapping[str, str]) -> Any:
    """A configuration with some settings (`model.KEY`, `train.KEY`) replaced; SerbenchError for bad ones."""
    parts: dict[str, dict[str, str]] = {}
    for key, text in settings.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = text
    if strange := sorted(parts.keys() - {"model", "train"}):
        raise SerbenchError(f"--set {strange[0]}...: expected model.KEY or train.KEY in a search.")
    if "train" in parts and not hasattr(config, "train"):
        raise SerbenchError("the model has no training loop, so train.* can't be searched.")
    config = override(config, parts.get("model", {}), "model.")
    return replace(config, train=override(config.train, parts["train"], "train.")) if "train" in parts else config


def check(module: Any, config: Any, task: Task, search: Mapping[str, Any]) -> None:
    """Refuse a space with a value that the model does not take, or that would change its features."""
    ids = [str(i) for i in range(10_000)]

    def made(one: Any) -> Any:
        return module.Model.requests(one, task), module.Model.pool(one, ids)

    features = made(config)
    for key, dimension in parse(search["space"], config).items():
        bounds = () if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        for text in dimension.values if isinstance(dimension, Choice) else map(dimension.text, bounds):
            if made(candidate(config, {key: text})) != features:
                raise SerbenchError(
                    f"--set {key}: {text!r} changes the model's features or pool, made once for all trainings. Run "
                    "'serbench tune' once for each value."
                )
