"""Semantic fusion's input: halves and words of frames by turns and word times, and the delay of the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import make_table
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.features.words.vectors import Vectors, random_vector
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.semantic_fusion import delay as delays
from serbench.sermodels.semantic_fusion.frames import Frames, Words, block_batch, turn_mask

HOP, RATE = 0.1, 2000
TRACE = Task(
    "traces",
    "continuous",
    ("arousal", "valence", "liking"),
    frame_seconds=HOP,
    scales=dict.fromkeys(("arousal", "valence", "liking"), (-1.0, 1.0)),
)
NO_WORDS = pd.DataFrame({"word": [], "start": [], "end": []})


# Frames.


def traced(
    counts: list[int],
    seconds: list[float],
    *,
    words: Any = None,
    turns: pd.DataFrame | None = None,
    labels: Any = None,
    seed: int = 0,
) -> Data:
    """Recordings r0, r1 ... of noise, each side p of dialogue d."""
    generator = np.random.default_rng(seed)
    ids = [f"r{i}" for i in range(len(counts))]
    sizes = [(round(s * RATE), 1) for s in seconds]
    arrays = {i: generator.normal(size=size).astype(np.float32) for i, size in zip(ids, sizes, strict=True)}
    table = FeatureTable.from_arrays(arrays, 1 / RATE, RATE)
    rows = [{"id": i, "path": f"{i}.wav", "speaker": f"p{k}", "dialogue": f"d{k}"} for k, i in enumerate(ids)]
    items = make_table(rows)
    return Data(TRACE, items, {"input": table}, labels, words, dict(zip(ids, counts, strict=True)), turns)


def turns_table(rows: list[tuple[str, str, float, float]]) -> pd.DataFrame:
    columns = ("dialogue", "speaker", "dialogue_start", "dialogue_end")
    return make_table(
        [{"id": f"t{k}", "path": "x.wav", **dict(zip(columns, row, strict=True))} for k, row in enumerate(rows)]
    )


def frames_of(data: Data, words: Words | None = None) -> Frames:
    return Frames(data, HOP, words or Words(None, 5), 2**20)


def test_turns_decide_the_half_of_a_frame() -> None:
    rows = [("d0", "p0", 0.26, 0.5), ("d0", "other", 0.6, 0.8), ("d1", "p0", 0.0, 9.0), ("d0", "p0", 0.9, 3.0)]
    data = traced([12, 4], [1.2, 0.4], turns=turns_table(rows))
    frames = frames_of(data)
    own = [3 <= k <= 5 or k >= 9 for k in range(12)]
    assert frames.own(0).tolist() == own
    assert frames.own(1).all(), "no turns are known of this person in this dialogue"
    halves = frames.audio(0, 0, 12).reshape(12, 2, 200)
    signal = data.array(0)[:, 0].reshape(12, 200)
    for k in range(12):
        np.testing.assert_array_equal(halves[k, 0 if own[k] else 1], signal[k])
        assert not halves[k, 1 if own[k] else 0].any()
    assert frames.sides() == {"recordings_with_turns": 1, "recordings_without_turns": 1}


def test_turn_rounding_is_the_released_one() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        start, end = np.sort(generator.uniform(0, 4, size=2).round(3)).tolist()
        expected = np.zeros(50, dtype=bool)
        expected[int(round(start, 1) * 10) : int(round(end, 1) * 10) + 1] = True
        found = turn_mask(pd.DataFrame({"word": [""], "start": [start], "end": [end]}), 50, HOP)
        assert found.tolist() == expected.tolist(), (start, end)


def test_sound_shorter_or_longer_than_its_labels() -> None:
    frames = frames_of(traced([10, 3], [0.65, 0.9]))
    first = frames.audio(0, 0, 10).reshape(10, 2, 200)[:, 0]
    np.testing.assert_array_equal(first.ravel()[:1300], frames.data.array(0)[:, 0])
    assert not first.ravel()[1300:].any()
    assert frames.audio(0, 8, 10).shape == (2, 400)
    second = frames.audio(1, 0, 50)
    assert second.shape == (3, 400), "sound behind the last label is not used"
    np.testing.assert_array_equal(second.reshape(3, 2, 200)[:, 0].ravel(), frames.data.array(1)[:600, 0])


def test_blocks_are_filled_up_with_silence() -> None:
    frames = frames_of(traced([7], [0.7]))
    assert frames.blocks(5) == [(0, 0), (0, 5)]
    sound, words = block_batch(frames, frames.blocks(5), 5)
    assert sound.shape == (2, 5, 400)
    assert words.shape == (2, 5, 5)
    assert not sound[1, 2:].any()
    np.testing.assert_array_equal(sound.reshape(10, 400)[:7].numpy(), frames.audio(0, 0, 7))


def vocabulary() -> Vectors:
    return Vectors(["yes", "no"], np.arange(10, dtype=np.float32).reshape(2, 5) + 1)


def test_words_fill_their_frames_and_items_without_words_are_silent() -> None:
    table = pd.DataFrame({"word": ["yes", "no", "maybe"], "start": [0.1, 0.3, 0.6], "end": [0.3, 0.4, 0.7]})

    def words(item: str) -> pd.DataFrame:
        if item == "r2":
            raise SerbenchError("the transcript of r2 is lost.")
        return table if item == "r0" else NO_WORDS

    frames = frames_of(traced([9, 9, 9], [0.9, 0.9, 0.9], words=words), Words(vocabulary(), 5, "random", 4))
    found, yes, no = frames.vectors(0), *vocabulary().matrix
    silence, unknown = np.zeros(5), random_vector("maybe", 5, 4)
    expected = [silence, yes, yes, no, no, silence, unknown, unknown, silence]
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
    assert not frames.vectors(1).any()
    assert not frames.vectors(2).any()
    assert frames.words.spoken(frames.data, "r1") == (None, "no words")
    assert frames.words.spoken(frames.data, "r2") == (None, "the transcript of r2 is lost.")


# Delay.


def test_labels_move_forward_and_predictions_back() -> None:
    trace = np.arange(8.0)[:, None]
    moved = delays.shifted(trace, 3)
    np.testing.assert_array_equal(moved[:, 0], [3, 4, 5, 6, 7, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(delays.delayed(moved, 3)[:, 0], [3, 3, 3, 3, 4, 5, 6, 7])
    assert delays.shifted(trace, 0) is trace
    assert np.isnan(delays.shifted(trace, 20)).all()
    assert len(delays.shifted(trace, 20)) == 8


@pytest.mark.parametrize("lag", [0, 7, 20])
def test_a_known_delay_is_found(lag: int) -> None:
    generator = np.random.default_rng(lag)
    sides = []
    for count in (6, 3):
        features = [delays.running_mean(generator.normal(size=(300, 2)), 5) for _ in range(count)]
        labels = []
        for x in features:
            followed = np.concatenate([np.zeros((lag, 2)), x])[:300]
            trace = followed @ [[1.0, 0.2], [0.3, -1.0]] + 0.1 * generator.normal(size=(300, 2))
            trace[5:9] = np.nan
            labels.append(trace)
        sides.append((features, labels))
    candidates = list(range(0, 31))
    assert delays.best_delay(delays.delay_scores(*sides, candidates), candidates) == lag


def test_without_anything_to_go_by_there_is_no_delay() -> None:
    flat = ([np.zeros((50, 2))], [np.zeros((50, 1))])
    assert delays.best_delay(delays.delay_scores(flat, flat, [0, 5]), [0, 5]) == 0


def test_loudness_tells_the_person_from_others() -> None:
    data = traced([10], [1.0], turns=turns_table([("d0", "p0", 0.0, 0.4)]))
    level = delays.loudness(frames_of(data), 0)
    signal = data.array(0)[:, 0].reshape(10, 200).astype(np.float64)
    expected = np.log(1e-4 + np.sqrt((signal**2).mean(1)))
    np.testing.assert_allclose(level[:5, 0], expected[:5], rtol=1e-6)
    np.testing.assert_allclose(level[5:, 1], expected[5:], rtol=1e-6)
    np.testing.assert_allclose(level[5:, 0], np.log(1e-4))
