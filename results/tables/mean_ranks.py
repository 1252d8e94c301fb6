"""Several models on several datasets: Friedman's test, post-hoc tests and the critical-difference diagram.

After Demsar (2006, JMLR 7:1): within each dataset (block) the models are ranked, 1 for the best, ties sharing their
mean rank; Friedman's test asks whether the mean ranks differ at all, with the F statistic of Iman and Davenport
(1980), which is less conservative; then pairs are compared by Nemenyi's test (studentised range, one critical
difference for all pairs) or by Holm's procedure over the z-tests of mean ranks. The blocks must be independent: one
task per corpus.

Friedman's statistic and the studentised range are scipy's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ..display.numbers import p_value
from ..display.table import Table, on_screen
from ..statistics.significance import holm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.console import Group

ALPHA = 0.05
PostHoc = Literal["nemenyi", "holm"]


@dataclass(frozen=True)
class MeanRanks:
    """Mean ranks of models over datasets, and what can be said about them.

    Attributes
    ----------
    scores : (dataset, model) table that was ranked
    ranks : mean rank per model, the best first
    chi2, p : Friedman's statistic with its p-value (chi-squared, models - 1 degrees of freedom)
    f, p_f : Iman and Davenport's F, and its p-value
    critical : Nemenyi's critical difference of two mean ranks at `alpha`
    pairs : columns a, b, difference (mean rank of a - b), p_nemenyi, p_holm; one row per pair of models
    """

    scores: pd.DataFrame
    ranks: pd.Series[float]
    chi2: float
    p: float
    f: float
    p_f: float
    critical: float
    alpha: float
    pairs: pd.DataFrame


def rank_models(scores: pd.DataFrame, alpha: float = ALPHA, *, higher_is_better: bool = True) -> MeanRanks:
    """Rank models over datasets.

    Parameters
    ----------
    scores : one row per dataset (block), one column per model

    Raises
    ------
    SerbenchError
        For fewer than two datasets or three models, or a score that is missing.
    """
    n, k = scores.shape
    if n < 2 or k < 3:
        raise SerbenchError(
            f"ranks over {n} datasets of {k} models can't be tested. Expected two datasets and three models or more; "
            "two models on one dataset are a matter for 'serbench compare'."
        )
    if not np.isfinite(scores.to_numpy(dtype=np.float64)).all():
        where = [f"{m} on {d}" for d, row in scores.iterrows() for m, v in row.items() if not np.isfinite(v)]
        raise SerbenchError(f"there is no score of {', '.join(where)}. Run what is missing, or leave the model out.")
    ranks = scores.rank(axis=1, ascending=not higher_is_better).mean().sort_values(kind="stable")
    chi2, p = _friedman(scores)
    f, p_f = _iman_davenport(chi2, n, k)
    return MeanRanks(scores, ranks, chi2, p, f, p_f, critical_difference(k, n, alpha), alpha, _pairs(ranks, n))


def across_datasets(
    frame: pd.DataFrame, models: Sequence[str] | None = None, tasks: Sequence[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Mean scores of models on datasets, from a leaderboard.

    Parameters
    ----------
    frame : a leaderboard of several datasets
    models : MODEL or MODEL:PRESET; default: all but the chance rows
    tasks : tasks that count; default: all

    Returns
    -------
    (dataset, model) table without gaps, one task per dataset (the one that most of the models have, by its mean over
    targets); and what was left out, with the reason
    """
    rows = frame[frame["task"].isin(tasks)] if tasks else frame
    rows = rows[rows.groupby(["dataset", "task"])["target"].transform("first").eq(rows["target"])]
    labels = rows["model"].where(rows["preset"].eq("default"), rows["model"] + ":" + rows["preset"])
    rows = rows.assign(label=labels)
    wanted = list(models or dict.fromkeys(rows.loc[~rows["chance"].astype(bool), "label"]))
    if lost := [name for name in wanted if name not in set(labels)]:
        raise unknown("model of these results", lost[0], set(labels))
    rows = rows[rows["label"].isin(wanted)]
    if rows.duplicated(["dataset", "task", "label"]).any():
        twice = rows[rows.duplicated(["dataset", "task", "label"], keep=False)].iloc[0]
        raise SerbenchError(
            f"there are several runs of {twice['label']} on {twice['dataset']}, {twice['task']}, with different "
            "settings. Keep one of them in this results folder, or give the other a preset."
        )
    kept, left_out = {}, []
    for dataset, group in rows.groupby("dataset", sort=False):
        held = {str(name): part["label"].nunique() for name, part in group.groupby("task", sort=False)}
        task = max(held, key=lambda name: held[name])
        left_out += [f"{dataset}, {name}: one task per dataset counts, {task} does" for name in held if name != task]
        scores = group[group["task"].eq(task)].set_index("label")["mean"]
        if missing := [name for name in wanted if not np.isfinite(scores.get(name, np.nan))]:
            left_out.append(f"{dataset}, {task}: no score of {', '.join(missing)}")
        else:
            kept[f"{dataset}, {task}"] = scores.reindex(wanted)
    return pd.DataFrame(kept, index=pd.Index(wanted)).T, left_out


def critical_difference(models: int, datasets: int, alpha: float = ALPHA) -> float:
    """Nemenyi's critical difference of two mean ranks: q_alpha sqrt(k (k + 1) / (6 N)), q over sqrt(2)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, models, np.inf)) / math.sqrt(2)
    return q * math.sqrt(models * (models + 1) / (6 * datasets))


def cliques(mean_ranks: MeanRanks, post_hoc: PostHoc = "nemenyi") -> list[tuple[str, ...]]:
    """Largest groups of neighbouring models, in rank order, of which no pair differs significantly."""
    names = [str(name) for name in mean_ranks.ranks.index]
    p = {frozenset((row["a"], row["b"])): row[f"p_{post_hoc}"] for row in mean_ranks.pairs.to_dict("records")}
    groups: list[tuple[str, ...]] = []
    for first in range(len(names)):
        last = first
        while last + 1 < len(names) and all(
            p[frozenset((names[i], names[last + 1]))] >= mean_ranks.alpha for i in range(first, last + 1)
        ):
            last += 1
        group = tuple(names[first : last + 1])
        if len(group) > 1 and not any(set(group) <= set(other) for other in groups):
            groups.append(group)
    return groups


def render_mean_ranks(mean_ranks: MeanRanks) -> Group:
    """Mean ranks, the tests and the pairs for the screen."""
    n = len(mean_ranks.scores)
    ranks = [{"model": str(name), "mean rank": f"{rank:.2f}"} for name, rank in mean_ranks.ranks.items()]
    pairs = [
        {
            "a": str(row["a"]),
            "b": str(row["b"]),
            "rank difference": f"{row['difference']:+.2f}",
            "Nemenyi": p_value(row["p_nemenyi"]),
            "Holm": p_value(row["p_holm"]),
        }
        for row in mean_ranks.pairs.to_dict("records")
    ]
    note = (
        f"Friedman: chi2 = {mean_ranks.chi2:.3f}, p = {p_value(mean_ranks.p)}; Iman and Davenport: "
        f"F = {mean_ranks.f:.3f}, p = {p_value(mean_ranks.p_f)}. "
        f"Critical difference of two mean ranks (Nemenyi, {mean_ranks.alpha:g}): "
        f"{mean_ranks.critical:.3f}. Datasets: {'; '.join(map(str, mean_ranks.scores.index))}."
    )
    tables = [Table(f"Mean ranks over {n} datasets (1 = best)", ranks), Table("Pairs of models: p-values", pairs)]
    return on_screen(tables, [note])


def critical_difference_diagram(mean_ranks: MeanRanks, post_hoc: PostHoc = "nemenyi") -> Figure:
    """The diagram of Demsar (2006, figure 1): models on an axis of mean ranks, bars join those that don't differ."""
    from matplotlib.figure import Figure

    names, groups = list(mean_ranks.ranks.index), cliques(mean_ranks, post_hoc)
    half = math.ceil(len(names) / 2)
    height = 1.1 + 0.16 * len(groups) + 0.28 * half
    figure = Figure(figsize=(7.0, height), layout="constrained")
    axes = figure.subplots()
    lowest, highest = 1.0, float(len(names))
    margin = 0.35 * (highest - lowest)
    axes.set(xlim=(highest + margin, lowest - margin), ylim=(-1.6 - 0.55 * len(groups) - half, 1.7), yticks=[])
    axes.set_frame_on(False)
    axes.xaxis.set_visible(False)
    axes.hlines(0, lowest, highest, color="black", lw=1)
    for rank in range(1, len(names) + 1):
        axes.vlines(rank, 0, 0.18, color="black", lw=1)
        axes.text(rank, 0.28, str(rank), ha="center", va="bottom", fontsize=9)
    _draw_names(axes, mean_ranks, half, -1.0 - 0.55 * len(groups), margin)
    for i, group in enumerate(groups):
        ends = mean_ranks.ranks[group[0]], mean_ranks.ranks[group[-1]]
        pad = 0.012 * (highest - lowest)
        axes.hlines(-0.4 - 0.55 * i, ends[0] - pad, ends[1] + pad, color="black", lw=4)
    if post_hoc == "nemenyi":
        axes.hlines(1.2, lowest, min(lowest + mean_ranks.critical, highest + margin), color="black", lw=1)
        axes.text(lowest, 1.35, f"critical difference {mean_ranks.critical:.2f}", ha="right", va="bottom", fontsize=8)
    axes.set_title(_caption(mean_ranks, post_hoc), fontsize=9)
    return figure


def _draw_names(axes: Axes, mean_ranks: MeanRanks, half: int, top: float, margin: float) -> None:
    """Names with their mean ranks: the better half on the right, the others on the left, elbows to the axis."""
    k = len(mean_ranks.ranks)
    for i, (name, rank) in enumerate(mean_ranks.ranks.items()):
        right = i < half
        level = top - (i if right else k - 1 - i)
        edge = 1 - 0.25 * margin if right else k + 0.25 * margin
        axes.plot([rank, rank, edge], [0, level, level], color="0.35", lw=0.8)
        text = f"{name}  {rank:.2f}"
        axes.text(edge, level, f" {text} ", ha="left" if right else "right", va="center", fontsize=9)


def _caption(mean_ranks: MeanRanks, post_hoc: PostHoc) -> str:
    test = "Nemenyi" if post_hoc == "nemenyi" else "z-tests of mean ranks, Holm-adjusted"
    return (
        f"Mean rank over {len(mean_ranks.scores)} datasets (1 = best). Friedman test p = {mean_ranks.p_f:.3g}\n"
        f"bars join models that do not differ ({test}, {mean_ranks.alpha:g})"
    )


def _friedman(scores: pd.DataFrame) -> tuple[float, float]:
    from scipy.stats import friedmanchisquare

    columns = [scores[name].to_numpy(dtype=np.float64) for name in scores]
    if (scores.nunique(axis=1) == 1).all():
        return 0.0, 1.0
    test = friedmanchisquare(*columns)
    return float(test.statistic), float(test.pvalue)


def _iman_davenport(chi2: float, n: int, k: int) -> tuple[float, float]:
    from scipy.special import fdtrc

    left = n * (k - 1) - chi2
    if left <= 1e-9 * n:
        return math.inf, 0.0
    f = (n - 1) * chi2 / left
    return f, float(fdtrc(k - 1, (k - 1) * (n - 1), f))


def _pairs(ranks: pd.Series[float], n: int) -> pd.DataFrame:
    from scipy.special import ndtr
    from scipy.stats import studentized_range

    k = len(ranks)
    error = math.sqrt(k * (k + 1) / (6 * n))
    names = list(ranks.index)
    rows = [(a, b, float(ranks[a] - ranks[b])) for i, a in enumerate(names) for b in names[i + 1 :]]
    frame = pd.DataFrame(rows, columns=["a", "b", "difference"])
    z = frame["difference"].abs().to_numpy() / error
    frame["p_nemenyi"] = studentized_range.sf(z * math.sqrt(2), k, np.inf)
    frame["p_holm"] = holm(2 * ndtr(-z))
    return frame
