"""Support vector machines: SVC or SVR on functionals, cost and kernel width chosen on dev.

Fitted by scikit-learn (libsvm; Chang and Lin 2011, doi:10.1145/1961189.1961199). Columns are standardised on train
(rules: `core/scaling.py`). Every (cost, gamma) of the grid is fitted on train alone and scored on dev by the protocol's
metric; the winner is kept as it is. gamma is `gammas` value / number of columns that vary in training, so 1.0 is
scikit-learn's "scale". Regression trains one machine per target, on labels standardised on train (so cost and epsilon
mean the same on every scale), and chooses per target. Classification is one-against-one; its class scores are the
softmax of scikit-learn's one-vs-rest decision values (votes, and summed confidences between ties). They rank the
classes as scikit-learn's SVC(break_ties=True) does; they are not probabilities.

A trained machine is kept as its support vectors, dual coefficients and intercepts, and predicts from these alone.
Fitting grows with the square of the number of utterances. Time-continuous tasks are not taken: their label frames are
too many for kernel machines; `linear` takes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..datasets.core.config import option
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from ..features.core.process import threads_for
from .core.machine import Machine
from .core.persist import expect
from .core.rows import Matrix
from .core.scaling import Scaler, normalisation_labels, normalise_option, normalised_matrix
from .core.selection import Metric, best, best_of, best_per_target, check_dev, dev_metric, inner_predictions, plain
from .core.sermodel import Data, FitLog, Predictions, Score, SERModel

Point = tuple[float, float | None]
"""A point of the grid: the cost, and gamma times the number of varying columns (None for the linear kernel)."""


@dataclass(frozen=True)
class Config:
    """Settings of `svm`."""

    feature: str = option("egemaps", "feature; frames are summarised by mean and sd", source="free choice")
    kernel: str = option("rbf", "kernel of the machine", source="free choice", choices=("rbf", "linear"))
    costs: tuple[float, ...] = option(
        (0.1, 1.0, 10.0, 100.0), "grid of the cost C, smallest first", source="free choice", low=1e-9, high=1e9
    )
    gammas: tuple[float, ...] = option(
        (0.03, 0.1, 0.3, 1.0),
        "grid of gamma times the number of varying columns, smallest first (rbf only)",
        source="free choice",
        low=1e-9,
        high=1e9,
    )
    epsilon: float = option(
        0.1,
        "half width of the tube without loss, in standard deviations of the label (regression)",
        source="free choice",
        low=0.0,
    )
    balanced: bool = option(True, "weight classes inversely to their training frequency", source="free choice")
    clip: float | None = option(5.0, "limit of standardised features, in sd, or none", source="free choice", low=0.1)
    tolerance: float = option(
        1e-4,
        "libsvm's stopping tolerance; at its own 1e-3 the rounding of the input shows in the third digit",
        source="free choice",
        low=1e-12,
        high=0.1,
    )
    normalise: str = normalise_option()


GROUP = "baselines"
CITES = ("chang2011libsvm",)
PRESETS = {"default": Config(), "linear": Config(kernel="linear")}
SEARCH = {"model.kernel": "rbf,linear", "model.clip": "2,5,none", "model.epsilon": "0.01..0.5:log"}


class Model(SERModel):
    """SVC, or one SVR per target, over standardised functionals."""

    name = "svm"
    kinds = frozenset({"classification", "regression"})
    refits = nests = True
    _chosen: list[Point]
    """The chosen point, or that of each target; none where there is one class."""

    @classmethod
    def labels(cls, config: Config) -> tuple[str, ...]:
        """Normalisation by speaker hears the test speakers."""
        return normalisation_labels(config.normalise)

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """One feature: functionals, or frames that are summarised."""
        return {"input": FeatureRequest(config.feature)}

    @classmethod
    def deterministic(cls, config: Config) -> bool:
        """Always: libsvm draws at random for its probabilities alone, which are not used."""
        return True

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Fit every point of the grid on train, keep the one that scores best on dev."""
        points = self._grid()
        check_dev(self.name, "costs=1 --set model.gammas=1", len(points), len(dev))
        rows, dev_rows = self._matrix(train), self._matrix(dev)
        self._scaler = Scaler.fit(rows)
        facts = self._scaler.facts(rows, dev_rows)
        rows, dev_rows = (self._scaler.transform(r, self.config.clip) for r in (rows, dev_rows))
        fitted = self._fit_classes if self.task.kind == "classification" else self._fit_values
        with threads_for(rows.size):
            facts |= fitted(points, rows, train.labels, dev_rows, dev_metric(dev, score))
        return FitLog(facts=facts)

    def refit(self, both: Data) -> dict[str, Any]:
        """Fit the chosen points on train and dev together, standardised on both."""
        rows = self._matrix(both)
        self._scaler = Scaler.fit(rows)
        rows = self._scaler.transform(rows, self.config.clip)
        with threads_for(rows.size):
            if self.task.kind == "classification":
                self._present = np.unique(both.labels)
                chosen = self._chosen if len(self._present) > 1 else []
                self._machines = [self._classifier(point, rows, both.labels) for point in chosen]
            else:
                standard = self._standardised(both.labels)
                self._machines = [self._regressor(p, rows, standard[:, t]) for t, p in enumerate(self._chosen)]
        return {"refitted_on": len(both)}

    def predict(self, data: Data) -> Predictions:
        """Class scores (utterance, class) or values (utterance, target)."""
        rows = self._scaler.transform(self._matrix(data), self.config.clip)
        predicted = self._class_scores if self.task.kind == "classification" else self._values
        with threads_for(rows.size):
            return predicted(self._machines, rows)

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Scaling, and the parts of each machine under `<number>.<part>`."""
        arrays: dict[str, npt.NDArray[Any]] = {"mean": self._scaler.mean, "inverse": self._scaler.inverse}
        arrays |= {"classes": self._present, "offset": self._offset, "scale": self._scale}
        for i, machine in enumerate(self._machines):
            parts = {part: getattr(machine, part) for part in ("vectors", "dual", "intercept", "counts")}
            arrays |= {f"{i}.{part}": array for part, array in parts.items()}
        return arrays, {"gammas": [m.gamma for m in self._machines]}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self._scaler = Scaler(expect(arrays, "mean", (None,)), expect(arrays, "inverse", (None,)))
        self._present, self._offset = expect(arrays, "classes", (None,)), expect(arrays, "offset", (None,))
        self._scale = expect(arrays, "scale", (len(self._offset),))
        dim = len(expect(arrays, "inverse", (len(self._scaler.mean),)))
        self._machines = []
        for i, gamma in enumerate(facts["gammas"]):
            vectors = expect(arrays, f"{i}.vectors", (None, dim))
            counts, intercept = expect(arrays, f"{i}.counts", (None,)), expect(arrays, f"{i}.intercept", (None,))
            dual = expect(arrays, f"{i}.dual", (max(len(counts) - 1, 1), len(vectors)))
            self._machines.append(Machine(gamma, vectors, dual, intercept, counts))

    def multiply_accumulates(self, rows: int) -> int:
        """The products with all support vectors, and with the dual coefficients, for each row."""
        return sum(int(m.vectors.size + m.dual.size) for m in self._machines) * rows

    @property
    def parameters(self) -> int:
        """Dual coefficients and intercepts; the support vectors are training data and don't count."""
        return sum(int(m.dual.size + m.intercept.size) for m in self._machines)

    def _grid(self) -> list[Point]:
        """All points, the smoothest machine first."""
        gammas: tuple[float | None, ...] = self.config.gammas if self.config.kernel == "rbf" else (None,)
        return list(itertools.product(self.config.costs, gammas))

    def _fit_classes(
        self, points: Sequence[Point], rows: Matrix, classes: Any, dev_rows: Matrix, metric: Metric
    ) -> dict[str, Any]:
        self._present = np.unique(classes)
        self._offset = self._scale = np.empty(0)
        absent = [label for i, label in enumerate(self.task.labels) if i not in self._present]
        facts: dict[str, Any] = {"classes_without_training_data": absent}
        if len(self._present) == 1:
            self._machines, self._chosen = [], []
            return facts
        machines = [self._classifier(point, rows, classes) for point in points]
        scores = [metric(self._class_scores([machine], dev_rows)) for machine in machines]
        chosen = best(scores)
        self._machines, self._chosen = [machines[chosen]], [points[chosen]]
        return facts | _grid_facts(points, scores, [chosen])

    def _fit_values(
        self, points: Sequence[Point], rows: Matrix, labels: Matrix, dev_rows: Matrix, metric: Metric
    ) -> dict[str, Any]:
        self._present = np.empty(0, dtype=np.int64)
        standard = self._standardised(labels)
        targets = range(labels.shape[1])
        machines = [[self._regressor(point, rows, standard[:, t]) for t in targets] for point in points]
        chosen, scores = best_per_target([self._values(row, dev_rows) for row in machines], metric)
        self._machines, self._chosen = [machines[i][t] for t, i in enumerate(chosen)], [points[i] for i in chosen]
        return _grid_facts(points, scores, chosen)

    def fit_nested(self, train: Data, score: Score) -> FitLog:
        """Choose on inner folds of train, then fit the choice on all of train."""
        points = self._grid()
        classes = self.task.kind == "classification"

        def each_point(rows: Matrix, labels: Any, further: Matrix) -> list[Matrix]:
            self._scaler = Scaler.fit(rows)
            rows, further = (self._scaler.transform(r, self.config.clip) for r in (rows, further))
            if classes:
                self._present = np.unique(labels)
                machines = [[self._classifier(p, rows, labels)] if len(self._present) > 1 else [] for p in points]
                return [self._class_scores(one, further) for one in machines]
            standard = self._standardised(labels)
            each = [[self._regressor(p, rows, column) for column in standard.T] for p in points]
            return [self._values(one, further) for one in each]

        rows = self._matrix(train)
        with threads_for(rows.size):
            made = inner_predictions(train, rows, len(points), self.task.n_outputs, each_point)
        chosen, scores = best_of(made, self.task, dev_metric(train, score))
        self._present, self._offset, self._scale = np.empty(0, dtype=np.int64), np.empty(0), np.empty(0)
        self._chosen = [points[i] for i in chosen]
        return FitLog(facts={**_grid_facts(points, scores, chosen), "nested": True, **self.refit(train)})

    def _matrix(self, data: Data) -> Matrix:
        return normalised_matrix(data, self.config.normalise)

    def _standardised(self, labels: Matrix) -> Matrix:
        """Training labels by their own moments, which are kept."""
        self._offset, deviation = labels.mean(axis=0), labels.std(axis=0)
        self._scale = np.where(deviation > 0, deviation, 1.0)
        return np.asarray((labels - self._offset) / self._scale)

    def _classifier(self, point: Point, rows: Matrix, classes: Any) -> Machine:
        from sklearn.svm import SVC

        fitter = SVC(**self._settings(point), class_weight="balanced" if self.config.balanced else None)
        return Machine.of(fitter.fit(rows, classes), self._gamma(point))

    def _regressor(self, point: Point, rows: Matrix, values: Matrix) -> Machine:
        from sklearn.svm import SVR

        fitter = SVR(**self._settings(point), epsilon=self.config.epsilon)
        return Machine.of(fitter.fit(rows, values), self._gamma(point))

    def _settings(self, point: Point) -> dict[str, Any]:
        """What SVC and SVR have in common."""
        gamma = self._gamma(point)
        return {
            "kernel": self.config.kernel,
            "C": point[0],
            "tol": self.config.tolerance,
            **({} if gamma is None else {"gamma": gamma}),
        }

    def _gamma(self, point: Point) -> float | None:
        """Exponent of the RBF kernel at a point of the grid."""
        return None if point[1] is None else point[1] / max(self._scaler.varying, 1)

    def _values(self, machines: Sequence[Machine], rows: Matrix) -> Matrix:
        """Predictions of one machine per target on the label scale, (row, target)."""
        return np.asarray(np.stack([m.values(rows) for m in machines], axis=1) * self._scale + self._offset)

    def _class_scores(self, machines: Sequence[Machine], rows: Matrix) -> Matrix:
        """Softmax of the decisions over the classes seen in training, 0 for the others, (row, class)."""
        scores = np.zeros((len(rows), self.task.n_outputs))
        decisions = machines[0].decisions(rows) if machines else np.zeros((len(rows), 1))
        exponentials = np.exp(decisions - decisions.max(axis=1, keepdims=True))
        scores[:, self._present] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return scores


def _grid_facts(points: Sequence[Point], scores: Sequence[float], chosen: Sequence[int]) -> dict[str, Any]:
    grid = [{"cost": c, "gamma": g, "dev_score": plain(s)} for (c, g), s in zip(points, scores, strict=True)]
    return {"grid": grid, "cost": [points[i][0] for i in chosen], "gamma": [points[i][1] for i in chosen]}
