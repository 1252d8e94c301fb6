"""Chunk positions against hand-counted ones, chunks as views, and memory that does not grow with the corpus."""

from __future__ import annotations

import weakref

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.inputs.chunks import Chunking, ChunkSet

TASK = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
PAPER = Chunking.from_seconds(1.0, 11.0, 256 / 16000)


def data_of(lengths: list[int], bands: int = 3) -> Data:
    """Frames numbered from 0 in the first band, the sentence's number in the second."""
    arrays = {}
    for i, length in enumerate(lengths):
        frames = np.zeros((length, bands), dtype=np.float32)
        frames[:, 0], frames[:, 1] = np.arange(length), i
        arrays[f"u{i}"] = frames
    items = pd.DataFrame(index=pd.Index(list(arrays), name="id"))
    return Data(TASK, items, {"input": FeatureTable.from_arrays(arrays, 0.016)})


def test_eleven_chunks_of_62_frames_for_the_paper() -> None:
    assert (PAPER.length, PAPER.count) == (62, 11)


@pytest.mark.parametrize(
    ("seconds", "longest", "hop", "length", "count"),
    [(2.0, 11.0, 0.016, 125, 6), (0.5, 3.2, 0.01, 50, 7), (1.0, 1.0, 0.01, 100, 1), (3.0, 2.0, 0.02, 150, 1)],
)
def test_number_and_length_of_chunks(seconds: float, longest: float, hop: float, length: int, count: int) -> None:
    found = Chunking.from_seconds(seconds, longest, hop)
    assert (found.length, found.count) == (length, count)


def test_a_chunk_shorter_than_a_frame_is_refused() -> None:
    with pytest.raises(SerbenchError, match=r"model\.chunk_seconds"):
        Chunking.from_seconds(0.01, 11.0, 0.016)


# 2.75 s, 5 s and 11 s have 172, 313 and 688 frames: 1 + floor(seconds * 16000 / 256).
BY_HAND = {
    (172, "floor"): [0, 11, 22, 33, 44, 55, 66, 77, 88, 99, 110],
    (172, "round"): [0, 11, 22, 33, 44, 55, 66, 77, 88, 99, 110],
    (313, "floor"): [0, 25, 50, 75, 100, 125, 150, 175, 200, 225, 250],
    (313, "round"): [0, 25, 50, 75, 100, 126, 151, 176, 201, 226, 251],
    (688, "floor"): [0, 62, 124, 186, 248, 310, 372, 434, 496, 558, 620],
    (688, "round"): [0, 63, 125, 188, 250, 313, 376, 438, 501, 563, 626],
}


@pytest.mark.parametrize(("frames", "rule"), BY_HAND)
def test_positions_by_hand(frames: int, rule: str) -> None:
    chunking = Chunking(62, 11, rule)
    assert chunking.starts([frames]).tolist() == [BY_HAND[frames, rule]]


@pytest.mark.parametrize("rule", ["floor", "round"])
@pytest.mark.parametrize("count", [2, 5, 11])
def test_positions_follow_equation_2_and_stay_in_the_sentence(rule: str, count: int) -> None:
    chunking = Chunking(10, count, rule)
    for length in range(10, 300):
        starts = chunking.starts([length])[0]
        exact = np.arange(count) * (length - 10) / (count - 1)
        allowed = np.arange(count) * 1.0 if rule == "floor" else np.full(count, 0.5)
        assert (np.abs(starts - exact) <= allowed + 1e-9).all()
        assert starts[0] == 0
        assert starts[-1] + 10 <= length
        if rule == "round":
            assert starts[-1] + 10 == length


def test_sentences_longer_than_the_longest_keep_their_number_of_chunks() -> None:
    starts = PAPER.starts([2000])[0]
    assert len(starts) == 11
    assert (np.diff(starts) == 193).all(), "gaps appear: (2000 - 62) // 10 = 193 frames a step"


def test_a_single_chunk_comes_from_the_middle() -> None:
    assert Chunking(10, 1).starts([10, 11, 20]).tolist() == [[0], [0], [5]]


@pytest.mark.parametrize(
    ("rule", "rows"),
    [("tile", [0, 1, 2, 0, 1, 2, 0]), ("edge", [0, 1, 2, 2, 2, 2, 2]), ("zero", [0, 1, 2, None, None, None, None])],
)
def test_sentences_shorter_than_a_chunk(rule: str, rows: list[int | None]) -> None:
    frames = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    chunking = Chunking(7, 4, short=rule)
    expected = np.array([[0, 0] if r is None else frames[r] for r in rows], dtype=np.float32)
    np.testing.assert_array_equal(chunking.extend(frames), expected)
    assert chunking.starts([3]).tolist() == [[0, 0, 0, 0]]


def test_long_enough_sentences_are_not_copied() -> None:
    frames = np.zeros((7, 2), dtype=np.float32)
    assert Chunking(7, 4).extend(frames) is frames


def test_chunks_are_views_of_the_cached_array() -> None:
    data = data_of([172, 313])
    chunks = ChunkSet(data, PAPER)
    for position in range(2):
        views = chunks.views(position)
        assert len(views) == 11
        assert all(np.shares_memory(view, data.array(position)) for view in views)
        starts = BY_HAND[len(data.array(position)), "floor"]
        assert [int(view[0, 0]) for view in views] == starts


def test_gather_copies_the_asked_chunks_in_the_asked_order() -> None:
    data = data_of([40, 15, 8, 100])
    chunks = ChunkSet(data, Chunking(10, 3))
    assert len(chunks) == 12
    assert chunks.short == 1
    order = np.random.default_rng(0).permutation(12)[:9]
    batch = chunks.gather(order)
    assert batch.shape == (9, 10, 3)
    assert batch.dtype == np.float32
    for row, number in zip(batch, order, strict=True):
        np.testing.assert_array_equal(row, chunks.views(number // 3)[number % 3])
    assert chunks.sentence_of(order).tolist() == [n // 3 for n in order]
    assert chunks.of_sentences(np.array([2, 0])).tolist() == [6, 7, 8, 0, 1, 2]


class HashableArray(np.ndarray):
    """So that arrays can be held in a weak set."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_a_batch_opens_each_sentence_once() -> None:
    opened: list[str] = []
    data = data_of([50] * 6)
    real = data.features["input"].loaders
    loaders = {i: (lambda i=i: (opened.append(i), real[i]())[1]) for i in real}
    table = FeatureTable(loaders, data.features["input"].shapes, 3, 0.016, 16000)
    chunks = ChunkSet(Data(TASK, data.items, {"input": table}), Chunking(10, 5))
    assert not opened, "positions come from the shapes alone"
    chunks.gather(np.random.default_rng(1).permutation(30))
    assert sorted(opened) == data.ids


@pytest.mark.parametrize("n", [50, 400])
def test_held_arrays_do_not_grow_with_the_corpus(n: int) -> None:
    alive: list[weakref.ref[HashableArray]] = []

    def load(i: int) -> np.ndarray:
        array = np.full((100, 4), float(i), dtype=np.float32).view(HashableArray)
        alive.append(weakref.ref(array))
        return array

    ids = [f"u{i}" for i in range(n)]
    table = FeatureTable(
        {f"u{i}": (lambda i=i: load(i)) for i in range(n)}, dict.fromkeys(ids, (100, 4)), 4, 0.016, 16000
    )
    data = Data(TASK, pd.DataFrame(index=pd.Index(ids, name="id")), {"input": table})
    keep = 10 * 1600  # ten arrays of 1600 bytes
    chunks = ChunkSet(data, Chunking(10, 5), keep_bytes=keep)
    for order in np.array_split(np.random.default_rng(2).permutation(len(chunks)), 10):
        batch = chunks.gather(order)
        np.testing.assert_array_equal(batch[:, 0, 0], order // 5)
    assert sum(ref() is not None for ref in alive) == 10


def test_a_corpus_that_fits_is_read_once() -> None:
    opened: list[int] = []
    arrays = [np.full((30, 2), i, dtype=np.float32) for i in range(8)]
    ids = [f"u{i}" for i in range(8)]
    loaders = {f"u{i}": (lambda i=i: (opened.append(i), arrays[i])[1]) for i in range(8)}
    table = FeatureTable(loaders, dict.fromkeys(ids, (30, 2)), 2, 0.016, 16000)
    data = Data(TASK, pd.DataFrame(index=pd.Index(ids, name="id")), {"input": table})
    chunks = ChunkSet(data, Chunking(10, 4), keep_bytes=2**20)
    for seed in range(3):
        for order in np.array_split(np.random.default_rng(seed).permutation(32), 4):
            chunks.gather(order)
    assert sorted(opened) == list(range(8))


def test_a_large_corpus_is_read_chunk_by_chunk() -> None:
    generator = np.random.default_rng(4)
    arrays = {f"u{i}": generator.normal(size=(n, 3)).astype(np.float32) for i, n in enumerate([40, 55, 7, 90])}
    read: list[tuple[str, int, int]] = []

    class Loaders(dict):  # type: ignore[type-arg]
        def part(self, item: str, first: int, stop: int) -> np.ndarray:
            read.append((item, first, stop))
            return arrays[item][first:stop]

    loaders = Loaders({i: (lambda a=a: a) for i, a in arrays.items()})
    table = FeatureTable(loaders, {i: a.shape for i, a in arrays.items()}, 3, 0.016, 16000)
    data = Data(TASK, pd.DataFrame(index=pd.Index(list(arrays), name="id")), {"input": table})
    held, parts = ChunkSet(data, Chunking(10, 6), keep_bytes=2**20), ChunkSet(data, Chunking(10, 6))
    order = generator.permutation(24)
    for batch in np.array_split(order, 8):
        np.testing.assert_array_equal(parts.gather(batch), held.gather(batch))
    assert all(stop - first == 10 for _, first, stop in read)
    assert {item for item, *_ in read} == {"u0", "u1", "u3"}, "what is shorter than a chunk is read as a whole"
    read.clear()
    np.testing.assert_array_equal(parts.gather(np.arange(6)), held.gather(np.arange(6)))
    assert not read, "all chunks of a sentence are more than the sentence"
    np.testing.assert_array_equal(parts.sentence(3), arrays["u3"])
