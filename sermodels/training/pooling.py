"""From the frames of an utterance to one vector: mean, attentive statistics, and a learned sum of layers.

Frames are (batch, frame, dim) with `lengths` (batch,) beside them; what stands behind an utterance's end is never seen.
Attentive statistics pooling is that of Okabe, Koshinaka and Shinoda (Interspeech 2018, arXiv:1803.10963), Eqs. 1 to 5,
in the form of the MSP-Podcast challenge's baseline: a tanh layer of the input's width, no bias behind it. The sum of
layers is SUPERB's (Yang et al., Interspeech 2021, arXiv:2105.01051, section 3): softmax weights that begin equal.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-5
"""Smallest variance of attentive statistics, as in the challenge's baseline."""


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """(batch, frame) bool: which frames belong to an utterance."""
    return torch.arange(frames, device=lengths.device) < lengths[:, None]


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation weighted by attention: (batch, frame, dim) to (batch, 2 dim), means first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.score = nn.Parameter(torch.randn(dim))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Pool each utterance over its own frames."""
        mask = frame_mask(lengths, frames.shape[1])
        scores = torch.tanh(self.hidden(frames)) @ self.score
        weights = torch.softmax(scores.float().masked_fill(~mask, -torch.inf), dim=1)[:, :, None]
        seen = torch.where(mask[:, :, None], frames.float(), 0.0)
        mean = (weights * seen).sum(1)
        variance = (weights * seen.square()).sum(1) - mean.square()
        return torch.cat([mean, variance.clamp(min=FLOOR).sqrt()], dim=1)


class RowMean(nn.Module):
    """Mean over rows that stand one under another, utterance after utterance: (row, dim) to (batch, dim)."""

    def forward(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """Pool each utterance over its own rows: a product with each row's share, which is as fast as products are."""
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=rows.device), lengths)
        owned = torch.arange(len(lengths), device=rows.device)[:, None] == owner
        return (owned.to(rows.dtype) / lengths[:, None].to(rows.dtype)) @ rows


class LayerSum(nn.Module):
    """A sum of layers whose weights are learned, positive and add up to 1: (..., layers * width) to (..., width)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.scores = nn.Parameter(torch.zeros(layers))

    @property
    def weights(self) -> Tensor:
        """(layers,)."""
        return torch.softmax(self.scores, dim=0)

    def forward(self, frames: Tensor) -> Tensor:
        """Add up the layers, which stand one after another on the last axis; one alone is what it is."""
        if self.layers == 1:
            return frames
        apart = frames.reshape(*frames.shape[:-1], self.layers, -1)
        return torch.einsum("...lw,l->...w", apart, self.weights)


class PoolingHead(nn.Module):
    """From frames to outputs: projection, pooling, hidden layer, outputs.

    Parameters
    ----------
    width : dimensions of a frame
    outputs : width of a prediction
    projection : dimensions of a linear layer on each frame; 0 = none
    activation : "relu" or "none", behind the projection
    pooling : "mean" or "attentive" over the frames; "none" gives outputs for each frame
    hidden : dimensions of a layer behind the pooling (linear, layer norm, ReLU, dropout); 0 = none
    dropout : share of the pooled dimensions, and of the hidden ones, that are dropped in training
    """

    def __init__(
        self, width: int, outputs: int, projection: int, activation: str, pooling: str, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.project = nn.Linear(width, projection) if projection else nn.Identity()
        self.activation = nn.ReLU() if activation == "relu" else nn.Identity()
        dim = projection or width
        self.pool: nn.Module | None = None
        if pooling == "attentive":
            self.pool, dim = AttentiveStatistics(dim), 2 * dim
        elif pooling == "mean":
            self.pool = RowMean()
        layers: list[nn.Module] = [nn.Dropout(dropout)]
        if hidden:
            layers += [nn.Linear(dim, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.out = nn.Sequential(*layers, nn.Linear(hidden or dim, outputs))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frame, width) to (batch, outputs), or (batch, frame, outputs) without pooling.

        Before a mean each frame is by itself, so what lies behind the utterances' ends is left out first.
        """
        if isinstance(self.pool, RowMean):
            frames = frames[frame_mask(lengths, frames.shape[1])]
        frames = self.activation(self.project(frames))
        outputs: Tensor = self.out(frames if self.pool is None else self.pool(frames, lengths))
        return outputs
