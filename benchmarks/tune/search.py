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
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest, write_json
from ...datasets.core.libraries import LibraryError, library
from ...datasets.core.stages import stage
from ...datasets.schema.task import Task
from ...sermodels import registry
from ...sermodels.core.sermodel import Data, FitLog, Predictions, Resources, Score, SERModel
from ..protocol.request import Grid
from .space import Choice, Range, Search, candidate, check, parse, resolved, search_of

__all__ = ["Choice", "Range", "Search", "Tuned", "candidate", "check", "parse", "resolved", "search_of"]


Material = tuple[Data, Data, Score, Data | None]
"""What `SERModel.fit` takes: train, dev, the dev score, the unlabelled pool."""


class FailedCandidateError(SerbenchError):
    """A candidate has no dev score; the search goes on."""


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
        scored = {key: one for key, one in self._tried.items() if one["dev_score"] is not None}
        if not scored:
            first = next(iter(self._tried.values()))
            raise SerbenchError(f"each of {len(self._tried)} candidates failed, the first one so: {first['error']}")
        best = max(scored, key=lambda key: scored[key]["dev_score"])
        if self._held != best:  # fitted before the process was interrupted
            self.chosen, self._log = self._fitted(scored[best]["settings"], best, data)
        self._forget()
        chosen = dict(scored[best]["settings"])
        self._log.facts["search"] = {**self.search, "chosen": chosen, "candidates": list(self._tried.values())}
        return self._log

    def predict(self, data: Data) -> Predictions:
        """Predictions of the chosen candidate."""
        return self.chosen.predict(data)

    def _propose(self, data: Material) -> None:
        """Let Optuna propose the candidates, and try each."""
        optuna = _import_optuna()

        def objective(trial: Any) -> float:
            settings = {key: _suggest(trial, key, dimension) for key, dimension in self._space.items()}
            return self._try(settings, data)

        study = optuna.create_study(direction="maximize", sampler=self._sampler(optuna))
        study.optimize(objective, n_trials=self.search["budget"], catch=(FailedCandidateError,))

    def _sampler(self, optuna: Any) -> Any:
        seed, kind = self.resources.seed, self.search["sampler"]
        if kind == "grid":
            values = {key: list(d.values) for key, d in self._space.items() if isinstance(d, Choice)}
            return optuna.samplers.GridSampler(values, seed=seed)
        return optuna.samplers.RandomSampler(seed=seed) if kind == "random" else optuna.samplers.TPESampler(seed=seed)

    def _try(self, settings: dict[str, str], data: Material) -> float:
        """The dev score of a candidate; SerbenchError if it fails. The best one so far is kept."""
        key = digest(settings)
        if key not in self._tried:
            one: dict[str, Any] = {"settings": settings, "dev_score": None, "error": None}
            number = len(self._tried) + 1
            try:
                with stage("candidate", self.search["budget"]) as at:
                    at(number)
                    model, log = self._fitted(settings, key, data)
                value = float(data[2](data[1].labels, model.predict(data[1])))
                one["dev_score"] = value if math.isfinite(value) else None
                one["error"] = None if math.isfinite(value) else "its dev score is undefined"
            except LibraryError:
                raise
            except SerbenchError as error:
                one["error"] = str(error)
            if one["dev_score"] is not None and one["dev_score"] > self._best():
                self.chosen, self._log, self._held = model, log, key
            self._tried[key] = one
            self._remember()
            if self.resources.progress is not None:
                self.resources.progress(f"candidate {number}", number / self.search["budget"])
        if self._tried[key]["dev_score"] is None:
            raise FailedCandidateError(self._tried[key]["error"])
        return float(self._tried[key]["dev_score"])

    def _best(self) -> float:
        scores = [one["dev_score"] for one in self._tried.values() if one["dev_score"] is not None]
        return max(scores, default=-math.inf)

    def _fitted(self, settings: Mapping[str, str], key: str, data: Material) -> tuple[SERModel, FitLog]:
        folder = None if self.resources.checkpoint is None else self.resources.checkpoint / key
        with stage("training", 1) as at:
            seed, device = self.resources.seed, self.resources.device
            resources = Resources(seed, device, lambda text, share: at(share, text), folder)
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


def searched_grid(grid: Grid, budget: int, sampler: str) -> tuple[Grid, Search]:
    """The grid of one model whose settings are searched, and what is searched (`search_of`)."""
    if len(grid.models) > 1:
        raise SerbenchError("serbench tune takes one --model: each has a space of its own. Type it once for each.")
    grid.requests()  # refuses a grid that names nothing
    ((name, preset),) = grid.models
    fixed, search = search_of(registry.load(name), name, grid.settings, budget, sampler, preset)
    return replace(grid, settings=fixed, search=search.plain()), search


def chosen_settings(unit: Mapping[str, Any]) -> Mapping[str, str]:
    """What the search of a recorded unit has chosen; empty where it failed."""
    return ((unit.get("facts") or {}).get("search") or {}).get("chosen") or {}


def _suggest(trial: Any, key: str, dimension: Choice | Range) -> str:
    """The text that Optuna proposes for a setting."""
    if isinstance(dimension, Choice):
        return str(trial.suggest_categorical(key, dimension.values))
    if dimension.whole:
        return dimension.text(trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log))
    return dimension.text(trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log))


def _import_optuna() -> Any:
    optuna = library("optuna", "serbench tune")
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    return optuna
