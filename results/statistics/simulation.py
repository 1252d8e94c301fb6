"""Simulated predictions with known truth: how often each test finds a difference, when there is one and when not.

A corpus of speakers with utterances, gold values g, and two models that are trained `trials` times. Model m predicts,
in trial t for utterance i of speaker c,

    (1 + trial z[m, t]) g[i] + common x[i] + speaker y[m, c] + utterance u[m, i] + fresh e[m, t, i]

with independent standard normal z, x, y, u, e: a trial's luck, what is hard for both models, what a model gets wrong
of a speaker and of an utterance whatever its seed, and what differs from seed to seed. Under the null both models
have the same settings, so neither is better on other speakers and seeds. The alternative adds `worse` to the second
model's fresh error.

`rejections` draws many such experiments and gives each to the same tests as real runs. Seeds are arguments: the same
call gives the same table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ...datasets.core.stages import track
from ...datasets.schema.task import Task
from ..scores.scoring import score_predictions
from .bootstrap import bootstrap_difference
from .dependence import components, corrected_t, crossed_t
from .randomisation import approximate_randomisation
from .significance import paired_over_trials, paired_t, wilcoxon

TASK = Task("simulated", "regression", ("value",), scales={"value": (-3.0, 3.0)})


@dataclass(frozen=True)
class World:
    """What the simulated experiments share; standard deviations are in units of the gold labels' own.

    Attributes
    ----------
    trial, common, speaker, utterance, fresh : see the module's formula
    worse : added to `fresh` of the second model
    speakers, utterances, trials, subsets : numbers of each (utterances in all, dealt to speakers and subsets)
    deterministic : all trials are the same training, without luck
    """

    trial: float = 0.0
    common: float = 0.4
    speaker: float = 0.0
    utterance: float = 0.0
    fresh: float = 0.5
    worse: float = 0.0
    speakers: int = 20
    utterances: int = 1000
    trials: int = 5
    subsets: int = 4
    deterministic: bool = False

    @property
    def train_ratio(self) -> float:
        """Test items of one score over training items, for a training set three times the test set."""
        return 1 / (3 * self.subsets)


@dataclass(frozen=True)
class Experiment:
    """Two models' predictions, and the speaker of each utterance."""

    a: pd.DataFrame
    b: pd.DataFrame
    speakers: pd.Series[str]
    world: World


def draw(world: World, seed: int | Sequence[int]) -> Experiment:
    """One experiment of a world."""
    rng = np.random.default_rng(seed)
    n = world.utterances
    speaker = np.arange(n) % world.speakers
    ids = np.arange(n)
    gold, common = rng.normal(size=n), world.common * rng.normal(size=n)
    subset = rng.permutation(np.arange(n) % world.subsets)
    sides = []
    for fresh in (world.fresh, world.fresh + world.worse):
        fixed = common + world.speaker * rng.normal(size=world.speakers)[speaker] + world.utterance * rng.normal(size=n)
        slope = 1 + world.trial * rng.normal(size=(world.trials, 1))
        noise = fresh * rng.normal(size=(world.trials, n))
        if world.deterministic:
            slope, noise = np.ones_like(slope), np.repeat(noise[:1], world.trials, axis=0)
        sides.append(
            pd.DataFrame(
                {
                    "trial": np.repeat(np.arange(world.trials), n),
                    "id": np.tile(ids, world.trials),
                    "subset": np.tile(subset, world.trials),
                    "gold_value": np.tile(gold, world.trials),
                    "pred_value": (slope * gold + fixed + noise).ravel(),
                }
            )
        )
    return Experiment(sides[0], sides[1], pd.Series([f"s{c:03}" for c in speaker], index=ids), world)


def scores(experiment: Experiment) -> pd.DataFrame:
    """The paired CCC scores, one row per (trial, subset): columns trial, subset, a, b."""
    tables = [score_predictions(side, TASK) for side in (experiment.a, experiment.b)]
    values = [table[table["metric"].eq("CCC")].set_index(["trial", "subset"])["value"] for table in tables]
    return pd.concat(values, axis=1, keys=["a", "b"]).reset_index()


@dataclass(frozen=True)
class Draws:
    """Resamples and swaps of each simulated experiment; few are enough, since many experiments are averaged."""

    resamples: int = 400
    swaps: int = 400


Test = Callable[[Experiment, pd.DataFrame, Draws], float]


def _boot(by_speaker: bool) -> Test:
    def p(e: Experiment, _: pd.DataFrame, draws: Draws) -> float:
        clusters = e.speakers if by_speaker else None
        return bootstrap_difference(e.a, e.b, TASK, clusters=clusters, resamples=draws.resamples)["value"].p

    return p


def _random(by_speaker: bool) -> Test:
    def p(e: Experiment, _: pd.DataFrame, draws: Draws) -> float:
        clusters = e.speakers if by_speaker else None
        return approximate_randomisation(e.a, e.b, TASK, clusters=clusters, swaps=draws.swaps)["value"]

    return p


TESTS: dict[str, Test] = {
    "paired t-test, 20 scores": lambda _, s, __: paired_t(s["a"], s["b"]).p,
    "Wilcoxon, 20 scores": lambda _, s, __: wilcoxon(s["a"], s["b"]),
    "t-test over trial means": lambda _, s, __: paired_over_trials(s["a"], s["b"], s["trial"]).p,
    "Nadeau-Bengio": lambda e, s, _: corrected_t(s["a"], s["b"], e.world.train_ratio).p,
    "crossed t-test": lambda _, s, __: crossed_t(s["a"], s["b"], s["trial"], s["subset"]).p,
    "randomisation, utterances": _random(False),
    "randomisation, speakers": _random(True),
    "bootstrap, utterances": _boot(False),
    "bootstrap, speakers": _boot(True),
}
"""Name in tables -> test of an experiment and its paired scores."""

ALIKE = World(common=0.4, fresh=0.5)
TYPICAL = World(common=0.4, fresh=0.3, utterance=0.4, speaker=0.2, trial=0.06)
WORLDS: dict[str, World] = {
    "everything independent": ALIKE,
    "lucky seeds": replace(ALIKE, trial=0.06),
    "shared utterances": replace(TYPICAL, trial=0.0, speaker=0.0),
    "shared utterances and speakers": replace(TYPICAL, trial=0.0),
    "all of them (typical)": TYPICAL,
    "all of them, 6 speakers": replace(TYPICAL, speakers=6),
    "all of them, no luck (deterministic)": replace(TYPICAL, deterministic=True),
}
"""The null worlds of the study: what makes the 4 x 5 scores dependent, one cause after the other."""
WORSE = (0.06, 0.1, 0.15, 0.2)
"""Steps of `World.worse` in the power study of the typical world."""


def rejections(
    world: World,
    experiments: int,
    *,
    seed: int = 0,
    tests: Mapping[str, Test] | None = None,
    draws: Draws | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """How often each test finds a difference in a world.

    Returns
    -------
    indexed by test: rate (of the experiments in which the test is defined; NaN where it never is), low, high (Wilson's
    95 % interval), experiments; `attrs` holds the mean difference of the scores and the mean components of their
    differences as standard deviations (trial, subset, rest)
    """
    chosen, sizes = tests or TESTS, draws or Draws()
    rejected, defined = np.zeros(len(chosen), dtype=np.int64), np.zeros(len(chosen), dtype=np.int64)
    facts = []
    for k in track(range(experiments), "experiments"):
        experiment = draw(world, [seed, k])
        paired = scores(experiment)
        p = np.array([test(experiment, paired, sizes) for test in chosen.values()])
        rejected += p < alpha
        defined += ~np.isnan(p)
        parts = components(paired["a"], paired["b"], paired["trial"], paired["subset"])
        facts.append((parts.mean, parts.trial, parts.subset, parts.rest))
    rows = [(*_rate(int(n), int(of)), experiments) for n, of in zip(rejected, defined, strict=True)]
    frame = pd.DataFrame(rows, index=list(chosen), columns=["rate", "low", "high", "experiments"])
    mean = np.mean(facts, axis=0)
    trial, subset, rest = map(float, np.sqrt(mean[1:]))
    frame.attrs = {"difference": float(mean[0]), "trial": trial, "subset": subset, "rest": rest}
    return frame


def _rate(count: int, n: int) -> tuple[float, float, float]:
    return (count / n, *wilson(count, n)) if n else (math.nan, math.nan, math.nan)


def wilson(count: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) interval of a share."""
    from scipy.special import ndtri

    z = float(ndtri((1 + level) / 2))
    centre, share = 1 + z * z / n, count / n
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (share + z * z / (2 * n) - half) / centre, (share + z * z / (2 * n) + half) / centre
