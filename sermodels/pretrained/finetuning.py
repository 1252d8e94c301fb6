"""A pre-trained encoder with a head as one network, and training steps in parts that keep a batch-wise loss right.

The CCC of a batch is no mean over its parts, so a step that is worked through in parts goes twice: once without
gradients for the outputs of the whole batch, whose loss gives the gradient of every output; then part by part, with
the same dropout, to carry those gradients into the weights (Gao et al. 2021, arXiv:2101.06983, do so for contrastive
losses). The result is the gradient of the whole batch at the memory of one part. Cross-entropy is a weighted mean, and
goes once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...features.encoders.encoder import Inputs, SpeechEncoder, blocks, no_mask_warnings
from ...features.encoders.families import AST, WAVEFORM
from ...features.encoders.long_signals import average
from ..training.objective import LabelScale, Objective
from ..training.pooling import PoolingHead
from ..training.training import Training


@dataclass(frozen=True)
class StepPart:
    """Some utterances of a step.

    Attributes
    ----------
    rows : which rows of the step's batch they are
    inputs : what the encoder takes
    masked : (utterance, frame) bool, frames that are masked; None = none
    counts : number of label frames of each, for traces
    """

    rows: tuple[int, ...]
    inputs: Inputs
    masked: Tensor | None
    counts: tuple[int, ...]


class FineTuned(LabelScale):
    """Encoder and head.

    Parameters
    ----------
    encoder : pre-trained
    head : on its last hidden state
    outputs : width of a prediction
    frame_seconds : distance of two label frames for traces, None for utterances
    """

    wave_mean: Tensor
    wave_std: Tensor

    def __init__(self, encoder: SpeechEncoder, head: PoolingHead, outputs: int, frame_seconds: float | None) -> None:
        super().__init__(outputs)
        self.encoder, self.head, self._frame_seconds = encoder, head, frame_seconds
        self.register_buffer("wave_mean", torch.zeros(1))
        self.register_buffer("wave_std", torch.ones(1))

    def forward(self, part: StepPart) -> Tensor:
        """(utterance, output), or (piece, label frame, output) for traces."""
        with no_mask_warnings():
            states = self.encoder(part.inputs, part.masked, layers=(self.encoder.geometry.layers,))[0]
        lengths = self.encoder.frames(part.inputs)
        return self.from_frames([row[:n] for row, n in zip(states, lengths, strict=True)], part.counts)

    def from_frames(self, frames: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
        """Outputs from the last hidden states (frame, width) of some utterances, or of pieces with `counts` labels."""
        if self._frame_seconds is not None:
            frames = [self.on_grid(f, count) for f, count in zip(frames, counts, strict=True)]
        lengths = torch.tensor([len(f) for f in frames], device=frames[0].device)
        outputs: Tensor = self.head(nn.utils.rnn.pad_sequence(list(frames), batch_first=True), lengths)
        return outputs

    def on_grid(self, frames: Tensor, count: int) -> Tensor:
        """Mean of the frames around the times of `count` label frames; the last one where the audio ends before."""
        shape = self.encoder.geometry
        assert self._frame_seconds is not None
        hop = shape.hop / shape.sampling_rate
        if self._frame_seconds >= hop:
            rows = average(frames, shape, self._frame_seconds)
            index = torch.arange(count)
        else:
            rows, index = frames, torch.round(torch.arange(count) * (self._frame_seconds / hop)).long()
        return rows[index.clamp(max=len(rows) - 1).to(rows.device)]


def freeze(encoder: SpeechEncoder, front_end: bool, layers: int) -> None:
    """Take the gradients of the front end, and of everything below and in the lowest `layers` blocks."""
    model: Any = encoder.model
    if layers:
        encoder.requires_grad_(False)
        for block in blocks(encoder)[layers:]:
            block.requires_grad_(True)
        for name in ("layer_norm", "layernorm"):  # the norm behind the blocks of the families that have one
            if isinstance(norm := getattr(model, name, None), nn.Module):
                norm.requires_grad_(True)
    if not (front_end or layers):
        return
    if encoder.geometry.kind == WAVEFORM:
        model.feature_extractor._freeze_parameters()
    elif encoder.geometry.kind == AST:
        model.embeddings.requires_grad_(False)
    else:
        model.conv1.requires_grad_(False)
        model.conv2.requires_grad_(False)


def save_memory(encoder: SpeechEncoder) -> None:
    """Compute the activations inside each block again when its gradient is wanted, instead of keeping them."""
    model: Any = encoder.model
    if hasattr(model, "activation_checkpointing_enable"):  # the newer name of the same thing
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def by_depth(encoder: SpeechEncoder) -> list[list[nn.Parameter]]:
    """The trained parameters: what stands before the blocks, each block, and last what stands behind them."""
    stacked = blocks(encoder)
    depth = {id(p): k + 1 for k, block in enumerate(stacked) for p in block.parameters()}
    behind = {
        id(p)
        for name in ("layer_norm", "layernorm")
        if isinstance(norm := getattr(encoder.model, name, None), nn.Module)
        for p in norm.parameters()
    }
    groups: list[list[nn.Parameter]] = [[] for _ in range(len(stacked) + 1)]
    for p in encoder.parameters():
        if p.requires_grad:
            groups[len(stacked) if id(p) in behind else depth.get(id(p), 0)].append(p)
    return groups


def step_losses(
    training: Training[Any], network: FineTuned, parts: Sequence[StepPart], targets: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """Losses of a step; the gradients of all parts but the last are gathered here, the last one's hang on "loss".

    Targets are those of the whole batch, (utterance,) or (utterance, ..., output).
    """
    if len(parts) == 1:
        return objective.losses(_ordered([network(parts[0])], parts, targets), targets)
    if objective.decomposes:
        return _once(training, network, parts, targets, objective)
    return _twice(training, network, parts, targets, objective)


def _once(
    training: Training[Any], network: FineTuned, parts: Sequence[StepPart], targets: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """A loss that is a weighted mean: each part brings its share."""
    whole, value = objective.weight(targets), torch.zeros((), device=targets.device)
    for i, part in enumerate(parts):
        own = targets[list(part.rows)]
        loss = objective.losses(network(part), own)["loss"] * (objective.weight(own) / whole)
        if i < len(parts) - 1:
            training.backward(loss)
            value = value + loss.detach()
    return {"loss": value + loss}


def _twice(
    training: Training[Any], network: FineTuned, parts: Sequence[StepPart], targets: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """Any loss of the whole batch: outputs first, then their gradients part by part."""
    states, outcomes = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(targets.device))
            outcomes.append(network(part).float())
    with torch.enable_grad():
        outputs = [o.requires_grad_() for o in outcomes]
        losses = objective.losses(_ordered(outputs, parts, targets), targets)
        gradients = torch.autograd.grad(losses["loss"], outputs)
    for i, (part, state, gradient) in enumerate(zip(parts, states, gradients, strict=True)):
        _put_back(state, targets.device)
        carrier = (network(part).float() * gradient).sum()
        if i < len(parts) - 1:
            training.backward(carrier)
    values = {name: loss.detach() for name, loss in losses.items()}
    return {**values, "loss": values["loss"] + carrier - carrier.detach()}


def _ordered(outputs: Sequence[Tensor], parts: Sequence[StepPart], targets: Tensor) -> Tensor:
    """The outputs of all parts in the order of the batch, traces padded to the length of the targets."""
    if outputs[0].dim() == 3:
        outputs = [nn.functional.pad(o, (0, 0, 0, targets.shape[1] - o.shape[1])) for o in outputs]
    order = torch.tensor([row for part in parts for row in part.rows])
    return torch.cat(list(outputs))[torch.argsort(order).to(targets.device)]


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _put_back(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
