"""Ladder: the DeepEmoCluster encoder, made to remove noise from each of its layers, on labelled and unlabelled speech.

Rasmus, Valpola, Honkala, Berglund and Raiko, "Semi-supervised learning with ladder networks", NeurIPS 2015, arXiv
1507.02672, as Parthasarathy and Busso use it for emotional attributes: "Semi-supervised speech emotion recognition with
ladder networks", IEEE/ACM Transactions on Audio, Speech, and Language Processing 28, 2020, arXiv 1905.02921. A
semi-supervised baseline on the encoder and features of `deepemocluster`; no code is followed.

A clean and a noisy pass share all weights. From the top a decoder rebuilds the clean values z of each layer from the
noisy ones and from what it rebuilt above. L = L_supervised(noisy outputs, labels) + w sum_l weight_l |z_l - rebuilt
z_l|^2 / width (Eqs. 9 and 10 of Rasmus et al.), the second term over labelled and unlabelled chunks. Predictions are
those of the clean pass.

Differences. Convolutions have no pooling, so that their mirror is a transposed convolution; the ten numbers of the
combinator belong to a channel of a map, not to each of its places. The latent h and the head's hidden layer have
batch normalisation, as all layers of the paper do and those of `deepemocluster` don't; the outputs have none: their
noise is in proportion to their spread, and their error is in units of the clean variance. At the top, class
probabilities or, for regression, the outputs themselves are what is handed down. The attributes' loss is
1 - CCC. The noise is 0.6 where the paper has 0.3: chosen on dev data of planted worlds (`benchmarks/planted/`), where
0.3 lets a dozen labelled sentences be learnt by heart.

Presets: `default`, the full ladder; `gamma`, the Gamma model, which cleans the outputs alone; `small` and
`gamma-small`, both with the narrow network of `cnn-regressor:small`, for a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..chunked.joint import JointModel
from ..chunked.network import small, tiny
from ..training.training import Training
from .config import Config
from .network import LadderNetwork, errors

__all__ = ["PRESETS", "SEARCH", "TINY", "Config", "Model"]

GAMMA = Config(variant="gamma", top_weight=1.0)
GROUP = "relatives"
CITES = ("rasmus2015ladder", "parthasarathy2020ladder")
PRESETS: dict[str, Config] = {
    "default": Config(),
    "gamma": GAMMA,
    "small": small(Config()),
    "gamma-small": small(GAMMA),
}
TINY = replace(tiny(Config()), noise=0.1)
SEARCH = {"train.learning_rate": "1e-4..3e-3:log", "model.unsupervised_weight": "0.1..10:log", "model.noise": "0.3..1"}


class Model(JointModel[LadderNetwork]):
    """Clean and noisy encoder, emotion head, decoder."""

    name: ClassVar[str] = "ladder"
    network_class: ClassVar[type[Any]] = LadderNetwork
    config: Config

    def step_losses(
        self, training: Training[LadderNetwork], chunks: Tensor, targets: Tensor, unlabelled: Tensor, weight: float
    ) -> Mapping[str, Tensor]:
        """The supervised loss of the noisy pass, and the errors of the rebuilt layers (Eq. 10)."""
        network, c, count = training.network, self.config, len(chunks)
        maps = network.normaliser(torch.cat([chunks, unlabelled]))
        clean, noisy = network.passed(maps, 0.0), network.passed(maps, c.noise)
        outputs = noisy[-1]
        signal = outputs.float().softmax(1) if self.task.kind == "classification" else outputs
        named = self.emotion_losses(outputs[:count], targets)
        emotion, each = named.pop("loss"), errors(clean, network.rebuilt(noisy, signal))
        weights = [c.top_weight, *[c.hidden_weight] * (len(clean) - 2), c.input_weight][: len(each)]
        rebuilt = torch.stack([w * error for w, error in zip(weights, each, strict=True)]).sum()
        return {
            "loss": emotion + weight * rebuilt,
            "emotion_loss": emotion,
            "top_error": each[0],
            "bottom_error": each[-1],
            **named,
        }
