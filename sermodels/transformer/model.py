"""Transformer: a pre-trained speech encoder and a small head, trained together from the waveform.

The head is that of `probe`, on the last hidden state. The encoder has a step size of its own, smaller than the head's
(`encoder_rate`), which may fall from block to block downwards (`layer_decay`); its convolutional front end is frozen.
Steps may be worked through in parts (`parts`) with the gradient of the whole batch, batch-wise CCC included, with
gradient checkpointing and in bfloat16 (`train.amp=bf16`).

Type the encoder with `--set model.encoder=NAME`, as for `probe`. Presets:

- `default`: AdamW, 1e-3 for the head, 3e-5 for the encoder, warm-up over an epoch, then a linear fall; attentive
  statistics, one hidden layer. Free choices.
- `msp-podcast`: the organisers' baseline of the MSP-Podcast challenge, Odyssey 2024, from its code
  (github.com/msplabresearch/MSP-Podcast_Challenge: run_dim.sh, run_cat.sh, train_ft_*.py, net/): WavLM large with a
  frozen front end, waveforms normalised with the mean and the deviation of the training set and cut after 12 s,
  attentive statistics, a hidden layer of 1024 with layer norm and dropout 0.5, AdamW 1e-5 for everything (weight decay
  0.01, its default), 32 utterances per step in 4 parts, 20 epochs; attributes jointly, classes by a weighted
  cross-entropy.
  Differs: the published code takes 1 - CCC over each part of 8, and sums it over attributes; here it is that of all 32,
  and their mean. Labels are z-scores instead of 0 .. 1, which the CCC does not see. Attributes were trained in fp16:
  type train.amp=fp16 or bf16 on a graphics card. The best epoch is chosen by the protocol's dev score; the published
  code for classes looks at the last batch of dev alone. Its pooling takes one frame behind an utterance, ours none.

Utterances longer than `max_seconds` are cut in training; in prediction they go through in overlapping windows (or are
cut as well, with crop=start, as the baseline does it). Recordings with a trace are cut into pieces for training, and
each label frame takes the mean of the encoder's frames around its time. Frames are masked in training as the
checkpoint's configuration says, but never in utterances shorter than a mask.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ...features.encoders.checkpoint import Checkpoint, windowed
from ...features.encoders.encoder import Inputs
from ...features.encoders.families import WAVEFORM
from ...features.encoders.loading import load, skeleton
from ...features.encoders.long_signals import Recipe, encode
from ..core.rows import frame_counts
from ..core.sermodel import Data, FitLog, Predictions, Score
from ..inputs.batches import Batch, Batches, even_batches, shuffled
from ..inputs.waveforms import Waves, cuts, time_masks
from ..pretrained import on_encoder
from ..pretrained.finetuning import FineTuned, StepPart, by_depth, freeze, save_memory, step_losses
from ..pretrained.on_encoder import OnEncoder
from ..training.objective import Objective
from ..training.pooling import PoolingHead
from ..training.training import Training
from .config import MSP_PODCAST, TINY, Config

__all__ = ["PRESETS", "SEARCH", "TINY", "Config", "Model"]

GROUP = "encoders"
PRESETS: dict[str, Config] = {"default": Config(), "msp-podcast": MSP_PODCAST}
_DROPOUTS = (
    "hidden_dropout",
    "attention_dropout",
    "activation_dropout",
    "feat_proj_dropout",
    "dropout",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
)
SEARCH = {"model.encoder_rate": "1e-5..1e-4:log", "train.learning_rate": "1e-4..3e-3:log"}


class Model(OnEncoder[FineTuned]):
    """Encoder and head, trained together."""

    name: ClassVar[str] = "transformer"
    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression", "continuous"})
    config: Config

    def __init__(self, config: Config, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        self.objective = Objective(task, config.class_weights)

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """The waveform at the encoder's rate."""
        rate = source_of(config).geometry.sampling_rate
        return {"input": FeatureRequest("waveform", (("sampling_rate", str(rate)),))}

    def sizes(self, train: Data) -> dict[str, Any]:
        """The encoder's configuration, so that a saved model needs no checkpoint; which one it was stands beside it."""
        source, table = source_of(self.config), train.features["input"]
        if table.sampling_rate != source.geometry.sampling_rate or table.dim != 1:
            raise SerbenchError(
                f"the input has {table.dim} dimension(s) at {table.sampling_rate} Hz. Expected the waveform at "
                f"{source.geometry.sampling_rate} Hz, the rate of {self.config.encoder}: leave feature.sampling_rate "
                "out."
            )
        if self.config.frozen_layers > source.geometry.layers:
            raise SerbenchError(
                f"model.frozen_layers={self.config.frozen_layers}: {self.config.encoder} has {source.geometry.layers} "
                "blocks. Expected no more than these."
            )
        if self.config.mask_time and source.geometry.kind != WAVEFORM:
            raise SerbenchError(
                f"model.mask_time={self.config.mask_time:g}: frames of {source.geometry.family} can't be masked. Type "
                "0."
            )
        settings = json.loads(source.config.to_json_string(use_diff=False))
        return {"encoder": settings, "preprocessor": dict(source.preprocessor), "identity": dict(source.identity)}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> FineTuned:
        """The checkpoint's encoder (an empty one for a saved model) and a head as torch initialises it."""
        c, traces = self.config, self.task.kind == "continuous"
        source = source_of(c, on_encoder.rebuilt(c, sizes) if self._restored else None)
        encoder = skeleton(source, self._changes) if self._restored else load(source, masks=True, changes=self._changes)
        freeze(encoder, c.freeze_front_end, c.frozen_layers)
        if c.gradient_checkpointing:
            save_memory(encoder)
        head = PoolingHead(
            source.geometry.width, self.task.n_outputs, 0, "none", "none" if traces else c.pooling, c.hidden, c.dropout
        )
        return FineTuned(encoder, head, self.task.n_outputs, self.task.frame_seconds if traces else None)

    def calibrate(self, network: FineTuned, train: Data) -> None:
        """Moments of the labels and, if waveforms are normalised by them, of all training samples."""
        self.objective.calibrate(network, train.labels)
        if self.config.normalise == "corpus":
            mean, std = Waves(train, 0).moments()
            network.wave_mean.fill_(mean)
            network.wave_std.fill_(std)

    def optimisers(self, network: FineTuned) -> dict[str, Optimizer]:
        """One for the head, and one for the encoder or, where step sizes fall downwards, for each of its blocks."""
        c = self.config
        head = [p for name, p in network.named_parameters() if not name.startswith("encoder.")]
        groups = by_depth(network.encoder)
        if c.layer_decay == 1:
            groups = [[p for group in groups for p in group]]
        rates = [c.encoder_rate * c.layer_decay ** (len(groups) - 1 - k) for k in range(len(groups))]
        optimisers = {"head": self.optimiser(head)}
        for k, (group, rate) in enumerate(zip(groups, rates, strict=True)):
            if group:
                optimisers[f"encoder.{k}"] = self.optimiser(group, rate=rate)
        return optimisers

    def begin(self, training: Training[FineTuned]) -> None:
        """Lay out the training items and their targets."""
        network = training.network
        self.objective.begin(training.train.labels)
        self._train = self._waves(network, training.train)
        longest = self._longest(network, self.config.max_seconds)
        pieces = self._longest(network, self.config.piece_seconds)
        self._cuts = cuts(training.train, self._train, longest, pieces)
        labels = training.train.labels
        if self.task.kind == "continuous":
            labels = [
                self.objective.targets(network, labels[c.position][c.first : c.first + c.count]) for c in self._cuts
            ]
            self._targets = nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=torch.nan)
        else:
            self._targets = self.objective.targets(network, labels)
            most = longest * network.encoder.geometry.sampling_rate
            frames = [training.train.features["input"].frames(item) for item in training.train.ids]
            training.log.facts["cut_in_training"] = sum(n > most for n in frames)

    def batches(self, training: Training[FineTuned]) -> Batches:
        """Every utterance, or piece of a recording, once, in random order."""
        place = training.generator("crop") if self.config.crop == "random" else None
        masks = training.generator("masks")
        indices = even_batches(shuffled(len(self._cuts), training.generator("order")), self.train_config.batch_size)
        network = training.network

        def load_batch(items: npt.NDArray[np.int64]) -> Batch:
            signals = [self._train.cut(self._cuts[i], place) for i in items]
            inputs = network.encoder.inputs(signals)
            frames = network.encoder.frames(inputs)
            masked = time_masks(frames, self._mask_share, self._mask_length, masks)
            return inputs.values, torch.tensor(inputs.samples), masked, torch.from_numpy(items)

        return Batches(indices, load_batch, training.device)

    def losses(self, training: Training[FineTuned], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch, in as many parts as the configuration says."""
        values, samples, masked, items = batch
        network, chosen = training.network, items.cpu()
        counts = [self._cuts[int(i)].count for i in chosen]
        targets = self._targets[chosen].to(values.device)
        if self.task.kind == "continuous":
            targets = targets[:, : max(counts)]
        lengths = [int(n) for n in samples]
        groups = self._groups(network, lengths)
        parts = [_part(rows, values, lengths, masked, counts, network) for rows in groups]
        return step_losses(training, network, parts, targets, self.objective)

    def infer(self, network: FineTuned, data: Data) -> Predictions:
        """Predictions from windows of each utterance or recording, as many at once as the device likes."""
        traces = self.task.kind == "continuous"
        counts = frame_counts(data) if traces else [0] * len(data)
        predictions: list[Any] = [None] * len(data)
        waves = self._waves(network, data)
        for i, frames in encode(network.encoder, waves, self._recipe(network), self.device, torch.float32):
            outputs = network.from_frames([torch.from_numpy(frames).to(self.device)], [counts[i]])[0]
            predictions[i] = self.objective.predictions(network, outputs.float().cpu().double().numpy())
        return predictions if traces else np.stack(predictions)

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train; the record says what the encoder is and how much of it was trained."""
        log = super().fit(train, dev, score, unlabelled)
        assert self.network is not None
        frozen = sum(p.numel() for p in self.network.parameters() if not p.requires_grad)
        log.facts |= {"encoder": on_encoder.described(self.config), "frozen_parameters": frozen}
        return log

    @property
    def _changes(self) -> dict[str, float]:
        """Settings of the encoder that are not its own."""
        c = self.config
        dropouts = {} if c.encoder_dropout is None else dict.fromkeys(_DROPOUTS, c.encoder_dropout)
        drops = {} if c.layerdrop is None else dict.fromkeys(("layerdrop", "encoder_layerdrop"), c.layerdrop)
        return {**dropouts, **drops}

    @property
    def _mask_share(self) -> float:
        if self.config.mask_time is not None:
            return self.config.mask_time
        own = self._sizes["encoder"]
        return float(own.get("mask_time_prob") or 0.0) if own.get("apply_spec_augment") else 0.0

    @property
    def _mask_length(self) -> int:
        return int(self._sizes["encoder"].get("mask_time_length") or 10)

    def _waves(self, network: FineTuned, data: Data) -> Waves:
        """The waveforms of a data set, normalised as the configuration says."""
        rule = self.config.normalise
        if rule == "checkpoint":
            rule = "utterance" if network.encoder.normalises else "none"
        moments = (float(network.wave_mean), float(network.wave_std)) if rule == "corpus" else None
        utterance = rule == "utterance" and network.encoder.geometry.kind == WAVEFORM
        most = round(self._longest(network, self.config.max_seconds) * network.encoder.geometry.sampling_rate)
        start = self.config.crop == "start" and self.task.kind != "continuous"
        return Waves(data, self.train_config.keep_mb * 2**20, utterance, moments, most if start else None)

    def _longest(self, network: FineTuned, seconds: float) -> float:
        """What goes through the encoder at once [s]: so much, and no more than its window."""
        shape = network.encoder.geometry
        return seconds if shape.window is None else min(seconds, shape.window / shape.sampling_rate)

    def _groups(self, network: FineTuned, lengths: list[int]) -> list[list[int]]:
        """The rows of each part: by length, or of equal lengths alone where the family wants that."""
        order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
        if network.encoder.geometry.mixes_lengths:
            return [list(map(int, rows)) for rows in np.array_split(order, min(self.config.parts, len(order)))]
        return [[row for row in order if lengths[row] == n] for n in dict.fromkeys(lengths[row] for row in order)]

    def _recipe(self, network: FineTuned) -> Recipe:
        """Windows of the length that was trained."""
        c, shape = self.config, network.encoder.geometry
        seconds = c.piece_seconds if self.task.kind == "continuous" else c.max_seconds
        longest = shape.window_frames or shape.frames(round(seconds * shape.sampling_rate))
        overlap = min(round(c.overlap_seconds * shape.sampling_rate / shape.hop), longest // 2)
        at_once = round(self.micro_batch(cpu=2, card=16) * seconds * shape.sampling_rate)
        return Recipe((shape.layers,), False, chunk_frames=longest, overlap_frames=overlap, batch_samples=at_once)


def source_of(config: Config, source: Checkpoint | None = None) -> Checkpoint:
    """The checkpoint that a configuration names, or one that is rebuilt, with the window that it asks for."""
    return windowed(source or on_encoder.source_of(config), config.window_seconds, "model.window_seconds")


def _part(
    rows: list[int], values: Tensor, lengths: list[int], masked: Tensor, counts: list[int], network: FineTuned
) -> StepPart:
    """Some rows of a batch, without the zeros that only longer ones need."""
    shape, own = network.encoder.geometry, tuple(lengths[row] for row in rows)
    chosen = values[rows]
    frames = max(shape.frames(n) for n in own)
    if shape.kind == WAVEFORM:
        chosen = chosen[:, : max(*own, shape.field, 0)]
    inside = masked[rows, :frames]
    return StepPart(
        tuple(rows), Inputs(chosen, own), inside if bool(inside.any()) else None, tuple(counts[row] for row in rows)
    )
