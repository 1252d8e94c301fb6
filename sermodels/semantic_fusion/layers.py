"""Layers of Tzirakis et al. 2021 that PyTorch does not have, as they are defined; what is faster is in `fast/`.

- A block of the waveform network: a convolution over time with zero padding ("same", the odd zero at the end), ReLU,
  the maximum of `pool` steps (a rest is left out), dropout. Axis order (batch, time, channel).
- An LSTM whose gates see the cell state (peepholes): Gers and Schmidhuber, "Recurrent nets that time and count", IJCNN
  2000, in the form that TensorFlow's `LSTMCell` gives it (Sak et al., Interspeech 2014), which the release uses: one
  layer, 256 units, cell states clipped at 100, 1 added to the forget gate. With x_t the input, * the product by
  elements and c_0 = h_0 = 0,

    i_t = s(W_i x_t + R_i h_(t-1) + b_i + p_i * c_(t-1))        g_t = tanh(W_g x_t + R_g h_(t-1) + b_g)
    f_t = s(W_f x_t + R_f h_(t-1) + b_f + 1 + p_f * c_(t-1))    c_t = clip(f_t * c_(t-1) + i_t * g_t)
    o_t = s(W_o x_t + R_o h_(t-1) + b_o + p_o * c_t)            h_t = o_t * tanh(c_t)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.speed import computed_by
from .fast.convolutions import can_do_pieces, piece_by_piece
from .fast.lstm import states_in_place

GATES = 4
"""i, f, g, o: the order of the columns, as in `torch.nn.LSTM`, which has no peepholes."""
FORGET_BIAS = 1.0


class ConvPool(nn.Module):
    """One block: (batch, time, channels) -> (batch, time // pool, filters).

    Parameters
    ----------
    channels, filters : of input and output
    kernel, pool : width of the convolution, and number of steps that one maximum is taken of
    dropout : share of the outputs that are zero in training; the others are divided by 1 - share
    chunked : compute piece by piece on a processor; false = plainly
    """

    def __init__(
        self, channels: int, filters: int, kernel: int, pool: int, dropout: float = 0.0, *, chunked: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel, channels, filters))
        self.bias = nn.Parameter(torch.zeros(filters))
        self.pool, self.dropout, self.chunked = pool, dropout, chunked

    @computed_by(piece_by_piece, where=can_do_pieces)
    def forward(self, maps: Tensor) -> Tensor:
        """The block's output; dropout only in training mode."""
        before = (len(self.weight) - 1) // 2
        padded = functional.pad(maps.transpose(1, 2), (before, len(self.weight) - 1 - before))
        convolved = functional.conv1d(padded, self.weight.permute(2, 1, 0), self.bias)
        pooled = functional.relu(functional.max_pool1d(convolved, self.pool)).transpose(1, 2)
        return functional.dropout(pooled, self.dropout, self.training)


class PeepholeLstm(nn.Module):
    """(batch, frame, inputs) -> states (batch, frame, units), from zero states.

    `kernel` is (inputs + units, 4 units), the rows of the input first; `peepholes` (3, units): of i, f and o.
    """

    cell_clip = 100.0

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.inputs, self.units = inputs, units
        self.kernel = nn.Parameter(torch.empty(inputs + units, GATES * units))
        self.bias = nn.Parameter(torch.zeros(GATES * units))
        self.peepholes = nn.Parameter(torch.zeros(3, units))

    def driven(self, inputs: Tensor) -> Tensor:
        """The gates' arguments as far as the inputs decide them, 1 of the forget gate included: (..., 4 units)."""
        raised = functional.pad(self.bias.new_full((self.units,), FORGET_BIAS), (self.units, 2 * self.units))
        return functional.linear(inputs, self.kernel[: self.inputs].t(), self.bias + raised)

    @computed_by(states_in_place)
    def forward(self, inputs: Tensor) -> Tensor:
        """States of all frames."""
        cell = state = inputs.new_zeros(len(inputs), self.units)
        (p_i, p_f, p_o), states = self.peepholes, []
        for driven in self.driven(inputs).unbind(1):
            i, f, g, o = (driven + state @ self.kernel[self.inputs :]).chunk(GATES, dim=1)
            i, f = torch.sigmoid(i + p_i * cell), torch.sigmoid(f + p_f * cell)
            cell = torch.clamp(f * cell + i * torch.tanh(g), -self.cell_clip, self.cell_clip)
            state = torch.sigmoid(o + p_o * cell) * torch.tanh(cell)
            states.append(state)
        return torch.stack(states, dim=1)
