"""Signals of any length through a speech encoder: windows, length-sorted batches, chosen layers, pooling over time.

Long signals are cut into overlapping windows whose frames lie on one grid; of each overlap either window gives the half
that is farther from its own border. The windows of all signals are sorted by length and share batches, so that little
padding is computed; the rules of `encoders/families.py` keep every vector what it would be alone, up to rounding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.stages import track
from ..core.feature_table import Array
from .encoder import SpeechEncoder, no_mask_warnings, unit_variance
from .families import WAVEFORM, Geometry
from .plain import streams

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Recipe:
    """What is made of a signal.

    Attributes
    ----------
    layers : hidden states that are kept, in the order of the output's last axis
    normalise : bring each signal to mean 0 and variance 1 first (encoders of waveforms)
    pooling : "none", or "mean" or "mean+std" (population) over all frames of the signal
    average_seconds : mean over windows of this width, around its multiples; 0 = the frames as they are
    chunk_frames, overlap_frames : longest input and overlap of two windows of a longer signal, in frames
    batch_samples : most samples of a batch, zeros included; a single window may be longer
    fill : windows shorter than this share of a batch's longest begin a new batch: zeros cost as much as speech
    """

    layers: tuple[int, ...]
    normalise: bool
    pooling: str = "none"
    average_seconds: float = 0.0
    chunk_frames: int = 1499
    overlap_frames: int = 100
    batch_samples: int = 320000
    fill: float = 0.85


@dataclass(frozen=True)
class Window:
    """Frames [start, stop) of a signal that are computed, of which [keep, until) are kept."""

    start: int
    stop: int
    keep: int
    until: int


Batch = list[tuple[int, Window]]


def windows(frames: int, length: int, overlap: int) -> list[Window]:
    """Cut `frames` frames into windows of at most `length` that overlap by at least `overlap`; kept parts tile them."""
    if frames <= length:
        return [Window(0, frames, 0, frames)]
    count = -(-(frames - length) // (length - overlap)) + 1
    starts = [min(i * (length - overlap), frames - length) for i in range(count)]
    middles = [(left + length + right) // 2 for left, right in pairwise(starts)]
    return [
        Window(start, start + length, keep, until)
        for start, keep, until in zip(starts, [0, *middles], [*middles, frames], strict=True)
    ]


def encode(
    encoder: SpeechEncoder, signals: Sequence[Array], recipe: Recipe, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[int, Array]]:
    """Features of signals (samples,) at the encoder's rate.

    Yields
    ------
    position of the signal and its features (frames, layers * width) float32, in the order in which they are ready;
    with "mean+std" (1, 2 * layers * width), all means first
    """
    geometry = encoder.geometry
    kept: dict[int, dict[int, Tensor]] = {}
    plan = [windows(geometry.frames(len(s)), recipe.chunk_frames, recipe.overlap_frames) for s in signals]
    pieces = [(i, window) for i, cut in enumerate(plan) for window in cut]
    normalised = _Normalised(signals, recipe.normalise and geometry.kind == WAVEFORM)
    batches = list(_batches(pieces, signals, geometry, recipe))
    loaded = ((batch, [_piece(normalised[i], window, geometry) for i, window in batch]) for batch in batches)

    @torch.inference_mode()
    def states(batch: tuple[Batch, list[Array]]) -> tuple[Batch, list[Tensor]]:
        """The kept frames (frame, layer, width) of each window of a batch."""
        pieces, parts = batch
        hidden = torch.stack(encoder(encoder.inputs(parts).to(device, dtype), layers=recipe.layers), dim=2)
        return pieces, [
            row[w.keep - w.start : w.until - w.start].float() for row, (_, w) in zip(hidden, pieces, strict=True)
        ]

    made = in_streams(states, loaded, len(batches), streams(device))
    for batch, kept_frames in track(made, "batches", len(batches)):
        for (i, window), frames in zip(batch, kept_frames, strict=True):
            kept.setdefault(i, {})[window.keep] = frames
            if len(kept[i]) == len(plan[i]):
                ordered = [part for _, part in sorted(kept.pop(i).items())]
                yield i, reduce(torch.cat(ordered) if len(ordered) > 1 else ordered[0], recipe, geometry)


def in_streams(work: Callable[[Item], Result], items: Iterator[Item], count: int, threads: int) -> Iterator[Result]:
    """Results of `work` in the order of the `count` items, made side by side by so many threads of one core each.

    On clips of a few seconds, threads that share out every single operation wait for each other for longer than they
    compute. So each core takes items of its own, if there are enough of them to keep all busy.
    """
    if threads < 2 or count < threads:
        with no_mask_warnings():
            yield from map(work, items)
        return
    with no_mask_warnings(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for _ in range(count):
                waiting += [pool.submit(work, item) for item in islice(items, threads + 1 - len(waiting))]
                yield waiting.popleft().result()
        finally:
            for later in waiting:
                later.cancel()
            torch.set_num_threads(threads)


def reduce(states: Tensor, recipe: Recipe, geometry: Geometry) -> Array:
    """Pool (frame, layer, width) over time as the recipe says, and put the layers one after another."""
    flat = states.flatten(1)
    if recipe.average_seconds:
        flat = average(flat, geometry, recipe.average_seconds)
    if recipe.pooling == "mean":
        flat = flat.mean(0, keepdim=True)
    elif recipe.pooling == "mean+std":
        flat = torch.cat([flat.mean(0), flat.std(0, correction=0)])[None]
    return np.ascontiguousarray(flat.cpu().numpy())


def average(frames: Tensor, geometry: Geometry, seconds: float) -> Tensor:
    """Mean of the frames (frame, dim) around the times 0, `seconds`, 2 `seconds` ..., as (time, dim).

    A frame belongs to the time that its centre is nearest to; a time without any frame takes the nearest one.
    """
    window = torch.from_numpy(grid(len(frames), geometry, seconds)).to(frames.device)
    count = int(window[-1]) + 1
    sums = frames.new_zeros(count, frames.shape[1]).index_add(0, window, frames)
    members = torch.bincount(window, minlength=count)
    nearest = torch.searchsorted(window, torch.arange(count, device=frames.device)).clamp(max=len(frames) - 1)
    return torch.where(members[:, None] > 0, sums / members.clamp(min=1)[:, None], frames[nearest])


def grid(frames: int, geometry: Geometry, seconds: float) -> npt.NDArray[np.int64]:
    """The time (as a multiple of `seconds`) that the centre of each frame is nearest to, (frame,) ascending."""
    centres = geometry.centre_seconds(0) + np.arange(frames) * (geometry.hop / geometry.sampling_rate)
    return np.asarray(np.floor(centres / seconds + 0.5 + 1e-9), dtype=np.int64)


class _Normalised:
    """Signals, normalised when they are asked for; the last one is kept, since the windows of one come together."""

    def __init__(self, signals: Sequence[Array], normalise: bool) -> None:
        self._signals, self._normalise = signals, normalise
        self._held: dict[int, Array] = {}

    def __getitem__(self, position: int) -> Array:
        if not self._normalise:
            return np.asarray(self._signals[position], dtype=np.float32)
        if position not in self._held:
            self._held = {position: unit_variance(self._signals[position])}
        return self._held[position]


def _piece(signal: Array, window: Window, geometry: Geometry) -> Array:
    """The samples of a window; the last window goes to the signal's end."""
    first = window.start * geometry.hop
    last = window.stop == geometry.frames(len(signal))
    return signal[first:] if last else signal[first : first + geometry.samples(window.stop - window.start)]


def _batches(
    pieces: Sequence[tuple[int, Window]], signals: Sequence[Array], geometry: Geometry, recipe: Recipe
) -> Iterator[Batch]:
    """Pieces by falling length, as many at once as fit; equal lengths alone where the family asks for it."""
    lengths = [len(_piece(signals[i], window, geometry)) for i, window in pieces]
    order = sorted(range(len(pieces)), key=lambda k: -lengths[k])
    batch: list[int] = []
    for k in order:
        longest = max(lengths[batch[0]], geometry.window or 0) if batch else 0
        full = (len(batch) + 1) * longest > recipe.batch_samples
        wasteful = not geometry.window and lengths[k] < recipe.fill * longest
        differs = batch and not geometry.mixes_lengths and lengths[k] != lengths[batch[0]]
        if batch and (full or wasteful or differs):
            yield [pieces[b] for b in batch]
            batch = []
        batch.append(k)
    if batch:
        yield [pieces[b] for b in batch]
