"""Batches in order and in time, and moments accumulated block by block, against numpy on all rows together."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
import torch

from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.inputs.batches import Batches, ahead, even_batches, map_batches, micro_batches, shuffled
from serbench.sermodels.inputs.moments import inverse_std, moments


@pytest.mark.parametrize(("n", "size"), [(1, 4), (4, 4), (5, 4), (103, 10), (64, 64)])
def test_batches_hold_every_item_once_and_differ_by_one_at_most(n: int, size: int) -> None:
    batches = even_batches(shuffled(n, torch.Generator().manual_seed(0)), size)
    lengths = [len(b) for b in batches]
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert len(batches) == math.ceil(n / size)
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_no_items_make_no_batches() -> None:
    assert even_batches(np.array([], dtype=np.int64), 4) == []
    assert micro_batches(0, 4) == []
    assert [list(b) for b in micro_batches(5, 2)] == [[0, 1], [2, 3], [4]]


def test_batches_are_made_on_demand_and_mapped_in_order() -> None:
    made: list[int] = []

    def load(items: np.ndarray) -> tuple[torch.Tensor, ...]:
        made.append(len(items))
        return (torch.from_numpy(items),)

    batches = Batches(micro_batches(7, 3), load, torch.device("cpu"))
    assert len(batches) == 3
    assert next(iter(batches))[0].tolist() == [0, 1, 2]
    assert made == [3]
    assert map_batches(batches, lambda batch: batch[0] * 2).tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]


def test_batches_made_ahead_keep_their_order_and_pass_errors_on() -> None:
    assert list(ahead(range(20), 2)) == list(range(20))

    def failing() -> Any:
        yield 1
        raise SerbenchError("broken file")

    seen = []
    with pytest.raises(SerbenchError, match="broken file"):
        seen.extend(ahead(failing(), 2))
    threads = threading.active_count()
    source = ahead(iter(range(10**9)), 2)
    assert next(source) == 0
    source.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads


def test_moments_of_blocks_are_those_of_all_rows_together() -> None:
    generator = np.random.default_rng(0)
    scales = 10.0 ** np.arange(-2, 3)
    blocks = [(generator.normal(1e4, 0.3, size=(n, 5)) * scales).astype(np.float32) for n in (1, 50, 7, 200)]
    found = moments(iter(blocks), 5)
    rows = np.concatenate(blocks).astype(np.float64)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std, rows.std(0), rtol=1e-9)
    np.testing.assert_allclose(inverse_std(found), 1 / rows.std(0), rtol=1e-9)


def test_moments_leave_out_what_is_not_finite_and_constants_become_nothing() -> None:
    rows = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    rows[:, 1] = 0.1
    rows[:, 3] = np.nan
    rows[5, 0], rows[9, 0] = np.nan, np.inf
    found = moments([rows[:13], rows[13:]], 4)
    good = np.delete(rows[:, 0], [5, 9]).astype(np.float64)
    assert found.mean[0] == pytest.approx(good.mean(), abs=1e-12)
    assert found.std[0] == pytest.approx(good.std(), rel=1e-12)
    inverse = inverse_std(found)
    assert inverse[1] == 0
    assert inverse[3] == 0
    assert inverse[2] == pytest.approx(1 / rows[:, 2].astype(np.float64).std())
