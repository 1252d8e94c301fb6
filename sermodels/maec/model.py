"""MAEC: multi-instance learning with an adversarial auto-encoder-based classifier, on speech in its dialogue.

C. Fu, C. Liu, C. T. Ishi and H. Ishiguro, ICASSP 2021, and the authors' release (github.com/CZFuChason/ISEMOR).
Network: `maec/network.py`; instances: `maec/instances.py`; losses and prior: `maec/losses.py`. Each epoch has two
passes. In the first, for each batch, the discriminator takes a step (Eq. 6), then the encoder one against it (first
term of Eq. 8); in the second, encoder and heads step on emotion and gender (Eq. 7). For attributes, our addition, the
emotion head predicts z-scores and its loss is 1 - CCC. Eq. 6 and Eq. 7 have an optimiser each, as in the release. It
has no step of the encoder against the discriminator; here that has a third one, and since Adam is blind to the scale of
a loss, the weight of the adversarial term is a factor on the size of its steps.

| preset | what it is |
|---|---|
| paper | its equations: saturating term of weight 1, V pools Key, Z of 1024, nothing masked; the code's first N(0, 1) |
| released | as the release does: the encoder never sees the discriminator, N(1, 0.3), Z has 2048, 1000 epochs |
| fixed | the default: padding masked, PI scaled, the adversarial term non-saturating and weighted by 0.1 |
| iso | `fixed` with the mixture prior of the authors' follow-up |
| small | `fixed`, narrow, 20 instances, for CPUs |

`released` differs from the release where that can't be had: the release keeps the epoch with the best test accuracy,
here the dev score decides; random values for a fifth of the training samples, which its README names and its code does
not hold, are left out. Its first version counts frustration as neutral: IEMOCAP's task emotion-4-frustration-neutral;
the usual four classes leave it out, as the later versions do. In `paper` and `fixed`, at most 100 epochs and the end
after 15 without a better dev score are free choices, as the paper names neither (nor the prior). The literal reading of
the paper's "50 ms" and "10 ms" is `--set model.window=5 --set model.hop=1`; instances of 5 averaged frames are `--set
model.pool=5`.

Features are z-normalised by the training fold; `paper` and `released` do it by speaker, as the system that they take
their features from does (Yeh et al., ICASSP 2019), which a score's signature says. Context turns are the corpus's,
however far back (Yeh et al. look back 8 turns). A missing one is a bag without instances; a corpus without dialogues is
judged by the current turn alone, and the record says so (`facts.context`). Utterances shorter than a window
are one instance, filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ...features.core.feature_extractor import FeatureRequest
from ..core.sermodel import Data, FitLog, Predictions, Score
from ..inputs.batches import Batch, Batches, even_batches, map_batches, micro_batches, shuffled
from ..training.losses import balanced_weights, ccc_losses
from ..training.torch_model import TorchModel
from ..training.training import TrainConfig, Training, make_optimiser
from .facts import collapses, genders, training_facts
from .instances import CONTEXT, Bags, context_ids
from .losses import (
    LatentMoments,
    Prior,
    accuracy,
    discriminator_loss,
    drawn_loss,
    encoded_loss,
    encoder_loss,
    gender_loss,
)
from .network import MaecNetwork, NetworkConfig, Turn, initialise
from .normalisation import TRANSDUCTIVE, FrameNormaliser, scale_of, speakers_of

PASSES = ("adversarial", "discriminator", "none")
DRAWS = ("shuffled", "replacement")
TRAINING: TrainConfig = option(
    TrainConfig(epochs=100, patience=15, batch_size=32, learning_rate=1e-3), "training settings, set with train.KEY"
)


@dataclass(frozen=True)
class Config(NetworkConfig):
    """Settings of `maec`: those of instances, blocks and network, and these."""

    train: TrainConfig = TRAINING
    first_pass: str = option("adversarial", "who steps in the first pass of an epoch", source="Eq. 8", choices=PASSES)
    adversarial_weight: float = option(0.1, "share of the step size in steps on that term", source="Eq. 8: 1", low=0)
    saturating: bool = option(False, "log(1 - D(Z)) for the encoder instead of -log D(Z)", source="Eq. 8: true")
    prior_means: tuple[float, ...] = option((0.0,), "means of the prior's components", source="released code")
    prior_std: float = option(1.0, "their standard deviation", source="released code", low=1e-6)
    split_steps: bool = option(False, "one discriminator step for drawn, one for encoded", source="released code: true")
    discriminator_rate: float = option(1e-3, "step size of the discriminator", source="released code", low=0)
    epsilon: float = option(1e-7, "added to Adam's denominator", source="released code", low=0)
    gender_weight: float = option(1.0, "weight of the gender loss", source="Eq. 7", low=0)
    draw: str = option("shuffled", "items of a pass", source="released: replacement", choices=DRAWS)
    class_weights: str = option("none", "weights of the classes", source="free choice", choices=("none", "balanced"))


FIXED = Config()
PAPER = replace(FIXED, masked=False, gate="softmax", adversarial_weight=1.0, saturating=True, normalise="speaker")
RELEASED = replace(
    PAPER,
    train=replace(FIXED.train, epochs=1000, patience=0),
    dilated_kernel=1,
    value="bottleneck",
    latent="all",
    attention_sigmoid=True,
    leaky=True,
    first_pass="discriminator",
    prior_means=(1.0,),
    prior_std=0.3,
    split_steps=True,
    draw="replacement",
)
SMALL = replace(
    FIXED,
    train=replace(FIXED.train, epochs=20, patience=6),
    widths=(64, 64, 32),
    width=64,
    instances=20,
    discriminator_width=64,
)
PRESETS: dict[str, Config] = {
    "default": FIXED,
    "fixed": FIXED,
    "paper": PAPER,
    "released": RELEASED,
    "iso": replace(FIXED, prior_means=(0.0, 1.0, 2.0, 3.0), prior_std=0.3),
    "small": SMALL,
}
TINY = replace(
    SMALL,
    train=replace(SMALL.train, epochs=30, batch_size=8, learning_rate=3e-3),
    widths=(16, 16, 8),
    width=16,
    instances=12,
    discriminator_width=16,
)
SEARCH = {
    "train.learning_rate": "1e-4..3e-3:log",
    "model.adversarial_weight": "0.03..1:log",
    "model.gender_weight": "0.1..3:log",
}


class Model(TorchModel):
    """MAEC."""

    name: ClassVar[str] = "maec"
    kinds: ClassVar[frozenset[str]] = frozenset({"classification", "regression"})
    uses_context: ClassVar[bool] = True
    config: Config

    @classmethod
    def requests(cls, config: Config, task: Task) -> dict[str, FeatureRequest]:
        """The 45 descriptors per frame."""
        return {"input": FeatureRequest("emobase45")}

    @classmethod
    def labels(cls, config: Config) -> tuple[str, ...]:
        """Normalisation by speaker uses the test speakers' audio."""
        return (TRANSDUCTIVE,) if config.normalise == "speaker" else ()

    def sizes(self, train: Data) -> dict[str, Any]:
        """Features per frame; whether any training item has a context turn, and whether both genders are known."""
        table = train.features["input"]
        if table.hop_seconds is None:
            raise SerbenchError(
                f"the model {self.name!r} cuts frames into instances, but the feature has one row per utterance. "
                "Expected a feature with frames, such as emobase45."
            )
        turns = [item for column in CONTEXT for item in context_ids(train, column)]
        context = self.config.context and any(item is not None for item in turns)
        gender = self.config.gender and {0, 1} <= set(genders(train).tolist())
        return {"dim": table.dim, "context": context, "gender": gender}

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> nn.Module:
        """The network with Keras's initial weights."""
        network = MaecNetwork(
            sizes["dim"],
            self.task.n_outputs,
            self.config,
            context=sizes["context"],
            gender=sizes["gender"],
            discriminator=self.config.first_pass != "none",
        )
        initialise(network, generator)
        return network

    def calibrate(self, network: nn.Module, train: Data) -> None:
        """Moments of the training items' frames, and of their labels (population)."""
        assert isinstance(network, MaecNetwork)
        mean, scale = scale_of(train.features["input"], train.ids)
        network.frame_mean.copy_(torch.from_numpy(mean))
        network.frame_scale.copy_(torch.from_numpy(scale))
        if self.task.kind == "regression":
            std = train.labels.std(axis=0)
            network.label_mean.copy_(torch.from_numpy(train.labels.mean(axis=0)))
            network.label_scale.copy_(torch.from_numpy(np.where(std > 0, std, 1.0)))

    def optimisers(self, network: nn.Module) -> dict[str, Optimizer]:
        """One for each thing that is minimised: Eq. 7, and of the first pass Eq. 6 and the encoder's term of Eq. 8."""
        assert isinstance(network, MaecNetwork)
        judge = list(network.discriminator.parameters()) if network.discriminator is not None else []
        others = [p for name, p in network.named_parameters() if not name.startswith("discriminator.")]
        found = {"classification": self._optimiser(others, self.train_config.learning_rate)}
        if self.config.first_pass != "none":
            found["discriminator"] = self._optimiser(judge, self.config.discriminator_rate)
        if self.config.first_pass == "adversarial":
            encoder = list(network.encoder.parameters())
            rate = self.config.adversarial_weight * self.train_config.learning_rate  # Adam is blind to a loss's scale
            found["regularisation"] = self._optimiser(encoder, rate)
        return found

    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train as the base does; a collapse is looked for at the end and stands in `facts.collapse`."""
        self._prepared: list[Bags] = []
        try:
            log = super().fit(train, dev, score, unlabelled)
            log.facts["collapse"] = collapses(self.task, log.epochs, np.asarray(self.predict(dev)), train.labels)
        finally:
            self._prepared = []
        return log

    def begin(self, training: Training) -> None:
        """Cut the training bags, and note what they are."""
        network = training.network
        assert isinstance(network, MaecNetwork)
        self._prepared = [self._make_bags(network, data) for data in (training.train, training.dev)]
        self._targets = torch.tensor(self._labels(network, training.train))
        self._genders = torch.from_numpy(genders(training.train))
        self._class_weights = None
        if self.task.kind == "classification" and self.config.class_weights == "balanced":
            self._class_weights = torch.from_numpy(balanced_weights(training.train.labels, self.task.n_outputs))
        training.log.facts |= training_facts(self._prepared[0], self.config, self._sizes)

    def epoch(self, training: Training) -> Mapping[str, float]:
        """The pass of the discriminator (and the encoder against it), then the pass of the classification."""
        assert isinstance(training.network, MaecNetwork)
        prior, moments = Prior(self.config.prior_means, self.config.prior_std), LatentMoments()
        numbers: dict[str, float] = {}
        if self.config.first_pass != "none":
            draws = training.generator("prior")
            optimiser = "regularisation" if self.config.first_pass == "adversarial" else "discriminator"
            numbers = training.sweep(
                "regularisation",
                self._batches(training, "regularisation"),
                lambda batch: self.first_losses(training, batch, prior, draws),
                [training.optimisers[optimiser]],
                (0.0, 0.5),
            )
            numbers.pop("loss")
        numbers |= training.sweep(
            "classification",
            self._batches(training, "classification"),
            lambda batch: self.second_losses(training, batch, moments),
            [training.optimisers["classification"]],
            (0.5 if numbers else 0.0, 1.0),
        )
        return {**numbers, "latent_distance": moments.distance(prior)}

    def first_losses(
        self, training: Training, batch: Batch, prior: Prior, draws: torch.Generator
    ) -> Mapping[str, Tensor]:
        """Steps of the discriminator (Eq. 6), then the encoder's loss against it (first term of Eq. 8).

        In a pass of the discriminator alone its last step is left to the caller, and nothing reaches the encoder.
        """
        network, config = training.network, self.config
        assert isinstance(network, MaecNetwork)
        with torch.set_grad_enabled(config.first_pass == "adversarial"):
            latent, _ = network.encode(turns_of(batch[:-2]))
        drawn = prior.draw(len(latent), latent.shape[1], draws).to(latent)
        real, fake = network.judge(drawn).float(), network.judge(latent.detach()).float()
        numbers = {"loss_discriminator": discriminator_loss(real, fake), "discriminator_accuracy": accuracy(real, fake)}
        loss = numbers["loss_discriminator"]
        if config.split_steps:
            self._step_discriminator(training, drawn_loss(real))
            loss = encoded_loss(network.judge(latent.detach()).float())
        if config.first_pass == "discriminator":
            return {"loss": loss, **numbers}
        self._step_discriminator(training, loss)
        adversarial = encoder_loss(network.judge(latent).float(), config.saturating)
        return {"loss": adversarial, "loss_adversarial": adversarial, **numbers}

    def second_losses(self, training: Training, batch: Batch, moments: LatentMoments) -> Mapping[str, Tensor]:
        """Eq. 7: cross-entropy (or 1 - CCC) of the emotion, and of the gender where it is known."""
        network = training.network
        assert isinstance(network, MaecNetwork)
        *_, targets, gender = batch
        latent, _ = network.encode(turns_of(batch[:-2]))
        moments.add(latent)
        outputs, voices = network.heads(latent)
        if self.task.kind == "classification":
            weights = None if self._class_weights is None else self._class_weights.to(outputs.device)
            emotion = functional.cross_entropy(outputs.float(), targets, weights)
        else:
            emotion = ccc_losses(outputs, targets).mean()
        if voices is None:
            return {"loss": emotion}
        second = gender_loss(voices, gender)
        return {"loss": emotion + self.config.gender_weight * second, "loss_emotion": emotion, "loss_gender": second}

    def infer(self, network: nn.Module, data: Data) -> Predictions:
        """Class scores (item, class), or attributes (item, target) on the label scale."""
        assert isinstance(network, MaecNetwork)
        outputs = self._in_batches(network, data, lambda turns: network.heads(network.encode(turns)[0])[0])
        if self.task.kind == "classification":
            return np.asarray(torch.softmax(outputs, dim=1).numpy())
        return np.asarray((outputs * network.label_scale.cpu() + network.label_mean.cpu()).numpy())

    def salience(self, data: Data) -> list[pd.DataFrame]:
        """Where the attention of the current turn lies: one table per item, with one row per instance.

        Columns: start and end of the instance in seconds, and weight, the mean of its attention weight over all
        queries; the weights of an utterance sum to 1.
        """
        network = self.network
        assert isinstance(network, MaecNetwork), "the model is trained"
        with torch.inference_mode():
            weights = self._in_batches(network, data, lambda turns: _widened(network.encode(turns)[1][0], self.config))
        bags = self._bags(network, data)
        return [instance_times(bags, i, row) for i, row in enumerate(weights.numpy())]

    def _in_batches(self, network: MaecNetwork, data: Data, infer: Callable[[list[Turn]], Tensor]) -> Tensor:
        """What `infer` gives for all items, (item, ...) float64 on the CPU."""
        bags = self._bags(network, data)
        indices = micro_batches(len(data), self.micro_batch(cpu=8, card=128))
        batches = Batches(indices, lambda some: as_tensors(bags, some), self.device)
        return map_batches(batches, lambda batch: infer(turns_of(batch))).cpu().double()

    def _batches(self, training: Training, purpose: str) -> Batches:
        size, n = self.train_config.batch_size, len(training.train)
        generator = training.generator(purpose)
        if self.config.draw == "shuffled":
            indices = even_batches(shuffled(n, generator), size)
        else:
            steps = max(1, n // size)
            indices = list(torch.randint(n, (steps, min(size, n)), generator=generator).numpy())
        return Batches(indices, self._load, training.device)

    def _load(self, items: npt.NDArray[np.int64]) -> Batch:
        return (*as_tensors(self._prepared[0], items), self._targets[items], self._genders[items])

    def _bags(self, network: MaecNetwork, data: Data) -> Bags:
        """The bags of a data set, those of training and dev being at hand during training."""
        ready = [bags for bags in getattr(self, "_prepared", []) if bags.data is data]
        return ready[0] if ready else self._make_bags(network, data)

    def _make_bags(self, network: MaecNetwork, data: Data) -> Bags:
        table = data.features["input"]
        if table.dim != self._sizes["dim"]:
            raise SerbenchError(
                f"the features have {table.dim} values per frame. Expected {self._sizes['dim']}, as in training: give "
                "the feature settings that the model was trained with."
            )
        fold = network.frame_mean.cpu().numpy(), network.frame_scale.cpu().numpy()
        normaliser = FrameNormaliser(self.config.normalise, table, speakers_of(data), fold)
        keep = self.train_config.keep_mb * 2**20 // 2  # training and dev
        return Bags(data, self.config, normaliser, bool(self._sizes["context"]), keep)

    def _labels(self, network: MaecNetwork, data: Data) -> npt.NDArray[Any]:
        if self.task.kind == "classification":
            return np.asarray(data.labels, dtype=np.int64)
        mean, scale = network.label_mean.cpu().numpy(), network.label_scale.cpu().numpy()
        return np.asarray((data.labels - mean) / scale, dtype=np.float32)

    def _optimiser(self, parameters: list[nn.Parameter], rate: float) -> Optimizer:
        train = self.train_config
        found = make_optimiser(train.optimiser, parameters, rate, train.weight_decay, train.momentum)
        for group in found.param_groups:
            if "eps" in group:
                group["eps"] = self.config.epsilon
        return found

    def _step_discriminator(self, training: Training, loss: Tensor) -> None:
        training.backward(loss)
        training.update([training.optimisers["discriminator"]])


def as_tensors(bags: Bags, items: npt.NDArray[np.int64]) -> tuple[Tensor, ...]:
    """Frames and counts of each turn of some items, one after the other."""
    return tuple(torch.from_numpy(array) for turn in bags.gather(items) for array in turn)


def turns_of(batch: Batch) -> list[Turn]:
    """Inverse of `as_tensors`: frames and counts of each turn, as pairs."""
    return list(zip(batch[::2], batch[1::2], strict=True))


def instance_times(bags: Bags, position: int, weights: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Start and end in seconds, and weight, of the instances of an item's bag."""
    config, table = bags.config, bags.data.features["input"]
    assert table.hop_seconds is not None
    frames = table.frames(bags.data.ids[position])
    if config.bag == "whole":
        return pd.DataFrame({"start": [0.0], "end": [frames * table.hop_seconds], "weight": [1.0]})
    count, skipped = config.instances_of(frames), bags.skipped(position)
    step = config.pool * table.hop_seconds
    start = (skipped + np.arange(count)) * config.hop * step
    end = np.minimum(start + config.window * step, frames * table.hop_seconds)
    return pd.DataFrame({"start": start, "end": end, "weight": weights[:count]})


def _widened(weights: Tensor, config: Config) -> Tensor:
    """Attention (item, longest) with a column for every instance that a bag can have."""
    return functional.pad(weights.float(), (0, config.instances - weights.shape[1]))
