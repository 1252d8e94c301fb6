"""A pre-trained speech encoder in torch: feeding it, and its hidden states, batch by batch.

The network is transformers' own, called through its public `forward`; what is added are the rules of
`encoders/families.py` that keep an utterance's vectors the same in every company. Hidden state 0 is what enters the
first transformer block, state k what leaves the k-th; the last one is `last_hidden_state`, after the final
normalisation where the architecture has one.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.feature_table import Array
from .checkpoint import Checkpoint
from .families import AST, WAVEFORM, WHISPER
from .library import transformers

NORMALISE_EPSILON = 1e-7
"""Added to the variance of a waveform that is normalised, as in transformers."""


@dataclass(frozen=True)
class Inputs:
    """A batch on its way into an encoder.

    Attributes
    ----------
    values : (batch, samples) float32, zeros behind an utterance's end, or (batch, ...) log-mel windows
    samples : length of each utterance in samples
    """

    values: Tensor
    samples: tuple[int, ...]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Inputs:
        """The batch on a device, in a number format."""
        return Inputs(self.values.to(device=device, dtype=dtype), self.samples)


class SpeechEncoder(nn.Module):
    """A network of the transformers library with the rules of its family.

    Parameters
    ----------
    source : where it comes from
    model : the encoder part of the network
    """

    def __init__(self, source: Checkpoint, model: nn.Module) -> None:
        super().__init__()
        self.model, self.geometry, self.name = model, source.geometry, source.name
        self.normalises = bool(source.preprocessor.get("do_normalize", False))
        self._preprocessor = _mel_preprocessor(source)
        self._batch = _Batch()
        for k, block in enumerate(blocks(self)):
            block.register_forward_pre_hook(partial(self._enter, k))
        if self.geometry.kind == WAVEFORM:
            front: Any = self.model.feature_extractor
            self.convolve: Callable[[Tensor], Tensor] = front.forward
            front.forward = self._front_end
            positions = getattr(getattr(self.model, "encoder", None), "pos_conv_embed", None)
            for module in positions.modules() if isinstance(positions, nn.Module) else ():
                if isinstance(module, nn.Conv1d):
                    module.register_forward_pre_hook(self._zero_beyond)

    def inputs(self, signals: Sequence[Array], *, normalise: bool = False) -> Inputs:
        """Make a batch of signals (samples,) at the encoder's rate.

        A waveform that is shorter than the front end's field is followed by zeros up to that length, so that it has
        one frame. With `normalise`, each waveform is brought to mean 0 and variance 1 before anything is added.
        """
        lengths = tuple(len(signal) for signal in signals)
        if self.geometry.kind != WAVEFORM:
            return Inputs(self._preprocessor(list(signals)), lengths)
        values = torch.zeros(len(signals), max([*lengths, self.geometry.field]))
        for row, signal in zip(values, signals, strict=True):
            row[: len(signal)] = torch.from_numpy(unit_variance(signal) if normalise else np.asarray(signal))
        return Inputs(values, lengths)

    def forward(
        self, inputs: Inputs, masked: Tensor | None = None, *, layers: Sequence[int] | None = None
    ) -> tuple[Tensor, ...]:
        """Hidden states, each (batch, frames, width); what lies behind an utterance's frames is arbitrary.

        `masked`, (batch, frames) bool, marks the frames that are replaced by the encoder's mask vector in training.
        `layers` are those that are wanted, None = all; blocks above the highest of them are not computed.
        Several threads may call it at once.
        """
        batch, top = self._batch, self.geometry.layers
        chosen = tuple(range(top + 1)) if layers is None else tuple(layers)
        batch.wanted, batch.states = frozenset(chosen), {}
        batch.longest = max(self.frames(inputs))
        try:
            batch.states[top] = self._last(inputs, masked)
        except _ReachedError:
            pass
        finally:
            states, batch.wanted, batch.states = batch.states, frozenset(), {}
        return tuple(self._by_time(states[layer]) for layer in chosen)

    def _last(self, inputs: Inputs, masked: Tensor | None) -> Tensor:
        """The last hidden state."""
        if self.geometry.kind != WAVEFORM:
            return self.model(inputs.values).last_hidden_state  # type: ignore[no-any-return]
        samples = tuple(max(n, self.geometry.field) for n in inputs.samples)
        mixed = len(set(samples)) > 1 or max(samples) < inputs.values.shape[1]
        if mixed and not self.geometry.mixes_lengths:
            raise ValueError(f"{self.geometry.family} takes batches of equal lengths alone")
        extra = {} if masked is None else {"mask_time_indices": masked}
        with self._batch_of(samples if mixed else None, inputs.values.device):
            outputs = self.model(inputs.values, attention_mask=self._attention(inputs.values, samples, mixed), **extra)
        return outputs.last_hidden_state  # type: ignore[no-any-return]

    def _enter(self, layer: int, _module: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Before a block: keep what enters it if it is wanted, and end the pass if nothing higher is."""
        batch = self._batch
        if layer in batch.wanted:
            batch.states[layer] = arguments[0]
            if layer == max(batch.wanted):
                raise _ReachedError

    @property
    def longest(self) -> int:
        """Frames of the longest utterance of the batch that this thread sends through; later ones are of no use."""
        return self._batch.longest

    def frames(self, inputs: Inputs) -> list[int]:
        """Number of frames of each utterance of a batch."""
        return [self.geometry.frames(n) for n in inputs.samples]

    def _attention(self, values: Tensor, samples: tuple[int, ...], mixed: bool) -> Tensor | None:
        if not mixed:
            return None
        lengths = torch.tensor(samples, device=values.device)
        return (torch.arange(values.shape[1], device=values.device) < lengths[:, None]).long()

    @contextmanager
    def _batch_of(self, samples: tuple[int, ...] | None, device: torch.device) -> Iterator[None]:
        """Let the front end and the positional convolutions know how long the utterances of a mixed batch are."""
        self._batch.samples = samples
        if samples is not None:
            frames = torch.tensor([self.geometry.frames(n) for n in samples], device=device)
            self._batch.mask = torch.arange(int(frames.max()), device=device) < frames[:, None]
        try:
            yield
        finally:
            self._batch.samples = self._batch.mask = None

    def _front_end(self, values: Tensor) -> Tensor:
        """The front end, utterance by utterance in a mixed batch: (batch, samples) to (batch, dim, frame)."""
        if self._batch.samples is None:
            return self.convolve(values)
        parts = [self.convolve(row[None, :n]) for row, n in zip(values, self._batch.samples, strict=True)]
        longest = max(part.shape[2] for part in parts)
        return torch.cat([nn.functional.pad(part, (0, longest - part.shape[2])) for part in parts])

    def _zero_beyond(self, _module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Before a positional convolution: zeros behind each utterance's end, (batch, dim, frame)."""
        mask = self._batch.mask
        if mask is None:
            return None
        return (arguments[0] * mask[:, None, : arguments[0].shape[2]], *arguments[1:])

    def _by_time(self, state: Tensor) -> Tensor:
        """Tokens as frames: AST's patches are averaged over frequency; its two summary tokens are left out.

        Whisper's frames behind the longest utterance's are left out too.
        """
        if self.geometry.kind != AST:
            return state[:, : self.longest] if self.geometry.kind == WHISPER else state
        frames = self.geometry.window_frames
        assert frames is not None
        patches = state[:, 2:]  # frequency by frequency, each with all of its time steps
        return patches.reshape(len(state), -1, frames, state.shape[2]).mean(1)


def unit_variance(signal: Array) -> Array:
    """A waveform (samples,) with mean 0 and variance 1, as transformers does it; silence stays zero."""
    return np.asarray((signal - signal.mean()) / np.sqrt(signal.var() + NORMALISE_EPSILON), dtype=np.float32)


@contextmanager
def no_mask_warnings() -> Iterator[None]:
    """Region without the warning that WavLM's own call raises in every block; not for use in several threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
        yield


def blocks(encoder: SpeechEncoder) -> nn.ModuleList:
    """The transformer blocks, lowest first."""
    model: Any = encoder.model
    for holder in (model, getattr(model, "encoder", None)):
        for name in ("layers", "layer"):
            part = getattr(holder, name, None)
            if isinstance(part, nn.ModuleList):
                return part
    raise AssertionError(f"{encoder.geometry.family} has no blocks")


class _Batch(threading.local):
    """What the parts of an encoder have to know of the batch that a thread sends through it.

    Attributes
    ----------
    samples, mask : lengths and frames (batch, frame) of a batch of several lengths, None for equal ones
    wanted, states : the hidden states that are asked for, and those that were seen
    longest : frames of the longest utterance
    """

    samples: tuple[int, ...] | None = None
    mask: Tensor | None = None
    wanted: frozenset[int] = frozenset()
    longest: int = 0

    def __init__(self) -> None:
        self.states: dict[int, Tensor] = {}


class _ReachedError(Exception):
    """The highest hidden state that was asked for is there."""


def _mel_preprocessor(source: Checkpoint) -> Callable[[list[Array]], Tensor]:
    """For Whisper and AST: signals -> log-mel windows, by the preprocessor of transformers."""
    if source.geometry.kind == WAVEFORM:
        return _no_preprocessor
    kind = "WhisperFeatureExtractor" if source.geometry.kind == WHISPER else "ASTFeatureExtractor"
    settings = {k: v for k, v in source.preprocessor.items() if k not in ("feature_extractor_type", "processor_class")}
    processor = getattr(transformers(), kind)(**settings)
    name = "input_features" if source.geometry.kind == WHISPER else "input_values"
    shortest = source.geometry.field if source.geometry.kind == AST else 1
    fed: dict[str, Any] = {"sampling_rate": source.geometry.sampling_rate, "return_tensors": "np"}
    if source.geometry.kind == WHISPER:
        fed["max_length"] = source.geometry.window

    def windows(signals: list[Array]) -> Tensor:
        long_enough = [np.pad(s, (0, max(0, shortest - len(s)))) for s in signals]
        return torch.as_tensor(np.asarray(processor(long_enough, **fed)[name]))

    return windows


def _no_preprocessor(signals: list[Array]) -> Tensor:
    raise AssertionError("waveforms are fed as they are")
