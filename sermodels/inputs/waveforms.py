"""Waveforms for training: normalised, cut to a length, in pieces where they carry a trace; masks over frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...features.encoders.encoder import unit_variance
from ..core.rows import frame_counts
from ..core.sermodel import Data
from .chunks import MAX_OPEN
from .moments import moments

Array = npt.NDArray[np.float32]
MIN_MASKS = 2
"""Fewest masks of an utterance that is long enough for them, as in the library's default."""


@dataclass(frozen=True)
class Cut:
    """A training item.

    Attributes
    ----------
    position : of the utterance or recording in its data set
    start, length : its samples; of a longer utterance any `length` samples may be taken
    spare : samples that are left out when the first `length` are taken
    first, count : its label frames, for traces
    """

    position: int
    start: int
    length: int
    spare: int = 0
    first: int = 0
    count: int = 0


class Waves(Sequence[Array]):
    """The signals (samples,) of a data set.

    Parameters
    ----------
    data : utterances or recordings with the feature `waveform`
    keep_bytes : most bytes of signals held between batches
    utterance : bring each signal to mean 0 and variance 1
    moments : mean and standard deviation to normalise all signals with, None = don't
    most : samples after which every signal is cut, None = never
    """

    def __init__(
        self,
        data: Data,
        keep_bytes: int,
        utterance: bool = False,
        moments: tuple[float, float] | None = None,
        most: int | None = None,
    ) -> None:
        self._data, self._limit, self._held = data, keep_bytes, 0
        self._utterance, self._moments, self._most = utterance, moments, most
        self._kept: OrderedDict[int, Array] = OrderedDict()

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, position: int) -> Array:  # type: ignore[override]
        """One whole signal."""
        if position in self._kept:
            self._kept.move_to_end(position)
            return self._kept[position]
        signal = self._made(np.asarray(self._data.array(position)[: self._most, 0], dtype=np.float32))
        self._kept[position] = signal
        self._held += signal.nbytes
        while len(self._kept) > 1 and (self._held > self._limit or len(self._kept) > MAX_OPEN):
            self._held -= self._kept.popitem(last=False)[1].nbytes
        return signal

    def samples(self, position: int) -> int:
        """Length of a signal, without reading it."""
        whole = self._data.features["input"].frames(self._data.ids[position])
        return whole if self._most is None else min(whole, self._most)

    def cut(self, cut: Cut, generator: torch.Generator | None) -> Array:
        """The samples of a training item, at a random place of a longer utterance or at its beginning."""
        start = cut.start
        if generator is not None and cut.spare:
            start += int(torch.randint(cut.spare + 1, (1,), generator=generator))
        return self[cut.position][start : start + cut.length]

    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of all samples together; a deviation of 0 counts as 1."""
        samples = moments((self._data.array(i) for i in range(len(self))), 1)
        return float(samples.mean[0]), float(samples.std[0]) or 1.0

    def _made(self, signal: Array) -> Array:
        if self._moments is not None:
            mean, std = self._moments
            return np.asarray((signal - mean) / std, dtype=np.float32)
        return unit_variance(signal) if self._utterance else signal


def cuts(data: Data, waves: Waves, max_seconds: float, piece_seconds: float) -> list[Cut]:
    """The training items: utterances of at most `max_seconds`, or all pieces of recordings that hold a label."""
    rate = data.features["input"].sampling_rate
    if data.task.kind != "continuous":
        most = round(max_seconds * rate)
        whole = [waves.samples(i) for i in range(len(data))]
        return [Cut(i, 0, min(n, most), max(0, n - most)) for i, n in enumerate(whole)]
    assert data.task.frame_seconds is not None
    step, pieces = data.task.frame_seconds, []
    frames = max(1, round(piece_seconds / step))
    for i, count in enumerate(frame_counts(data)):
        for first in range(0, count, frames):
            stop = min(first + frames, count)
            start, end = round(first * step * rate), round(stop * step * rate)
            labels = data.labels[i][first:stop]
            if start < waves.samples(i) and not np.isnan(labels).all():
                pieces.append(Cut(i, start, end - start, 0, first, stop - first))
    return pieces


def time_masks(frames: Sequence[int], share: float, length: int, generator: torch.Generator) -> Tensor:
    """Masks over frames, (utterance, frame) bool: spans of `length` frames that cover at most `share` of an utterance.

    SpecAugment's masks along time in the form of wav2vec 2.0: share * frames / length spans, rounded up or down at
    random, at least two, at different places; none in an utterance that is shorter than a span.
    """
    out = torch.zeros(len(frames), max(frames), dtype=torch.bool)
    for row, n in zip(out, frames, strict=True):
        places = n - length + 1
        if share <= 0 or places < 1:
            continue
        wanted = int(share * n / length + float(torch.rand(1, generator=generator)))
        count = min(max(wanted, MIN_MASKS), places, max(1, n // length))
        for start in torch.randperm(places, generator=generator)[:count].tolist():
            row[start : start + length] = True
    return out
