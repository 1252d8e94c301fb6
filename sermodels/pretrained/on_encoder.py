"""What models on a pre-trained encoder share: settings, feature requests, labels of their scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...features.encoders.checkpoint import Checkpoint, locate
from ...features.encoders.families import geometry
from ...features.encoders.library import transformers
from ..training.torch_model import TorchModel
from ..training.training import N
from .known_corpora import TUNED, corpora_seen, tuned_on_emotions

FREE = "free choice"


@dataclass(frozen=True)
class EncoderChoice:
    """Which encoder, for models that stand on one."""

    encoder: str = option("", "folder, name on the Hugging Face hub, or random:NAME", source=FREE)
    revision: str = option("main", "branch, tag or commit of a repository", source=FREE)


def source_of(config: EncoderChoice) -> Checkpoint:
    """The checkpoint that a configuration names."""
    return locate(config.encoder, config.revision)


def rebuilt(config: EncoderChoice, sizes: Mapping[str, Any]) -> Checkpoint:
    """The source of a saved model's encoder, from what stands in its file: no checkpoint is looked up."""
    settings = dict(sizes["encoder"])
    encoder = transformers().AutoConfig.for_model(settings.pop("model_type"), **settings)
    shape = geometry(encoder, sizes["preprocessor"], config.encoder)
    identity = tuple((str(k), str(v)) for k, v in sizes["identity"].items())
    return Checkpoint(config.encoder, config.encoder, None, identity, encoder, sizes["preprocessor"], shape)


class OnEncoder(TorchModel[N]):
    """A torch model on a pre-trained encoder; its configuration is an `EncoderChoice`."""

    @classmethod
    def labels(cls, config: EncoderChoice) -> tuple[str, ...]:
        """What a score has to say of the encoder: that its own classes are emotions."""
        return (TUNED,) if tuned_on_emotions(_settings(config)) else ()

    @classmethod
    def seen(cls, config: EncoderChoice) -> frozenset[str]:
        """Registered names of the corpora that the encoder is known to be trained on."""
        return corpora_seen(config.encoder, _settings(config))


def described(config: EncoderChoice) -> dict[str, Any]:
    """The encoder as a record holds it: which one, and what its frames are."""
    source = source_of(config)
    shape = source.geometry
    return {
        "name": config.encoder,
        "family": shape.family,
        "layers": shape.layers,
        "width": shape.width,
        "hop_seconds": shape.hop / shape.sampling_rate,
        "receptive_field_seconds": shape.field / shape.sampling_rate,
        "sampling_rate": shape.sampling_rate,
        **dict(source.identity),
    }


def _settings(config: EncoderChoice) -> dict[str, Any]:
    """The contents of the checkpoint's config.json; empty for random weights, and where it can't be found."""
    if not config.encoder or config.encoder.startswith("random:"):
        return {}
    try:
        return dict(source_of(config).config.to_dict())
    except SerbenchError:
        return {}
