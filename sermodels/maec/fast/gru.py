"""A bidirectional GRU whose candidate state is a sigmoid, run as an ordinary tanh GRU without any error.

With s(a) = (1 + tanh(a / 2)) / 2 and the equations of `maec/layers.py`, the change of variable g = 2 h - 1 gives
g' = z g + (1 - z) tanh(a_c / 2), a_c being the argument of the candidate, with h = (g + 1) / 2 in every argument. That
is a tanh GRU in g with the weights of `folded`, started at g = -1, which fast kernels know. The trained parameters are
the unfolded ones, so the optimiser sees what it would see in Keras. With a tanh candidate nothing is folded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def tanh_gru(gru: Any, rows: Tensor, layout: Any) -> Tensor:
    """`BiGru.forward`, all bags together."""
    units = gru.forwards.recurrent.shape[1]
    if not layout.rows:
        return rows.new_zeros(0, 2 * units)
    weights = [w for d in (gru.forwards, gru.backwards) for w in (folded(d) if gru.sigmoid else plain(d))]
    start = rows.new_full((2, int(layout.batch_sizes[0]), units), -1.0 if gru.sigmoid else 0.0)
    packed = rows.index_select(0, layout.packed)
    states, _ = torch.gru(packed, layout.batch_sizes, start, weights, True, 1, 0.0, gru.training, True)
    states = states.index_select(0, layout.unpacked)
    return (states + 1) / 2 if gru.sigmoid else states


def plain(direction: Any) -> list[Tensor]:
    """The parameters in the order of `torch.gru`."""
    return [direction.kernel, direction.recurrent, direction.bias, direction.recurrent_bias]


def folded(direction: Any) -> list[Tensor]:
    """Parameters of the tanh GRU in g = 2 h - 1."""
    kernel, recurrent, bias, recurrent_bias = plain(direction)
    half = torch.ones_like(bias)
    half[-recurrent.shape[1] :] = 0.5
    recurrent_bias = half * (recurrent_bias + recurrent.sum(1) / 2)
    return [half[:, None] * kernel, half[:, None] / 2 * recurrent, half * bias, recurrent_bias]
