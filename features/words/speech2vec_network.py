"""The networks of Speech2Vec and their loss: a word's encoder, and what its vector is to tell of the words around.

- `Writer`, the decoder of Chung and Glass with Luong's attention: it writes the sound of a neighbour.
- `Chooser`, an addition: skip-gram with sampled neighbours (Mikolov et al., arXiv:1310.4546) on sound. A second encoder
  reads the neighbours, and the centre's vector is to choose its own among those of its batch.

Words that are said near to each other share a speaker and a room, and telling these would do for a low loss. So what is
written may be standardised by speaker, and neighbours are chosen among words of their own speaker alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ...datasets.core.errors import SerbenchError
from .speech2vec_settings import Config
from .spoken_words import Cuts, by_speaker

State = tuple[Tensor, Tensor]
Indices = npt.NDArray[np.int64]


class Network(nn.Module):
    """Encoder (bidirectional LSTM), and writers or a chooser.

    Parameters
    ----------
    coefficients : numbers of a frame
    dim : length of a word's vector, half of it for each direction
    masked : whether frames behind a word's end are left out
    writers : how many decoders there are; 0 = a chooser instead
    written : numbers of a frame that is written; None = `coefficients`
    """

    def __init__(self, coefficients: int, dim: int, masked: bool, writers: int = 1, written: int | None = None) -> None:
        super().__init__()
        if dim % 2:
            raise SerbenchError(f"dim={dim} is odd. Expected an even number: each direction of the encoder gives half.")
        self.masked = masked
        self.encoder = nn.LSTM(coefficients, dim // 2, batch_first=True, bidirectional=True)
        self.writers = nn.ModuleList(Writer(written or coefficients, dim) for _ in range(writers))
        self.chooser = None if writers else nn.LSTM(coefficients, dim // 2, batch_first=True, bidirectional=True)

    def encode(self, sound: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """Words (word, frame, coefficient) -> states (word, frame, dim), and the last hidden and cell (word, dim)."""
        return read_words(self.encoder, sound, lengths, masked=self.masked)

    def forward(
        self,
        sound: Tensor,
        lengths: Tensor,
        target: Tensor,
        where: Tensor,
        which: Tensor | None = None,
        told: Tensor | None = None,
    ) -> Tensor:
        """Write target words (pair, frame, coefficient), being told true predecessors of frames.

        Parameters
        ----------
        sound, lengths : the words that are read (word, frame, coefficient), (word,)
        where : (pair,) which of them each target is written from
        which : (pair,) the writer of each target; None = the first
        told : (pair, frame) bool, of which frames the predecessor is told, zeros being put for the others; None = all
        """
        states, (hidden, cell) = self.encode(sound, lengths)
        before = nn.functional.pad(target, (0, 0, 1, 0))[:, :-1]
        if told is not None:
            before = before * told[:, :, None]
        behind = None
        if self.masked:
            behind = torch.arange(states.shape[1], device=states.device) >= lengths[:, None]
        out = torch.empty_like(target)
        for k, writer in enumerate(self.writers):
            rows = torch.arange(len(where), device=where.device) if which is None else (which == k).nonzero()[:, 0]
            read = where[rows]
            unread = None if behind is None else behind[read]
            out = out.index_copy(0, rows, writer(before[rows], (hidden[read], cell[read]), states[read], unread))
            if which is None:
                break
        return out

    def choose(self, sound: Tensor, lengths: Tensor, neighbours: Tensor, counts: Tensor) -> Tensor:
        """Products (centre, neighbour) of the vectors of centres and, by the second encoder, of other words."""
        assert self.chooser is not None
        vectors = read_words(self.chooser, neighbours, counts, masked=self.masked)[1][0]
        return self.encode(sound, lengths)[1][0] @ vectors.T


class Writer(nn.Module):
    """A decoder (LSTM) that begins with the encoder's last state, attention, and output layer."""

    def __init__(self, coefficients: int, dim: int) -> None:
        super().__init__()
        self.decoder = nn.LSTM(coefficients, dim, batch_first=True)
        self.joined = nn.Linear(2 * dim, dim)
        self.output = nn.Linear(dim, coefficients)

    def forward(self, before: Tensor, state: State, read: Tensor, unread: Tensor | None) -> Tensor:
        """Frames (pair, frame, coefficient), told `before`, from `read` (pair, frame, dim) but where it is `unread`."""
        written, _ = self.decoder(before, (state[0][None], state[1][None]))
        scores = written @ read.transpose(1, 2)
        if unread is not None:
            scores = scores.masked_fill(unread[:, None], -torch.inf)
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


@dataclass(frozen=True)
class Material:
    """What is read and written, on a device.

    Attributes
    ----------
    sound, lengths : words as they are read, (word, frame, coefficient), (word,)
    target, ends : the same words as they are written, likewise
    speakers : number of each word's speaker, (word,)
    """

    sound: Tensor
    lengths: Tensor
    target: Tensor
    ends: Tensor
    speakers: Tensor

    @classmethod
    def of(cls, cuts: Cuts, config: Config, device: torch.device) -> Material:
        """The material of cuts."""
        sound, lengths = torch.from_numpy(cuts.mfcc).to(device), torch.from_numpy(cuts.lengths).to(device)
        target, ends = written_of(cuts, config)
        numbers = np.unique(np.array(cuts.speakers or [""] * len(cuts), dtype=str), return_inverse=True)[1]
        return cls(sound, lengths, *(torch.from_numpy(array).to(device) for array in (target, ends, numbers)))

    def batches(self, pairs: Indices, size: int) -> tuple[Tensor, ...]:
        """Pairs (pair, 2) in batches on the device."""
        return torch.split(torch.from_numpy(pairs).to(self.sound.device), size)


def written_of(cuts: Cuts, config: Config) -> tuple[npt.NDArray[np.float32], Indices]:
    """What is written of each word, (word, frame, coefficient), and its length (word,).

    What a frozen encoder has heard is one frame, standardised by speaker.
    """
    if config.target == "mfcc":
        return cuts.mfcc, cuts.lengths
    if config.target == "speaker":
        return by_speaker(cuts), cuts.lengths
    if cuts.heard is None:
        raise SerbenchError(
            f"target={config.target!r}: nobody has heard these words. Expected mfcc, speaker, or the folder of a "
            "Whisper checkpoint in 'serbench words speech2vec'."
        )
    single = replace(cuts, mfcc=cuts.heard[:, None], lengths=np.ones(len(cuts), np.int64))
    return by_speaker(single), single.lengths


def pair_loss(network: Network, material: Material, pairs: Tensor, config: Config, drawn: torch.Generator) -> Tensor:
    """Mean loss of pairs (pair, 2) of a word and its neighbour."""
    if config.objective == "choose":
        return _choice(network, material, pairs)
    return _written(network, material, pairs, config, drawn)


def _written(network: Network, material: Material, pairs: Tensor, config: Config, drawn: torch.Generator) -> Tensor:
    """Squared error of the neighbours' frames."""
    centres, where = torch.unique(pairs[:, 0], return_inverse=True)
    target = material.target[pairs[:, 1]]
    which = told = None
    if config.decoders == "distance":
        distance = pairs[:, 1] - pairs[:, 0]  # -window .. window, 0 with `own` alone
        which = distance + config.window - (0 if config.own else (distance > 0).long())
    if config.forcing < 1:
        told = (torch.rand(target.shape[:2], generator=drawn) < config.forcing).to(target.device)
    written = network(material.sound[centres], material.lengths[centres], target, where, which, told)
    return squared_error(written, target, material.ends[pairs[:, 1]] if network.masked else None)


def _choice(network: Network, material: Material, pairs: Tensor) -> Tensor:
    """Cross-entropy of each neighbour among the batch's neighbours that the same speaker says."""
    (centres, where), (others, chosen) = (torch.unique(column, return_inverse=True) for column in pairs.T)
    sound, lengths, speakers = material.sound, material.lengths, material.speakers
    products = network.choose(sound[centres], lengths[centres], sound[others], lengths[others])[where]
    rivals = speakers[others][None, :] == speakers[pairs[:, 1]][:, None]
    return nn.functional.cross_entropy(products.masked_fill(~rivals, -torch.inf), chosen)
