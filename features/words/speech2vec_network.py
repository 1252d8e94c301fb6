"""The network of Speech2Vec: an encoder of a spoken word, a decoder with attention that writes another one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ...datasets.core.errors import SerbenchError

State = tuple[Tensor, Tensor]


class Network(nn.Module):
    """Encoder (bidirectional LSTM), decoder (LSTM), attention and output layer.

    Parameters
    ----------
    coefficients : numbers of a frame
    dim : length of a word's vector, half of it for each direction
    masked : whether frames behind a word's end are left out
    """

    def __init__(self, coefficients: int, dim: int, masked: bool) -> None:
        super().__init__()
        if dim % 2:
            raise SerbenchError(f"dim={dim} is odd. Expected an even number: each direction of the encoder gives half.")
        self.masked = masked
        self.encoder = nn.LSTM(coefficients, dim // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.LSTM(coefficients, dim, batch_first=True)
        self.joined = nn.Linear(2 * dim, dim)
        self.output = nn.Linear(dim, coefficients)

    def encode(self, sound: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """Words (word, frame, coefficient) -> states (word, frame, dim), and the last hidden and cell (word, dim)."""
        return read_words(self.encoder, sound, lengths, masked=self.masked)

    def forward(self, sound: Tensor, lengths: Tensor, target: Tensor, where: Tensor) -> Tensor:
        """Write target words (pair, frame, coefficient), being told each frame's true predecessor.

        Parameters
        ----------
        sound, lengths : the words that are read (word, frame, coefficient), (word,)
        where : (pair,) which of them each target is written from
        """
        states, (hidden, cell) = self.encode(sound, lengths)
        shifted = nn.functional.pad(target, (0, 0, 1, 0))[:, :-1]
        written, _ = self.decoder(shifted, (hidden[where][None], cell[where][None]))
        read = states[where]
        scores = written @ read.transpose(1, 2)
        if self.masked:
            behind = torch.arange(read.shape[1], device=read.device) >= lengths[where][:, None]
            scores = scores.masked_fill(behind[:, None], -torch.inf)
        context = scores.softmax(-1) @ read
        out: Tensor = self.output(torch.tanh(self.joined(torch.cat([context, written], dim=-1))))
        return out


def read_words(encoder: nn.LSTM, sound: Tensor, lengths: Tensor, *, masked: bool) -> tuple[Tensor, State]:
    """What a bidirectional encoder makes of words (word, frame, coefficient): see `Network.encode`."""
    if not masked:
        states, (hidden, cell) = encoder(sound)
    else:
        packed = pack_padded_sequence(sound, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, (hidden, cell) = encoder(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, total_length=sound.shape[1])
    return states, (torch.cat([*hidden], dim=1), torch.cat([*cell], dim=1))


def squared_error(written: Tensor, target: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Mean squared error over all frames, or over those before each word's end where `lengths` (word,) are given."""
    errors = (written - target).square().mean(-1)
    if lengths is None:
        return errors.mean()
    inside = torch.arange(target.shape[1], device=target.device) < lengths[:, None]
    return (errors * inside).sum() / inside.sum()
