"""Settings of MAEC and their named values; what these are stands in `maec/model.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...datasets.core.config import option
from ..training.settings import TrainConfig
from .network import NetworkConfig

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
ISO = replace(FIXED, prior_means=(0.0, 1.0, 2.0, 3.0), prior_std=0.3)
TINY = replace(
    SMALL,
    train=replace(SMALL.train, epochs=30, batch_size=8, learning_rate=3e-3),
    widths=(16, 16, 8),
    width=16,
    instances=12,
    discriminator_width=16,
)
