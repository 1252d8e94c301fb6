"""Simulated predictions with known truth: how often each test finds a difference, when there is one and when not.

A corpus of speakers with utterances, gold values g, and two models that are trained `trials` times. Model m predicts, in
trial t for utterance i of speaker c,

    (1 + trial z[m, t]) g[i] + common x[i] + speaker y[m, c] + utterance u[m, i] + fresh e[m, t, i]

with independent standard normal z, x, y, u, e: a trial's luck, what is hard for both models, what a model gets wrong of a
speaker and of an utterance whatever its seed, and what differs from seed to seed. Under the null both models have the same
settings, so neither is better on other speakers and seeds. The alternative adds `worse` to the second model's fresh error.

`study` draws many such experiments and gives each to the same tests as real runs. Seeds are arguments; the same call
gives the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..datasets._task import Task
from .bootstrap import bootstrap_difference
from .dependence import corrected_t, crossed_t
from .randomisation import approximate_randomisation
from .scoring import score_predictions
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
    deterministic : all trials are the same training
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
    ids = np.array([f"u{i:05}" for i in range(n)])
    gold, common = rng.normal(size=n), world.common * rng.normal(size=n)
    subset = rng.permutation(np.arange(n) % world.subsets)
    sides = []
    for fresh in (world.fresh, world.fresh + world.worse):
        fixed = common + world.speaker * rng.normal(size=world.speakers)[speaker] + world.utterance * rng.normal(size=n)
        slope = 1 + world.trial * rng.normal(size=(world.trials, 1))
        noise = fresh * rng.normal(size=(world.trials, n))
        if world.deterministic:
            slope, noise = np.repeat(slope[:1], world.trials, axis=0), np.repeat(noise[:1], world.trials, axis=0)
        sides.append(pd.DataFrame({
            "trial": np.repeat(np.arange(world.trials), n), "id": np.tile(ids, world.trials),
            "subset": np.tile(subset, world.trials), "gold_value": np.tile(gold, world.trials),
            "pred_value": (slope * gold + fixed + noise).ravel(),
        }))  # fmt: skip
    return Experiment(*sides, pd.Series([f"s{c:03}" for c in speaker], index=ids), world)


def scores(experiment: Experiment) -> pd.DataFrame:
    """The paired CCC scores, one row per (trial, subset): columns trial, subset, a, b."""
    found = [score_predictions(side, TASK) for side in (experiment.a, experiment.b)]
    found = [frame[frame["metric"].eq("CCC")].set_index(["trial", "subset"])["value"] for frame in found]
    return pd.concat(found, axis=1, keys=["a", "b"]).reset_index()
