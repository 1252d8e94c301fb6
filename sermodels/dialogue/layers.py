"""Layers over padded frames: recurrent units that stop where a turn ends, and additive attention.

Frames are (turn, frame, dim) with `lengths` (turn,) beside them; what stands behind a turn's end is never seen, and a
turn of no frames becomes a vector of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..training.pooling import frame_mask


def recurrent(gru: nn.GRU, frames: Tensor, lengths: Tensor) -> Tensor:
    """All states of a GRU, (turn, frame, width), or (turn, frame, 2 width) of both directions; zeros behind the end."""
    rows = nn.utils.rnn.pack_padded_sequence(frames, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(gru(rows)[0], batch_first=True, total_length=frames.shape[1])
    return states * frame_mask(lengths, frames.shape[1])[:, :, None]


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where the mask is true, 0 elsewhere; all 0 where it is true nowhere."""
    low = torch.finfo(torch.float32).min
    weights = torch.softmax(torch.where(mask, scores.float(), low), dim=-1)
    return torch.where(mask, weights, 0.0).to(scores.dtype)


class AdditiveAttention(nn.Module):
    """Weights softmax(u' tanh(W h + W_1 c_1 + W_2 c_2 ... + b)) over the frames h of a turn, and their weighted sum.

    Parameters
    ----------
    width : dimensions of a frame, and of each context vector c
    attention : dimensions inside
    contexts : number of context vectors
    """

    def __init__(self, width: int, attention: int, contexts: int = 0) -> None:
        super().__init__()
        self.frame = nn.Linear(width, attention)
        self.context = nn.ModuleList(nn.Linear(width, attention, bias=False) for _ in range(contexts))
        self.score = nn.Linear(attention, 1, bias=False)

    def forward(self, frames: Tensor, lengths: Tensor, contexts: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
        """(turn, width) and the weights (turn, frame), from frames (turn, frame, width) and contexts (turn, width)."""
        inside = self.frame(frames)
        for layer, context in zip(self.context, contexts, strict=True):
            inside = inside + layer(context)[:, None]
        scores = self.score(torch.tanh(inside)).squeeze(2)
        weights = masked_softmax(scores, frame_mask(lengths, frames.shape[1]))
        return (weights[:, :, None] * frames).sum(1), weights


class TurnEncoder(nn.Module):
    """A GRU and attention over its states: (turn, frame, dim) to (turn, width)."""

    def __init__(self, dim: int, width: int, attention: int) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, width, batch_first=True)
        self.attention = AdditiveAttention(width, attention)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """One vector per turn."""
        pooled: Tensor = self.attention(recurrent(self.gru, frames, lengths), lengths)[0]
        return pooled
