"""Semantic fusion: the waveform and the words of each frame, fused by attention, followed by an LSTM.

P. Tzirakis, A. Nguyen, S. Zafeiriou and B. W. Schuller, "Speech emotion recognition using semantic information",
ICASSP 2021 (arXiv:2103.02993), and the authors' release (glam-imperial/semantic_speech_emotion_recognition, BSD-3).
Network: `semantic_fusion/network.py`; sound of two speakers, words: `semantic_fusion/frames.py`; delay:
`semantic_fusion/delay.py`.

- `fixed`, the default: frames without a label count nowhere, targets weigh the same, labels are moved by a delay that
  is chosen on training and dev data, sound is divided by the training data's root mean square, words without a vector
  have one of the others' length in a random direction.
- `released`: Adam 5e-4 (beta2 0.99), 5 sequences of 100 frames, targets weigh 1, 1/2, 1/3, the zeros behind a
  recording's end count as labels of 0, no delay, sound as it is, words without a vector have uniform numbers. 100
  epochs are ours: the release runs until stopped.
- `paper` (section 4): Adam 1e-4, 25 sequences of 300 frames, gradients clipped at 5, Att(Att(a, l), v), no delay,
  sound as it is; sizes are the release's, and what neither says is as in `fixed`.
- `small`: `fixed` at 8 kHz with narrow layers, for CPUs.

Traces: recordings are cut into sequences, each from a zero state; the last one is filled up with silence. The loss is
1 - CCC over all frames of a batch. tanh reaches from the lowest to the highest value of each label's scale. The network
of `released` reads whatever stands between -1 and 1, so on SEWA labels are taken as they are. Differs from the release:
sequences are shuffled, not files; dev scores choose the epoch (they keep all below a fixed loss); a seed decides all;
SEWA's tags such as <laughter> are no words. Gradients are clipped by the norm of all of them, not of the LSTM's alone.

Utterances (ours): the mean of the LSTM's states over the frames; 1 - CCC, or cross-entropy of classes.

Word vectors come from a file (`model.vectors`): Word2Vec, Speech2Vec, or one aligned to the other, whichever was made;
a digest is part of the configuration, and the score says which file it was. Word times are the corpus's own, or those
of `serbench words align` (`model.word_times`). Or each word's sound has a vector of its own (`model.encoder`, with
`model.map`), which no text is needed for: word times may be those of `serbench words transcribe`. Without a file, and
for items without words, word vectors are zero, and the score (`words:none`) or the record (`facts.words`) says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ..core.rows import frame_counts
from ..core.sermodel import Data, FitLog, Predictions, Score
from ..inputs.batches import Batch, Batches, even_batches, map_batches, micro_batches, shuffled
from ..training.objective import Objective
from ..training.torch_model import TorchModel
from ..training.training import Training
from . import words as semantic_words
from .config import FIXED, PAPER, RELEASE, SMALL, TINY, Config
from .delay import best_delay, delay_scores, delayed, loudness, shifted
from .frames import Frames, Words, block_batch, frame_samples, root_mean_square, utterance_batch
from .network import SemanticNetwork, check_shapes, initialise

__all__ = ["PRESETS", "SEARCH", "TINY", "Config", "Model"]

GROUP = "seed systems"
CITES = ("tzirakis2021semantic",)
PRESETS: dict[str, Config] = {"default": FIXED, "fixed": FIXED, "released": RELEASE, "paper": PAPER, "small": SMALL}
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.dropout": "0.2..0.6"}


class Model(TorchModel[SemanticNetwork]):
    """Semantic fusion."""

    name: ClassVar[str] = "semantic-fusion"
    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression", "continuous"})
    uses_words: ClassVar[bool] = True
    config: Config

    def __init__(self, config: Config, task: Task, *arguments: Any) -> None:
        super().__init__(config, task, *arguments)
        check_shapes(config)
        self.objective = Objective(task, config.class_weights)
        self._words: Words | None = None

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """The samples, also for words alone: they tell how long an utterance is. And vectors of the words' sound."""
        features = {"input": FeatureRequest("waveform", (("sampling_rate", str(config.sampling_rate)),))}
        if config.encoder and config.streams != "audio":
            features[semantic_words.ROLE] = semantic_words.request(config, task.frame_seconds or config.frame_seconds)
        return features

    @classmethod
    def labels(cls, config: Config) -> tuple[str, ...]:
        """Which word vectors were used."""
        return () if config.streams == "audio" else semantic_words.labels(config)

    @classmethod
    def reads_text(cls, config: Config) -> bool:
        """Only with vectors that are looked up by text."""
        return config.streams != "audio" and bool(config.vectors)

    @classmethod
    def takes_words(cls, config: Config) -> bool:
        """Only with vectors of words, and without word times of their own."""
        return config.streams != "audio" and bool(semantic_words.given(config)) and not config.word_times

    @classmethod
    def resolved(cls, config: Config) -> Config:
        """The configuration with the digest of its file of vectors."""
        return semantic_words.resolved(config)

    def sizes(self, train: Data) -> dict[str, Any]:
        """What the network's shape and the frames follow from, and the delay in frames."""
        rate, words = self._rate(train), self._source()
        return {
            "rate": rate,
            "samples": 2 * frame_samples(rate, self._hop),
            "word_dim": words.dim,
            "delay": self._delay,
        }

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> SemanticNetwork:
        """The network with TensorFlow's initial weights."""
        bounded = self.task.kind != "classification"
        network = SemanticNetwork(
            sizes["samples"], self.config.sequence, sizes["word_dim"], self.task.n_outputs, self.config, bounded=bounded
        )
        initialise(network, generator)
        return network

    def calibrate(self, network: SemanticNetwork, train: Data) -> None:
        """The labels' scales (tanh reaches their ends), and the root mean square of the sound."""
        if self.task.kind != "classification":
            scales = np.array([self.task.scales[target] for target in self.task.targets], dtype=np.float64)
            network.label_mean.copy_(torch.from_numpy(scales.mean(axis=1)))
            network.label_std.copy_(torch.from_numpy((scales[:, 1] - scales[:, 0]) / 2))
        if self.config.scaled:
            network.gain.fill_(1 / root_mean_square(train))

    def optimisers(self, network: SemanticNetwork) -> dict[str, Optimizer]:
        """That of the base, with Adam's second coefficient."""
        optimisers = super().optimisers(network)
        for optimiser in optimisers.values():
            for group in optimiser.param_groups:
                if "betas" in group:
                    group["betas"] = (0.9, self.config.beta2)
        return optimisers

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Choose the delay, then train as the base does; `facts` say what became of words, speakers and delay."""
        self._rate(train)
        source = self._source(check=True)
        spoken = semantic_words.coverage_facts(self.config, source, train)
        self._delay, facts = self._chosen_delay(train, dev)
        log = super().fit(train, dev, score, unlabelled)
        log.facts |= {"words": spoken, **facts}
        if self.task.kind == "continuous":
            log.facts |= self._frames(train).sides()
        return log

    def begin(self, training: Training[SemanticNetwork]) -> None:
        """Lay out training items and targets."""
        network = training.network
        self.objective.begin(training.train.labels)
        self._train = self._frames(training.train)
        labels = training.train.labels
        if self.task.kind != "continuous":
            self._targets: Any = self.objective.targets(network, labels)
            return
        delay = int(self._sizes["delay"])
        self._targets = [self.objective.targets(network, shifted(trace, delay)) for trace in labels]
        blocks = self._train.blocks(self.config.sequence)
        self._blocks = [b for b in blocks if not torch.isnan(self._piece(self._targets, b)).all()]

    def batches(self, training: Training[SemanticNetwork]) -> Batches:
        """Every utterance, or sequence of a recording, once, in random order."""
        traces = self.task.kind == "continuous"
        order = shuffled(len(self._blocks) if traces else len(self._train), training.generator("order"))
        size = self.train_config.batch_size if traces else self.config.utterance_batch
        return Batches(even_batches(order, size), self._load_blocks if traces else self._load, training.device)

    def losses(self, training: Training[SemanticNetwork], batch: Batch) -> Mapping[str, Tensor]:
        """The loss of a batch."""
        network = training.network
        *given, targets = batch
        outputs = network(*given) if self.task.kind == "continuous" else network.utterances(*given)
        return self.losses_of(outputs, targets)

    def losses_of(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """ "loss", and that of each target, of outputs and targets of one shape (or of classes)."""
        losses = self.objective.losses(outputs, targets)
        if self.config.target_weights == "harmonic" and len(losses) > 1:
            losses["loss"] = torch.stack([losses[f"loss_{t}"] / k for k, t in enumerate(self.task.targets, 1)]).sum()
        return losses

    def infer(self, network: SemanticNetwork, data: Data) -> Predictions:
        """Predictions of utterances, or of recordings sequence by sequence."""
        frames = self._frames(data)
        if self.task.kind == "continuous":
            return self._traces(network, frames)
        indices = micro_batches(len(data), self.micro_batch(cpu=8, card=64))
        batches = Batches(indices, lambda items: utterance_batch(frames, items, self.config), self.device)
        outputs = map_batches(batches, lambda batch: network.utterances(*batch))
        return self.objective.predictions(network, outputs.cpu().double().numpy())

    def _traces(self, network: SemanticNetwork, frames: Frames) -> Predictions:
        """Predictions of whole recordings; as many frames as their labels, moved back by the delay."""
        length, delay = self.config.sequence, int(self._sizes["delay"])
        blocks = frames.blocks(length)
        traces = self.objective.empty_traces(frame_counts(frames.data))
        indices = micro_batches(len(blocks), self.micro_batch(cpu=4, card=32))
        batches = Batches(indices, lambda items: block_batch(frames, [blocks[i] for i in items], length), self.device)
        for items, batch in zip(indices, batches, strict=True):
            outputs = network(*batch).float().cpu().double().numpy()
            for (position, start), rows in zip([blocks[i] for i in items], outputs, strict=True):
                part = traces[position][start : start + length]
                part[:] = self.objective.predictions(network, rows[: len(part)])
        return [delayed(np.asarray(trace, dtype=np.float64), delay) for trace in traces]

    def _load(self, items: npt.NDArray[np.int64]) -> Batch:
        return *utterance_batch(self._train, items, self.config), self._targets[torch.from_numpy(items)]

    def _load_blocks(self, items: npt.NDArray[np.int64]) -> Batch:
        blocks = [self._blocks[i] for i in items]
        targets = [self._piece(self._targets, block) for block in blocks]
        behind = torch.nan if self.config.masked else 0.0
        rows = [functional.pad(t, (0, 0, 0, self.config.sequence - len(t)), value=behind) for t in targets]
        return *block_batch(self._train, blocks, self.config.sequence), torch.stack(rows)

    def _piece(self, targets: Sequence[Tensor], block: tuple[int, int]) -> Tensor:
        position, start = block
        return targets[position][start : start + self.config.sequence]

    def _chosen_delay(self, train: Data, dev: Data) -> tuple[int, dict[str, Any]]:
        """The delay in frames, and what is to be recorded of it."""
        if self.task.kind != "continuous":
            return 0, {}
        hop = self._hop
        if self.config.delay_seconds >= 0:
            delay = round(self.config.delay_seconds / hop)
            return delay, {"delay_seconds": delay * hop}
        step = max(1, round(self.config.delay_step_seconds / hop))
        candidates = list(range(0, round(self.config.max_delay_seconds / hop) + 1, step))
        sides = []
        for data in (train, dev):
            frames = self._frames(data)
            sides.append(([loudness(frames, i) for i in range(len(frames))], data.labels))
        scores = delay_scores(sides[0], sides[1], candidates)
        delay = best_delay(scores, candidates)
        kept = {f"{c * hop:.1f}": round(s, 4) for c, s in zip(candidates, scores, strict=True) if np.isfinite(s)}
        return delay, {"delay_seconds": round(delay * hop, 6), "delay_scores": kept}

    def _frames(self, data: Data) -> Frames:
        return Frames(data, self._hop, self._source(), self.train_config.keep_mb * 2**20)

    def _source(self, *, check: bool = False) -> Words:
        """The word vectors, read once."""
        if self._words is None or check:
            self._words = semantic_words.source(self.config)
        return self._words

    @property
    def _hop(self) -> float:
        return self.task.frame_seconds if self.task.frame_seconds else self.config.frame_seconds

    def _rate(self, data: Data) -> int:
        table = data.features["input"]
        if table.dim != 1 or table.hop_seconds is None:
            raise SerbenchError(
                f"the model {self.name!r} takes samples, but the feature has {table.dim} numbers per frame. Expected "
                "the feature waveform: leave feature settings out."
            )
        return int(table.sampling_rate)
