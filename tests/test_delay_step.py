"""The delays that semantic fusion tries lie as far apart as its configuration says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from serbench.datasets.core.config import override
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import make_table
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.semantic_fusion.model import PRESETS, TINY, Config, Model

RATE = 2000
TRACE = Task("traces", "continuous", ("arousal",), frame_seconds=0.1, scales={"arousal": (-1.0, 1.0)})


def noise(count: int = 2, frames: int = 30) -> Data:
    """Recordings of noise with a random walk as their trace."""
    generator = np.random.default_rng(3)
    ids = [f"r{i}" for i in range(count)]
    arrays = {i: generator.normal(size=(frames * RATE // 10, 1)).astype(np.float32) for i in ids}
    items = make_table([{"id": i, "path": f"{i}.wav", "speaker": i, "dialogue": i} for i in ids])
    labels: Any = [np.tanh(generator.normal(size=(frames, 1)).cumsum(0) / 5) for _ in ids]
    table = FeatureTable.from_arrays(arrays, 1 / RATE, RATE)
    return Data(TRACE, items, {"input": table}, labels, None, dict.fromkeys(ids, frames))


def tried(config: Config) -> list[str]:
    data = noise()
    log = Model(config, TRACE, Resources(seed=1)).fit(data, data, lambda gold, predicted: 0.0)
    return list(log.facts["delay_scores"])


@pytest.mark.parametrize(("step", "expected"), [(0.5, ["0.0", "0.5", "1.0"]), (0.3, ["0.0", "0.3", "0.6", "0.9"])])
def test_the_step_decides_which_delays_are_tried(step: float, expected: list[str]) -> None:
    once = replace(TINY.train, epochs=1)
    assert tried(replace(TINY, train=once, delay_step_seconds=step, max_delay_seconds=1.0)) == expected


def test_every_preset_tries_steps_of_two_frames() -> None:
    assert {config.delay_step_seconds for config in PRESETS.values()} == {0.2}


def test_a_step_of_nothing_is_refused() -> None:
    with pytest.raises(SerbenchError, match="delay_step_seconds"):
        override(TINY, {"delay_step_seconds": "0"}, "model.")
