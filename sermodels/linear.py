"""Linear: ridge or multinomial logistic regression on functionals, the regularisation chosen on dev.

Ridge regression is Hoerl and Kennard's (1970, doi:10.1080/00401706.1970.10488634): the minimum over (w, b) of
|y - X w - b|^2 + alpha |w|^2. Logistic regression is scikit-learn's: the sum of the log losses + alpha/2 |W|^2, each
class weighted by n / (classes * its count) if `balanced`. Columns are standardised on train (rules for constant columns
and missing values: `core/scaling.py`). Every alpha of the grid is fitted on train alone and scored on dev by the
protocol's metric; the winner is kept as it is, so dev data decide alpha and nothing else (with `--refit` it is fitted
again on train and dev). Regression chooses alpha per target.

Features: functionals (`feature`; of a feature with frames, the mean and standard deviation over the frames). A
time-continuous task takes a feature with frames (`frame_feature`) and describes each label frame by the mean and
standard deviation over a centred window; label frames that are NaN are left out of the fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..datasets.core.config import option
from ..datasets.core.errors import SerbenchError
from ..datasets.schema.task import Task
from ..features.core.feature_request import FeatureRequest
from ..features.core.process import threads_for
from .core.persist import expect
from .core.rows import Matrix, label_rows, recording_matrix, shape_rows
from .core.scaling import Scaler, normalisation_labels, normalise_option, normalised_matrix
from .core.selection import Metric, best, best_of, best_per_target, check_dev, dev_metric, inner_predictions, plain
from .core.sermodel import Data, FitLog, Predictions, Score, SERModel

if TYPE_CHECKING:
    from .core.graph import Graph


@dataclass(frozen=True)
class Config:
    """Settings of `linear`."""

    feature: str = option("egemaps", "feature of utterance tasks", source="free choice")
    frame_feature: str = option(
        "opensmile:eGeMAPSv02:lld", "feature of time-continuous tasks; must have frames", source="free choice"
    )
    window_seconds: float = option(
        4.0, "width of the centred window around each label frame [s]", source="free choice", low=0.0, high=60.0
    )
    alphas: tuple[float, ...] = option(
        (1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 0.1),
        "grid of regularisation strengths, strongest first; of equal dev scores the first wins",
        source="free choice",
        low=1e-9,
        high=1e12,
    )
    balanced: bool = option(True, "weight classes inversely to their training frequency", source="free choice")
    clip: float | None = option(5.0, "limit of standardised features, in sd, or none", source="free choice", low=0.1)
    iterations: int = option(1000, "most L-BFGS steps per alpha (classification)", source="free choice", low=1)
    normalise: str = normalise_option()


GROUP = "baselines"
CITES = ("hoerl1970ridge",)
PRESETS = {"default": Config()}
SEARCH = {"model.clip": "2,5,none", "model.balanced": "true,false"}


class Model(SERModel):
    """Ridge or logistic regression over standardised functionals."""

    name = "linear"
    kinds = frozenset({"classification", "regression", "continuous"})
    refits = nests = True
    _chosen: list[float]
    """The chosen alpha, or that of each target."""

    @classmethod
    def labels(cls, config: Config) -> tuple[str, ...]:
        """Normalisation by speaker hears the test speakers."""
        return normalisation_labels(config.normalise)

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """`frame_feature` for time-continuous tasks, `feature` for all others."""
        if config.normalise == "speaker" and task.kind == "continuous":
            raise SerbenchError("model.normalise=speaker is for functionals of utterances. Leave it out for frames.")
        return {"input": FeatureRequest(config.frame_feature if task.kind == "continuous" else config.feature)}

    @classmethod
    def deterministic(cls, config: Config) -> bool:
        """Always: both fits have one optimum, and start from zero."""
        return True

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Fit every alpha on train, keep the one that scores best on dev."""
        check_dev(self.name, f"alphas={self.config.alphas[0]:g}", len(self.config.alphas), len(dev))
        rows, dev_rows = self._matrix(train), self._matrix(dev)
        self._scaler = Scaler.fit(rows)
        facts = self._scaler.facts(rows, dev_rows)
        rows, dev_rows = (self._scaler.transform(r, self.config.clip) for r in (rows, dev_rows))
        with threads_for(rows.size):
            if self.task.kind == "classification":
                facts |= self._fit_classes(rows, train.labels, dev_rows, dev_metric(dev, score))
            else:
                facts |= self._fit_values(rows, label_rows(train), dev_rows, dev_metric(dev, score))
        return FitLog(facts=facts)

    def refit(self, both: Data) -> dict[str, Any]:
        """Fit the chosen alphas on train and dev together, standardised on both."""
        rows = self._matrix(both)
        self._scaler = Scaler.fit(rows)
        rows, config, alphas = self._scaler.transform(rows, self.config.clip), self.config, sorted(set(self._chosen))
        with threads_for(rows.size):
            if self.task.kind == "classification":
                n = self.task.n_outputs
                path, unfinished = logistic_path(rows, both.labels, n, alphas, config.balanced, config.iterations)
                self._coefficients, self._intercept = path[0]
                return {"refitted_on": len(both), "refits_that_reached_the_last_iteration": unfinished}
            w, b = ridge_path(rows, label_rows(both), alphas)
        chosen, targets = [alphas.index(alpha) for alpha in self._chosen], np.arange(len(self._chosen))
        self._coefficients, self._intercept = np.ascontiguousarray(w[chosen, :, targets].T), b[chosen, targets]
        return {"refitted_on": len(both)}

    def predict(self, data: Data) -> Predictions:
        """Class scores (utterance, class), values (utterance, target), or one (frame, target) array per recording."""
        rows = self._scaler.transform(self._matrix(data), self.config.clip)
        with threads_for(rows.size):
            outputs = rows @ self._coefficients + self._intercept
        return shape_rows(softmax(outputs) if self.task.kind == "classification" else outputs, data)

    def graph(self) -> Graph:
        """All but normalisation by speaker and frames in windows, which need other rows."""
        if self.task.kind == "continuous" or self.config.normalise != "train":
            return super().graph()
        from .core.graph import affine

        mean, inverse, classes = self._scaler.mean, self._scaler.inverse, self.task.kind == "classification"
        return affine(mean, inverse, self.config.clip, self._coefficients, self._intercept, classes=classes)

    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Scaling, coefficients (dim, output) and intercept (output,)."""
        arrays = {
            "mean": self._scaler.mean,
            "inverse": self._scaler.inverse,
            "coefficients": self._coefficients,
            "intercept": self._intercept,
        }
        return arrays, {}

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self._coefficients = expect(arrays, "coefficients", (None, self.task.n_outputs))
        self._intercept = expect(arrays, "intercept", (self.task.n_outputs,))
        dim = (len(self._coefficients),)
        self._scaler = Scaler(expect(arrays, "mean", dim), expect(arrays, "inverse", dim))

    def multiply_accumulates(self, rows: int) -> int:
        """One for each coefficient and row."""
        return int(self._coefficients.size) * rows

    @property
    def parameters(self) -> int:
        """Coefficients and intercepts."""
        return int(self._coefficients.size + self._intercept.size)

    def _matrix(self, data: Data) -> Matrix:
        """One row per utterance or label frame, (row, dim)."""
        if self.task.kind == "continuous":
            return recording_matrix(data, self.config.window_seconds)
        return normalised_matrix(data, self.config.normalise)

    def _fit_classes(self, rows: Matrix, classes: Any, dev_rows: Matrix, metric: Metric) -> dict[str, Any]:
        config, n = self.config, self.task.n_outputs
        path, unfinished = logistic_path(rows, classes, n, config.alphas, config.balanced, config.iterations)
        scores = [metric(softmax(dev_rows @ w + b)) for w, b in path]
        chosen = best(scores)
        self._coefficients, self._intercept = path[chosen]
        self._chosen = [config.alphas[chosen]]
        absent = [label for i, label in enumerate(self.task.labels) if i not in classes]
        return {
            **self._grid(scores),
            "alpha": config.alphas[chosen],
            "classes_without_training_data": absent,
            "fits_that_reached_the_last_iteration": unfinished,
        }

    def _fit_values(self, rows: Matrix, labels: Matrix, dev_rows: Matrix, metric: Metric) -> dict[str, Any]:
        w, b = ridge_path(rows, labels, self.config.alphas)
        chosen, scores = best_per_target([dev_rows @ w[i] + b[i] for i in range(len(w))], metric)
        targets = np.arange(labels.shape[1])
        self._coefficients, self._intercept = np.ascontiguousarray(w[chosen, :, targets].T), b[chosen, targets]
        self._chosen = [self.config.alphas[i] for i in chosen]
        return {**self._grid(scores), "alpha": self._chosen}

    def fit_nested(self, train: Data, score: Score) -> FitLog:
        """Choose alpha on inner folds of train, then fit it on all of train."""
        if self.task.kind == "continuous":
            raise SerbenchError("linear chooses on a dev part for time-continuous tasks. Leave --dev nested out.")
        alphas, rows = self.config.alphas, self._matrix(train)
        with threads_for(rows.size):
            made = inner_predictions(train, rows, len(alphas), self.task.n_outputs, self._each_alpha)
        chosen, scores = best_of(made, self.task, dev_metric(train, score))
        self._chosen = [alphas[i] for i in chosen]
        return FitLog(facts={**self._grid(scores), "alpha": self._chosen, "nested": True, **self.refit(train)})

    def _each_alpha(self, rows: Matrix, labels: Any, further: Matrix) -> list[Matrix]:
        """What each alpha, fitted on rows, predicts of further ones, (row, output)."""
        scaler, config = Scaler.fit(rows), self.config
        rows, further = (scaler.transform(r, config.clip) for r in (rows, further))
        if self.task.kind == "classification":
            n = self.task.n_outputs
            path, _ = logistic_path(rows, labels, n, config.alphas, config.balanced, config.iterations)
            return [softmax(further @ w + b) for w, b in path]
        coefficients, intercepts = ridge_path(rows, labels, config.alphas)
        return [further @ w + b for w, b in zip(coefficients, intercepts, strict=True)]

    def _grid(self, scores: Sequence[float]) -> dict[str, Any]:
        pairs = zip(self.config.alphas, scores, strict=True)
        return {"grid": [{"alpha": alpha, "dev_score": plain(s)} for alpha, s in pairs]}


def ridge_path(X: Matrix, Y: Matrix, alphas: Sequence[float]) -> tuple[Matrix, Matrix]:
    """Ridge regression for every alpha from one singular value decomposition.

    With X - mean(X) = U S V', the coefficients are V S / (S^2 + alpha) U' (Y - mean(Y)). A tall X is first replaced by
    the R of the QR decomposition of [X, Y], which has the same solutions.

    Parameters
    ----------
    X : (row, dim), finite
    Y : (row, target); rows that are NaN are left out of that target's fit

    Returns
    -------
    coefficients, (alpha, dim, target), and intercepts, (alpha, target)

    Raises
    ------
    SerbenchError
        If a target has no label at all.
    """
    coefficients = np.empty((len(alphas), X.shape[1], Y.shape[1]))
    intercepts = np.empty((len(alphas), Y.shape[1]))
    known = np.isfinite(Y)
    if not known.any(axis=0).all():
        raise SerbenchError("a target has no training label at all. Expected at least one labelled item or frame.")
    for rows in np.unique(known, axis=1).T:
        targets = np.flatnonzero((known == rows[:, None]).all(axis=0))
        x_mean, y_mean = X[rows].mean(axis=0), Y[np.ix_(rows, targets)].mean(axis=0)
        A, B = X[rows] - x_mean, Y[np.ix_(rows, targets)] - y_mean
        if len(A) > A.shape[1] + B.shape[1]:
            R = np.asarray(np.linalg.qr(np.hstack([A, B]), mode="r"))
            A, B = R[:, : X.shape[1]], R[:, X.shape[1] :]
        U, S, Vt = np.linalg.svd(A, full_matrices=False)
        for i, alpha in enumerate(alphas):
            w = Vt.T @ ((S / (S**2 + alpha))[:, None] * (U.T @ B))
            coefficients[i][:, targets] = w
            intercepts[i, targets] = y_mean - x_mean @ w
    return coefficients, intercepts


def logistic_path(
    X: Matrix, classes: npt.NDArray[np.int64], n_classes: int, alphas: Sequence[float], balanced: bool, iterations: int
) -> tuple[list[tuple[Matrix, Matrix]], int]:
    """Multinomial logistic regression for every alpha, each fit started where the one before ended.

    Returns
    -------
    for each alpha the coefficients (dim, class) and intercepts (class,), whose softmax are the class scores; a class
    without training data has the intercept -inf, so its score is 0; and the number of fits cut off by `iterations`
    """
    present = np.unique(classes)
    if len(present) == 1:
        only = np.where(np.arange(n_classes) == present[0], 0.0, -np.inf)
        return [(np.zeros((X.shape[1], n_classes)), only) for _ in alphas], 0
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    fitter = LogisticRegression(max_iter=iterations, warm_start=True, class_weight="balanced" if balanced else None)
    path, unfinished = [], 0
    for alpha in alphas:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitter.set_params(C=1.0 / alpha).fit(X, classes)
        unfinished += int(fitter.n_iter_[0]) >= iterations
        w, b = fitter.coef_.T, fitter.intercept_
        if len(present) == 2:  # scikit-learn keeps the difference of the two logits alone
            w, b = np.hstack([-w / 2, w / 2]), np.concatenate([-b / 2, b / 2])
        coefficients, intercept = np.zeros((X.shape[1], n_classes)), np.full(n_classes, -np.inf)
        coefficients[:, present], intercept[present] = w, b
        path.append((coefficients, intercept))
    return path, unfinished


def softmax(logits: Matrix) -> Matrix:
    """Class scores (row, class) that sum to 1; a logit of -inf gives 0."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))
