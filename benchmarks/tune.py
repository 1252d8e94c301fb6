"""`serbench tune`: a search over a model's settings inside each training, by the dev set alone.

Every training (trial, fold) has a search of its own: candidates are fitted on train and scored on dev by the protocol's
metric, the best one predicts the test items. A search sees what `SERModel.fit` sees, and that never holds a test item,
so the test set is untouched until the configuration is fixed. The space, the number of candidates (the *budget*) and
the sampler are a part of the run: they stand in its id, its record, its signature and the leaderboard, since a score
that was searched for longer is another result (Dodge et al. 2019, doi:10.18653/v1/D19-1224).

Candidates are proposed by Optuna (Akiba et al. 2019, doi:10.1145/3292500.3330701): every point once where the space is
a grid no larger than the budget, else by its tree-structured Parzen estimator, from the training's own seed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..datasets._config import override
from ..datasets._errors import SerbenchError, unknown
from ..datasets._files import digest, write_json
from ..datasets._task import Task
from ..sermodels._model import Data, FitLog, Predictions, Resources, Score, SERModel

NO_OPTUNA = "serbench tune needs Optuna, which is not installed. Type: pip install 'serbench[tune]'."
SAMPLERS = ("auto", "tpe", "random", "grid")
BUDGET = 20
"""Candidates of a training, unless another number is asked for."""
SPACES: dict[str, dict[str, str]] = {
    "linear": {"model.clip": "2,5,none", "model.balanced": "true,false"},
    "svm": {"model.kernel": "rbf,linear", "model.clip": "2,5,none", "model.epsilon": "0.01..0.5:log"},
    "cnn-regressor": {
        "train.learning_rate": "1e-4..3e-3:log", "train.batch_size": "8,16,32", "model.dropout": "0.2..0.6",
    },
    "cnn-ae": {"train.learning_rate": "1e-4..3e-3:log", "model.reconstruction_weight": "0.1..10:log"},
    "cnn-vae": {
        "train.learning_rate": "1e-4..3e-3:log", "model.reconstruction_weight": "0.1..10:log",
        "model.kl_weight": "0.01..1:log",
    },
    "deepemocluster": {"model.clusters": "10,20,30", "model.cluster_weight": "0.1..3:log"},
    "maec": {
        "train.learning_rate": "1e-4..3e-3:log", "model.adversarial_weight": "0.03..1:log",
        "model.gender_weight": "0.1..3:log",
    },
    "probe": {"train.learning_rate": "1e-4..1e-2:log", "model.hidden": "0,128,256", "model.dropout": "0..0.5"},
    "semantic-fusion": {"train.learning_rate": "1e-4..3e-3:log", "model.dropout": "0.2..0.6"},
    "transformer": {"model.encoder_rate": "1e-5..1e-4:log", "train.learning_rate": "1e-4..3e-3:log"},
}  # fmt: skip
"""Default search spaces: what the models' papers varied, or what decides most, within a factor of a few."""


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
    module: Any, model: str, settings: Mapping[str, str], budget: int = BUDGET, sampler: str = "auto",
    preset: str | None = None,
) -> tuple[dict[str, str], Search]:  # fmt: skip
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
        if model not in SPACES:
            raise SerbenchError(
                f"there is no default search space for {model!r} (there is one for {', '.join(SPACES)}). Say what to "
                "search: --set model.KEY=A,B,C or --set train.learning_rate=1e-4..1e-2:log."
            )
        space = {key: text for key, text in SPACES[model].items() if key not in fixed}
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


class Tuned:
    """A model that searches for its configuration when it is fitted; afterwards `chosen` is the best candidate.

    Parameters
    ----------
    module : of the model
    config : what the candidates have in common
    search : `Search.plain()`
    """

    def __init__(self, module: Any, config: Any, search: Mapping[str, Any], task: Task, resources: Resources) -> None:
        self.module, self.search = module, search
        self.config, self.task, self.resources = config, task, resources
        self.chosen: SERModel = module.Model(config, task, resources)
        self._space = parse(search["space"], config)
        self._log = FitLog()
        self._tried: dict[str, dict[str, Any]] = {}
        self._held: str | None = None

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Fit the candidates on `train`, keep the one that scores best on `dev`.

        A candidate that fails (a loss that is not finite, say) counts and is never chosen. Finished candidates are
        remembered beside the training's checkpoint: a search that was interrupted goes on after the last one.

        Raises
        ------
        SerbenchError
            When every candidate fails.
        """
        data = train, dev, score, unlabelled
        self._recall(train, dev)
        self._propose(data)
        found = {key: one for key, one in self._tried.items() if one["dev_score"] is not None}
        if not found:
            first = next(iter(self._tried.values()))
            raise SerbenchError(f"each of {len(self._tried)} candidates failed, the first one so: {first['error']}")
        best = max(found, key=lambda key: found[key]["dev_score"])
        if self._held != best:  # fitted before the process was interrupted
            self.chosen, self._log = self._fitted(found[best]["settings"], best, data)
        self._forget()
        chosen = dict(found[best]["settings"])
        self._log.facts["search"] = {**self.search, "chosen": chosen, "candidates": list(self._tried.values())}
        return self._log

    def predict(self, data: Data) -> Predictions:
        """Predictions of the chosen candidate."""
        return self.chosen.predict(data)

    def _propose(self, data: tuple[Data, Data, Score, Data | None]) -> None:
        """Let Optuna propose the candidates, and try each."""
        optuna = _import_optuna()

        def objective(trial: Any) -> float:
            settings = {key: _suggest(trial, key, dimension) for key, dimension in self._space.items()}
            return self._try(settings, data)

        study = optuna.create_study(direction="maximize", sampler=self._sampler(optuna))
        study.optimize(objective, n_trials=self.search["budget"], catch=(SerbenchError,))

    def _sampler(self, optuna: Any) -> Any:
        seed, kind = self.resources.seed, self.search["sampler"]
        if kind == "grid":
            values = {key: list(d.values) for key, d in self._space.items() if isinstance(d, Choice)}
            return optuna.samplers.GridSampler(values, seed=seed)
        return optuna.samplers.RandomSampler(seed=seed) if kind == "random" else optuna.samplers.TPESampler(seed=seed)

    def _try(self, settings: dict[str, str], data: tuple[Data, Data, Score, Data | None]) -> float:
        """The dev score of a candidate; SerbenchError if it fails. The best one so far is kept."""
        key = digest(settings)
        if key not in self._tried:
            one: dict[str, Any] = {"settings": settings, "dev_score": None, "error": None}
            number = len(self._tried) + 1
            try:
                model, log = self._fitted(settings, key, data)
                value = float(data[2](data[1].labels, model.predict(data[1])))
                one["dev_score"] = value if math.isfinite(value) else None
                one["error"] = None if math.isfinite(value) else "its dev score is undefined"
            except SerbenchError as error:
                one["error"] = str(error)
            if one["dev_score"] is not None and one["dev_score"] > self._best():
                self.chosen, self._log, self._held = model, log, key
            self._tried[key] = one
            self._remember()
            if self.resources.progress is not None:
                self.resources.progress(f"candidate {number}", number / self.search["budget"])
        if self._tried[key]["dev_score"] is None:
            raise SerbenchError(self._tried[key]["error"])
        return float(self._tried[key]["dev_score"])

    def _best(self) -> float:
        scores = [one["dev_score"] for one in self._tried.values() if one["dev_score"] is not None]
        return max(scores, default=-math.inf)

    def _fitted(
        self, settings: Mapping[str, str], key: str, data: tuple[Data, Data, Score, Data | None]
    ) -> tuple[SERModel, FitLog]:
        folder = None if self.resources.checkpoint is None else self.resources.checkpoint / key
        resources = Resources(self.resources.seed, self.resources.device, None, folder)
        model: SERModel = self.module.Model(candidate(self.config, settings), self.task, resources)
        return model, model.fit(*data)

    def _recall(self, train: Data, dev: Data) -> None:
        """Take up the candidates of an interrupted search of the same data."""
        self._about = digest([dict(self.search), self.resources.seed, train.ids, dev.ids])
        try:
            held = json.loads(self._file().read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if held.get("about") == self._about:
            self._tried = {digest(one["settings"]): one for one in held["candidates"]}

    def _remember(self) -> None:
        if self.resources.checkpoint is not None:
            write_json(self._file(), {"about": self._about, "candidates": list(self._tried.values())})

    def _forget(self) -> None:
        if self.resources.checkpoint is not None:
            shutil.rmtree(self.resources.checkpoint, ignore_errors=True)

    def _file(self) -> Path:
        return (self.resources.checkpoint or Path()) / "candidates.json"

    def pool(self, config: Any, ids: Sequence[str]) -> list[str]:
        """The unlabelled ids that the model wants, whichever candidate is tried."""
        wanted: list[str] = self.module.Model.pool(config, ids)
        return wanted

    @property
    def uses_unlabelled(self) -> bool:
        """As the model says."""
        return bool(self.module.Model.uses_unlabelled)

    @property
    def parameters(self) -> int:
        """Trained scalars of the chosen candidate."""
        return self.chosen.parameters


def _suggest(trial: Any, key: str, dimension: Choice | Range) -> str:
    """The text that Optuna proposes for a setting."""
    if isinstance(dimension, Choice):
        return str(trial.suggest_categorical(key, dimension.values))
    if dimension.whole:
        return dimension.text(trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log))
    return dimension.text(trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log))


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise SerbenchError(NO_OPTUNA) from error
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna


def spaces() -> Sequence[str]:
    """The default spaces, one line for each model."""
    return [f"{model}: {', '.join(f'{key}={text}' for key, text in space.items())}" for model, space in SPACES.items()]
