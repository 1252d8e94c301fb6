"""A bidirectional GRU whose candidate state is a sigmoid, run as an ordinary tanh GRU without any error.

The authors' release asks Keras for a GRU with `activation="sigmoid"`. With the gates z, r and the candidate c

    z = s(W_z x + b_z + U_z h + c_z)         r likewise
    c = s(W_c x + b_c + r (U_c h + c_c))     h' = z h + (1 - z) c            s(a) = (1 + tanh(a / 2)) / 2

the change of variable g = 2 h - 1 gives g' = z g + (1 - z) tanh(a_c / 2), with h = (g + 1) / 2 in every argument. That
is a tanh GRU in g with the weights of `folded`, started at g = -1, which fast kernels know. The trained parameters are
the unfolded ones, so the optimiser sees what it would see in Keras. With a tanh candidate nothing is folded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .bag_rows import Layout

GATES = 3
"""Reset, update, candidate: the order of the parameters' rows, as in `torch.nn.GRU`."""


class Direction(nn.Module):
    """Parameters of one direction: kernel (3 units, inputs), recurrent (3 units, units), two biases (3 units,)."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(GATES * units, inputs))
        self.recurrent = nn.Parameter(torch.empty(GATES * units, units))
        self.bias = nn.Parameter(torch.zeros(GATES * units))
        self.recurrent_bias = nn.Parameter(torch.zeros(GATES * units))

    def plain(self) -> list[Tensor]:
        """The parameters in the order of `torch.gru`."""
        return [self.kernel, self.recurrent, self.bias, self.recurrent_bias]

    def folded(self) -> list[Tensor]:
        """Parameters of the tanh GRU in g = 2 h - 1."""
        units = self.recurrent.shape[1]
        half = torch.ones_like(self.bias)
        half[-units:] = 0.5
        recurrent_bias = half * (self.recurrent_bias + self.recurrent.sum(1) / 2)
        return [half[:, None] * self.kernel, half[:, None] / 2 * self.recurrent, half * self.bias, recurrent_bias]


class BiGru(nn.Module):
    """Key = BiGRU(H) (Eq. 4): both directions over the instances of each bag, concatenated."""

    def __init__(self, inputs: int, width: int, candidate: str) -> None:
        super().__init__()
        self.candidate = candidate
        self.forwards, self.backwards = Direction(inputs, width // 2), Direction(inputs, width // 2)

    def forward(self, rows: Tensor, layout: Layout) -> Tensor:
        """Instances of all bags, bag after bag, (row, inputs) -> states (row, width); the state before a bag is 0."""
        if not layout.rows:
            return rows.new_zeros(0, 2 * self.forwards.recurrent.shape[1])
        sigmoid = self.candidate == "sigmoid"
        weights = [w for d in (self.forwards, self.backwards) for w in (d.folded() if sigmoid else d.plain())]
        present = int(layout.batch_sizes[0])
        start = rows.new_full((2, present, self.forwards.recurrent.shape[1]), -1.0 if sigmoid else 0.0)
        packed = rows.index_select(0, layout.packed)
        states, _ = torch.gru(packed, layout.batch_sizes, start, weights, True, 1, 0.0, self.training, True)
        states = states.index_select(0, layout.unpacked)
        return (states + 1) / 2 if sigmoid else states
