"""The gap between groups: values of each, best and worst by name, an interval over speakers, a permutation test.

A group's value in a trial is the measure over all of its test items; the mean over trials is shown. The interval of a
gap draws speakers and trials as `bootstrap` does, speakers apart for each set of groups that they occur in, so that no
group is lost in a resample. Best and worst are named before, so with three groups or more the gap itself is the
largest of several: whether it is chance is what the test says, not the interval.

The test asks whether groups could be exchanged. Where every speaker is in one group (gender, age), groups are dealt
among speakers; where a speaker has items in several (duration, role), they are dealt within each speaker. The
statistic is the largest gap of any two groups, so the choice of best and worst is part of what chance must match.
Groups of fewer than five speakers are shown and take no part in gap or test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..statistics.bootstrap import draw_counts, summarise
from .measures import Measure

Floats = npt.NDArray[np.float64]
LEAST_SPEAKERS = 5
BLOCK = 256
"""Resamples at a time."""


@dataclass(frozen=True)
class Resamples:
    """How often is drawn and dealt; 0 leaves interval and test out."""

    number: int = 10_000
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class GroupValue:
    """One group: its value, items (per trial) and speakers, and whether it is large enough to be tested."""

    group: str
    value: float
    items: int
    speakers: int
    tested: bool


@dataclass(frozen=True)
class Gap:
    """Best and worst of the groups that are tested: their distance, its interval, the p-value of the test."""

    best: str
    worst: str
    gap: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Sums:
    """Sums of a measure, (trial, speaker, group, column), and which speaker has items in which group."""

    values: Floats
    present: npt.NDArray[np.bool_]
    groups: tuple[str, ...]
    items: tuple[int, ...]

    def kept(self) -> Sums:
        """Groups of enough speakers, and the speakers that they have."""
        enough = self.present.sum(axis=0) >= LEAST_SPEAKERS
        heard = self.present[:, enough].any(axis=1)
        names = tuple(name for name, large in zip(self.groups, enough, strict=True) if large)
        items = tuple(count for count, large in zip(self.items, enough, strict=True) if large)
        return Sums(self.values[:, heard][:, :, enough], self.present[heard][:, enough], names, items)


def sums_of(measure: Measure, predictions: pd.DataFrame, speaker: pd.Series, group: pd.Series) -> Sums:
    """Sum a measure by trial, speaker and group; `speaker` and `group` are by id; rows that lack one don't count."""
    ids = predictions["id"]
    who, where = ids.map(speaker), ids.map(group)
    rows = (who.notna() & where.notna()).to_numpy()
    trials, t = np.unique(predictions["trial"].to_numpy()[rows], return_inverse=True)
    speakers, s = np.unique(who[rows].to_numpy(dtype=str), return_inverse=True)
    groups, g = np.unique(where[rows].to_numpy(dtype=str), return_inverse=True)
    shape = len(trials), len(speakers), len(groups)
    cell = np.ravel_multi_index((t, s, g), shape)
    size = int(np.prod(shape))
    columns = [np.bincount(cell, column, minlength=size) for column in measure.table[rows].T]
    present = np.zeros(shape[1:], dtype=np.bool_)
    present[s, g] = True
    items = pd.Series(ids[rows].to_numpy()).groupby(g).nunique()
    summed: Floats = np.stack(columns, axis=-1).astype(np.float64).reshape(*shape, -1)
    return Sums(summed, present, tuple(map(str, groups)), tuple(int(items[k]) for k in range(len(groups))))


def group_values(sums: Sums, measure: Measure) -> list[GroupValue]:
    """Value of each group; large groups as they are compared with one another, small ones by themselves."""
    summed, speakers = sums.values.sum(axis=1), sums.present.sum(axis=0)
    large = speakers >= LEAST_SPEAKERS
    values = np.full(len(large), np.nan)
    for part in (np.flatnonzero(large), *np.flatnonzero(~large)[:, None]):
        values[part] = _values(summed[:, part], measure)
    return [
        GroupValue(name, float(value), items, int(count), bool(count >= LEAST_SPEAKERS))
        for name, value, items, count in zip(sums.groups, values, sums.items, speakers, strict=True)
    ]


def gap_of(sums: Sums, measure: Measure, how: Resamples) -> Gap | None:
    """The gap of the groups of five speakers or more; None where fewer than two of them have a value."""
    kept = sums.kept()
    values = _values(kept.values.sum(axis=1), measure)
    if np.isfinite(values).sum() < 2:
        return None
    best, worst = _ends(values, measure.best)
    towards = float(np.sign(values[best] - values[worst]))
    blocks = [towards * (v[:, best] - v[:, worst]) for v in _bootstrapped(kept, measure, how)]
    draws = np.concatenate([*blocks, np.zeros(0)])
    shown = summarise(draws, float(abs(values[best] - values[worst])), len(kept.present), len(kept.values), how.level)
    p = _p_value(np.ptp(values[np.isfinite(values)]), (_spread(v) for v in _dealt(kept, measure, how)))
    return Gap(kept.groups[best], kept.groups[worst], shown.estimate, shown.low, shown.high, p)


def _values(summed: Floats, measure: Measure) -> Floats:
    """Sums (..., trial, group, column) as values, the mean over trials: (..., group)."""
    return np.asarray(measure.value(summed).mean(axis=-2))


def _ends(values: Floats, best: int) -> tuple[int, int]:
    """Best and worst group; of measures that should be 0, the one that is farthest from it and the one at the other
    end."""
    if best:
        return int(np.nanargmax(values * best)), int(np.nanargmin(values * best))
    worst = int(np.nanargmax(np.abs(values)))
    return int(np.nanargmax(np.abs(values - values[worst]))), worst


def _spread(values: Floats) -> Floats:
    """Largest distance of two groups in each deal, (deal,); NaN where a group has no value."""
    return np.asarray(values.max(axis=-1) - values.min(axis=-1))


def _p_value(observed: float, deals: Iterator[Floats]) -> float:
    """Share of deals that are as far apart; the observed one counts as a deal."""
    spreads = np.concatenate([*deals, np.zeros(0)])
    defined = spreads[np.isfinite(spreads)]
    extreme = int((defined >= observed - 1e-12).sum())
    return (extreme + 1) / (len(defined) + 1) if len(defined) else float("nan")


def _bootstrapped(sums: Sums, measure: Measure, how: Resamples) -> Iterator[Floats]:
    """Values of the groups in each resample of speakers and trials, (resample, group), block by block."""
    generator = np.random.default_rng([how.seed, 1])
    _, stratum = np.unique(sums.present, axis=0, return_inverse=True)
    strata = [np.flatnonzero(stratum.ravel() == k) for k in range(stratum.max() + 1)]
    flat = sums.values.swapaxes(0, 1).reshape(len(sums.present), -1)
    shape = len(sums.values), *sums.values.shape[2:]
    for size in _blocks(how.number):
        counts = np.zeros((size, len(sums.present)))
        for members in strata:
            drawn = draw_counts(len(members), size, generator)
            counts[:, members] = drawn * (len(members) / drawn.sum(axis=1, keepdims=True))
        trials = draw_counts(shape[0], size, generator)
        values = measure.value((counts @ flat).reshape(size, *shape))
        yield np.einsum("rt,rtg->rg", trials / trials.sum(axis=1, keepdims=True), values)


def _dealt(sums: Sums, measure: Measure, how: Resamples) -> Iterator[Floats]:
    """Values of the groups in each deal, (deal, group), block by block."""
    generator = np.random.default_rng([how.seed, 2])
    alone = (sums.present.sum(axis=1) == 1).all()
    deal: Callable[[Sums, int, np.random.Generator], Floats] = _among_speakers if alone else _within_speakers
    for size in _blocks(how.number):
        yield _values(deal(sums, size, generator), measure)


def _among_speakers(sums: Sums, size: int, generator: np.random.Generator) -> Floats:
    """Groups dealt among speakers, each of whom is in one: (deal, trial, group, column)."""
    own = sums.present.argmax(axis=1)
    dealt = generator.permuted(np.tile(own, (size, 1)), axis=1)
    totals = sums.values.sum(axis=2).swapaxes(0, 1).reshape(len(own), -1)  # (speaker, trial x column)
    parts = [(dealt == k).astype(np.float64) @ totals for k in range(len(sums.groups))]
    shape = size, len(sums.values), sums.values.shape[-1]
    return np.stack([part.reshape(shape) for part in parts], axis=2)


def _within_speakers(sums: Sums, size: int, generator: np.random.Generator) -> Floats:
    """Groups dealt within each speaker, among those that the speaker has: (deal, trial, group, column)."""
    out = np.zeros((size, *(sums.values.shape[i] for i in (0, 2, 3))))
    for speaker, present in enumerate(sums.present):
        has = np.flatnonzero(present)
        dealt = generator.permuted(np.tile(has, (size, 1)), axis=1)
        out[:, :, has] += sums.values[:, speaker][:, dealt].swapaxes(0, 1)
    return out


def _blocks(number: int) -> Iterator[int]:
    for start in range(0, number, BLOCK):
        yield min(BLOCK, number - start)
