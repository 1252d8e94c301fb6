"""What CNN-AE and CNN-VAE share: encoder and emotion head as in CNN-regressor, a decoder, and an epoch of two stages.

Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), section 5.1. The paper says that a decoder
takes the place of the cluster classifier, that it mirrors the encoder (`chunked/decoder.py`), and that the baselines
can be made semi-supervised as the proposed system is; the authors released no code of them. Each choice that this
leaves open is a field of `AutoencoderConfig`.

One epoch, as in `deepemocluster`. Stage 1, if there is an unlabelled pool: one pass over its chunks minimises the
unsupervised loss U, moving encoder and decoder alone. Stage 2: one pass over the labelled chunks minimises
L = (1 - CCC) + weight * U (Eq. 3 with U for the cluster loss). U is the reconstruction error, averaged over all values
of the maps; CNN-VAE adds its divergence. For classification, our addition, cross-entropy stands for 1 - CCC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from ...datasets.core.config import option
from ..inputs.batches import Batch, Batches
from ..inputs.chunks import ChunkSet
from ..training.training import Training
from .decoder import ACTIVATIONS, OUTPUTS, Decoder, initialise_decoder
from .network import ChunkNetwork
from .pool_config import TwoStageConfig
from .two_stages import TwoStageModel

ERRORS = {"mse": functional.mse_loss, "l1": functional.l1_loss, "smooth-l1": functional.smooth_l1_loss}


@dataclass(frozen=True)
class AutoencoderConfig(TwoStageConfig):
    """Settings of the encoder and the pool, and of what the paper leaves open about the decoder and its loss."""

    reconstruction: str = option("mse", "error of the reconstruction", source="free choice", choices=tuple(ERRORS))
    reconstruction_weight: float = option(
        1.0, "weight of the unsupervised loss beside 1 - CCC", source="lambda of Eq. 3, section 5.1", low=0
    )
    target: str = option(
        "clipped",
        "what is reconstructed: the encoder's input, or that before clipping",
        source="free choice",
        choices=("clipped", "unclipped"),
    )
    decoder_norm: bool = option(True, "batch normalisation in the decoder's hidden layers", source="free choice")
    decoder_activation: str = option("relu", "activation of those", source="free choice", choices=ACTIVATIONS)
    decoder_output: str = option(
        "linear",
        "last layer of the decoder; tanh is scaled to the bound model.clip",
        source="free choice",
        choices=OUTPUTS,
    )
    decode_dropout: bool = option(False, "whether the code that is decoded has model.dropout", source="free choice")
    decoder_optimiser: str = option("adam", "optimiser of the decoder", source="free choice", choices=("adam", "sgd"))
    decoder_rate: float | None = option(None, "its step size; none = train.learning_rate", source="free choice", low=0)


class Code(NamedTuple):
    """What the two branches read of a chunk, (chunk, dim) each, and the divergence (chunk,) of a variational code."""

    decoded: Tensor
    regressed: Tensor
    divergence: Tensor | None = None


class AutoencoderNetwork(ChunkNetwork):
    """Encoder, emotion head, decoder; the code is the latent h."""

    def __init__(self, frames: int, bands: int, outputs: int, config: AutoencoderConfig) -> None:
        super().__init__(frames, bands, outputs, config)
        self.encoder.dropout = nn.Dropout(0.0)  # each branch has its own say about dropout
        self.dropout, self.decode_dropout = nn.Dropout(config.dropout), config.decode_dropout
        bound = config.clip if config.decoder_output == "tanh" else None
        self.decoder = Decoder(
            self.code_size(config),
            frames,
            bands,
            config.channels,
            config.strides,
            norm=config.decoder_norm,
            activation=config.decoder_activation,
            bound=bound,
        )

    def code_size(self, config: AutoencoderConfig) -> int:
        """Width of the code that is decoded."""
        return config.width

    def code(self, hidden: Tensor) -> Code:
        """The encoder's output (chunk, width) -> what is decoded and what is regressed."""
        dropped = self.dropout(hidden)
        return Code(dropped if self.decode_dropout else hidden, dropped)

    def forward(self, chunks: Tensor) -> Tensor:
        """Raw features (chunk, time, mel) -> z-scores or class logits (chunk, output)."""
        return torch.as_tensor(self.emotion(self.code(self.latent(chunks)).regressed))

    def target(self, chunks: Tensor, clipped: bool) -> Tensor:
        """What the decoder is to rebuild of raw features (chunk, time, mel), the same shape."""
        if clipped:
            return torch.as_tensor(self.normaliser(chunks))
        return torch.nan_to_num((chunks - self.normaliser.mean) * self.normaliser.inverse)


class AutoencoderModel(TwoStageModel[AutoencoderNetwork]):
    """Base of `cnn-ae` and `cnn-vae`."""

    network_class: ClassVar[type[AutoencoderNetwork]] = AutoencoderNetwork
    config: AutoencoderConfig

    def build(self, sizes: Mapping[str, Any], generator: torch.Generator) -> AutoencoderNetwork:
        """The network: encoder and heads as in the release, the decoder like the layers that it mirrors."""
        network = super().build(sizes, generator)
        initialise_decoder(network.decoder, generator)
        return network

    def optimisers(self, network: AutoencoderNetwork) -> dict[str, Optimizer]:
        """One per part: the encoder, the decoder (with what makes its code), the emotion head."""
        c = self.config
        named: dict[str, list[nn.Parameter]] = {"encoder": [], "decoder": [], "emotion": []}
        for name, parameter in network.named_parameters():
            part = name.split(".")[0]
            named[part if part in named else "decoder"].append(parameter)
        return {
            "encoder": self.optimiser(named["encoder"], c.encoder_optimiser, c.encoder_rate),
            "decoder": self.optimiser(named["decoder"], c.decoder_optimiser, c.decoder_rate),
            "emotion": self.optimiser(named["emotion"]),
        }

    def stage_one(self, training: Training[AutoencoderNetwork], pool: ChunkSet, end: float) -> dict[str, float]:
        """Encoder and decoder on the pool's chunks; the emotion head takes no part."""
        network = training.network

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            (chunks,) = batch
            code = network.code(network.latent(chunks))
            return self.unsupervised(training, chunks, code)

        drawn = self.draws(pool, training.generator("order, unlabelled"))
        batches = Batches(drawn, lambda some: (torch.from_numpy(pool.gather(some)),), training.device)
        steps = [training.optimisers["encoder"], training.optimisers["decoder"]]
        means = training.sweep("stage 1", batches, losses, steps, (0.0, end))
        return {f"unlabelled_{name}": value for name, value in means.items()}

    def stage_two(self, training: Training[AutoencoderNetwork], start: float) -> dict[str, float]:
        """The whole network on labelled chunks: (1 - CCC) + weight * U."""
        network, weight = training.network, self.config.reconstruction_weight

        def losses(batch: Batch) -> Mapping[str, Tensor]:
            chunks, targets = batch
            code = network.code(network.latent(chunks))
            named = self.emotion_losses(network.emotion(code.regressed), targets)
            emotion, other = named.pop("loss"), dict(self.unsupervised(training, chunks, code))
            return {"loss": emotion + weight * other.pop("loss"), "emotion_loss": emotion, **other, **named}

        batches = Batches(self.labelled_draws(training), self._load, training.device)
        return training.sweep("stage 2", batches, losses, span=(start, 1.0))

    def latents(self, network: AutoencoderNetwork, chunks: ChunkSet) -> Iterator[Tensor]:
        """What the emotion head reads of all chunks in order, a few sentences at a time, in evaluation mode."""
        for hidden in super().latents(network, chunks):
            yield network.code(hidden).regressed

    def unsupervised(self, training: Training[AutoencoderNetwork], chunks: Tensor, code: Code) -> dict[str, Tensor]:
        """U of a batch as "loss", and its parts."""
        network, c = training.network, self.config
        rebuilt = network.decoder(code.decoded).float()
        error = ERRORS[c.reconstruction](rebuilt, network.target(chunks, c.target == "clipped"))
        return {"loss": error, "reconstruction_loss": error}
