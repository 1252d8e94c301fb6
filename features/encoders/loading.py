"""Loading a speech encoder: the weights of a checkpoint, every one of them, or random ones that are always the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.utils import parametrize

from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library, raise_library_failure
from .checkpoint import Checkpoint, weight_files
from .encoder import SpeechEncoder
from .families import RANDOM_SEED, WHISPER, Geometry
from .library import transformers


def load(source: Checkpoint, *, masks: bool = False, changes: Mapping[str, Any] | None = None) -> SpeechEncoder:
    """Load an encoder on the CPU in float32 and evaluation mode.

    Parameters
    ----------
    source : the checkpoint
    masks : make sure that there is a vector to mask frames with in training; one that the checkpoint lacks is random
    changes : settings of its config, such as dropout, that are changed where the family has them

    Raises
    ------
    SerbenchError
        When the weight files don't hold all of the encoder's weights.
    """
    config = _prepared(source, masks, changes or {})
    with quiet():
        model = _random_model(config) if source.folder is None else _stored_model(source, config)
    _cut_positions(model, source.geometry)
    return _without_own_masks(SpeechEncoder(source, model)).eval()


def skeleton(source: Checkpoint, changes: Mapping[str, Any] | None = None) -> SpeechEncoder:
    """The network that `load` gives with `masks`, with any weights: to be filled from a saved model."""
    with quiet():
        model = _random_model(_prepared(source, True, changes or {}))
    _cut_positions(model, source.geometry)
    return _without_own_masks(SpeechEncoder(source, model)).eval()


def freeze_for_extraction(encoder: SpeechEncoder) -> SpeechEncoder:
    """Drop gradients, and compute once what weight normalisation computes in every call; the numbers stay the same."""
    for module in encoder.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    return encoder.requires_grad_(False)


def _cut_positions(model: Any, shape: Geometry) -> None:
    """Leave Whisper the positions of its window alone, where that is shorter than the one of its training."""
    frames = shape.window_frames
    if shape.kind == WHISPER and frames is not None and frames < model.config.max_source_positions:
        model.config.max_source_positions = frames
        kept = model.embed_positions.weight.detach()[:frames].clone()
        positions = nn.Embedding(len(kept), kept.shape[1], _weight=kept)
        model.embed_positions = positions.requires_grad_(False)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting on the screen what is checked here: which weights were found."""
    theirs = transformers().utils.logging
    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()


def _without_own_masks(encoder: SpeechEncoder) -> SpeechEncoder:
    """Keep transformers from drawing masks in training by itself, from a random state that nobody seeds."""
    config: Any = encoder.model.config
    for setting in ("mask_time_prob", "mask_feature_prob"):
        if hasattr(config, setting):
            setattr(config, setting, 0.0)
    if hasattr(config, "apply_spec_augment"):
        config.apply_spec_augment = True  # else masks that are handed in are ignored
    return encoder


def _prepared(source: Checkpoint, masks: bool, changes: Mapping[str, Any]) -> Any:
    """A copy of the config with changes, without the parts that are not used, with a mask vector if one is wanted."""
    config = type(source.config).from_dict(source.config.to_dict())
    for setting, value in changes.items():
        if hasattr(config, setting):
            setattr(config, setting, value)
    if hasattr(config, "add_adapter"):
        config.add_adapter = False
    if masks and getattr(config, "mask_time_prob", None) == 0.0:
        config.mask_time_prob = 0.05
    return config


def _encoder_class(config: Any) -> Any:
    """The class that holds the encoder alone."""
    if config.model_type == "whisper":
        return library("transformers.models.whisper.modeling_whisper").WhisperEncoder
    return library("transformers.models.auto.modeling_auto").MODEL_MAPPING[type(config)]


def _random_model(config: Any) -> nn.Module:
    """Weights drawn as transformers initialises them, always the same ones; torch's random state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        model: nn.Module = _encoder_class(config)(config)
    return model


def _stored_model(source: Checkpoint, config: Any) -> nn.Module:
    """The weights of the checkpoint; every one of the encoder's must be there."""
    read = _read_whisper if config.model_type == "whisper" else _read_encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        try:
            model, lost = read(source, config)
        except (OSError, RuntimeError, ValueError, ImportError, SafetensorError) as error:
            raise_library_failure(error)
            raise SerbenchError(
                f"the weights of {source.name} can't be loaded: {str(error).splitlines()[0]} Copy or download the "
                "checkpoint again."
            ) from error
    if lost:
        raise SerbenchError(
            f"{source.name} lacks {len(lost)} weights of a {source.geometry.family} encoder, such as {lost[0]!r}. "
            "Expected a whole checkpoint; copy or download it again."
        )
    return model


def _read_encoder(source: Checkpoint, config: Any) -> tuple[nn.Module, list[Any]]:
    """The model by transformers' own rules, and what of its weights is missing or has another shape."""
    model, report = _encoder_class(config).from_pretrained(
        source.folder,
        config=config,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})
    return model, [*missing, *report["mismatched_keys"]]


def _read_whisper(source: Checkpoint, config: Any) -> tuple[nn.Module, list[Any]]:
    """Likewise for the encoder within a whole Whisper: releases of transformers treat the prefix of its weights in
    different ways."""
    assert source.folder is not None
    with torch.device("meta"):
        model: nn.Module = _encoder_class(config)(config)
    wanted, stored = model.state_dict(), {}
    for file in weight_files(source.folder, source.name):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - it is no mapping
                inner = name.removeprefix("model.")
                if inner.startswith("encoder.") and (own := inner.removeprefix("encoder.")) in wanted:
                    stored[own] = weights.get_tensor(name).float()
    lost = [name for name in wanted if name not in stored or stored[name].shape != wanted[name].shape]
    if not lost:
        model.load_state_dict(stored, assign=True)
    return model, lost
