"""Families of pre-trained speech encoders: how each is fed, its frames, and small random ones for tests and baselines.

What decides whether utterances of different lengths may share a padded batch:

| family | input | why padding would show | rule |
|---|---|---|---|
| wav2vec 2.0, HuBERT, WavLM, UniSpeech; group norm | waveform | normalised over time, zeros included | A |
| the same; layer norm | waveform | through attention and positional convolution alone | A |
| data2vec-audio | waveform | positional convolutions in a row carry the padding into the speech | A |
| wav2vec 2.0 Conformer | waveform | unmasked convolutions in every block | B |
| Whisper encoder | 30 s log-mel | trained on silence-padded windows of one fixed length, and fed so | C |
| Audio Spectrogram Transformer | 10.24 s log-mel | the same | C |

A: the convolutional front end sees each utterance by itself, the transformer sees masked batches, and every positional
convolution sees zeros beyond an utterance's end. B: only utterances of equal length share a batch. C: every input is
padded to the window that the model was trained with, whatever its company; frames beyond the utterance are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...datasets.core.errors import SerbenchError, unknown

WAVEFORM, WHISPER, AST = "waveform", "whisper", "ast"
FAMILIES: dict[str, tuple[str, bool]] = {
    "wav2vec2": (WAVEFORM, True),
    "hubert": (WAVEFORM, True),
    "wavlm": (WAVEFORM, True),
    "data2vec-audio": (WAVEFORM, True),
    "unispeech": (WAVEFORM, True),
    "unispeech-sat": (WAVEFORM, True),
    "wav2vec2-conformer": (WAVEFORM, False),
    "whisper": (WHISPER, True),
    "audio-spectrogram-transformer": (AST, True),
}
"""`model_type` of config.json -> kind of input, and whether different lengths may share a batch."""


@dataclass(frozen=True)
class Geometry:
    """Frames of an encoder.

    Attributes
    ----------
    family : `model_type` of its config.json
    kind : WAVEFORM, WHISPER or AST
    sampling_rate : rate in Hz that it was trained at
    layers : number of transformer blocks; there are `layers` + 1 hidden states
    width : dimensions of a hidden state
    hop : samples between two frames
    field : samples that the front end sees for one frame (the transformer sees the whole input)
    window : longest input in samples (Whisper, AST); None = any length
    """

    family: str
    kind: str
    sampling_rate: int
    layers: int
    width: int
    hop: int
    field: int
    window: int | None = None

    @property
    def mixes_lengths(self) -> bool:
        """Whether utterances of different lengths may share a batch."""
        return FAMILIES[self.family][1]

    @property
    def window_frames(self) -> int | None:
        """Frames of a full window, None without one."""
        return None if self.window is None else self.frames(self.window)

    def frames(self, samples: int) -> int:
        """Frames of an utterance: those that it fills (waveform, AST) or touches (Whisper); at least one."""
        if self.kind == WHISPER:
            return max(1, math.ceil(samples / self.hop))
        return max(1, (samples - self.field) // self.hop + 1)

    def samples(self, frames: int) -> int:
        """The shortest input that fills so many frames."""
        return frames * self.hop if self.kind == WHISPER else (frames - 1) * self.hop + self.field

    def centre_seconds(self, frame: float) -> float:
        """The middle of what the front end sees for a frame, in seconds from the utterance's beginning."""
        middle = 0.0 if self.kind == WHISPER else self.field / 2  # Whisper's windows reach out before the first sample
        return (frame * self.hop + middle) / self.sampling_rate


def geometry(config: Any, preprocessor: Mapping[str, Any], name: str) -> Geometry:
    """The frames of an encoder from its config (a transformers config object) and preprocessor_config.json.

    Raises
    ------
    SerbenchError
        For a family that is not a speech encoder, or one that is not supported.
    """
    family = str(config.model_type)
    if family not in FAMILIES:
        raise SerbenchError(
            f"{name} is a {family!r} model, which is no speech encoder that this feature knows. Expected a checkpoint "
            f"whose config.json has a model_type of: {', '.join(FAMILIES)}."
        )
    kind, rate = FAMILIES[family][0], int(preprocessor.get("sampling_rate", 16000))
    if kind == WHISPER:
        hop = int(preprocessor.get("hop_length", 160)) * 2  # its second convolution halves the rate
        n_fft = int(preprocessor.get("n_fft", 400))
        return Geometry(
            family,
            kind,
            rate,
            int(config.encoder_layers),
            int(config.d_model),
            hop,
            n_fft + 2 * (hop // 2) * 2,
            int(config.max_source_positions) * hop,
        )
    if kind == AST:
        step = rate // 100  # Kaldi's filter bank: 25 ms windows every 10 ms, none of them padded
        hop, field = int(config.time_stride) * step, (int(config.patch_size) - 1) * step + rate // 40
        window = (int(config.max_length) - 1) * step + rate // 40
        return Geometry(family, kind, rate, int(config.num_hidden_layers), int(config.hidden_size), hop, field, window)
    hop, field = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field, hop = field + (int(kernel) - 1) * hop, hop * int(stride)
    return Geometry(family, kind, rate, int(config.num_hidden_layers), int(config.hidden_size), hop, field)


def chosen_layers(text: str, layers: int) -> tuple[int, ...]:
    """The hidden states that "last", "all", "5", "4-8" or "0,6,12" name, of an encoder with `layers` blocks.

    Raises
    ------
    SerbenchError
        For a text of another form, or a hidden state that is not there.
    """
    if text in ("last", "all"):
        return (layers,) if text == "last" else tuple(range(layers + 1))
    chosen: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise SerbenchError(f"layers={text!r} can't be read. Expected last, all, 5, 4-8 or 0,6,12.")
        chosen |= set(range(int(first), int(last or first) + 1))
    if not chosen or max(chosen) > layers:
        raise SerbenchError(f"layers={text!r}: there is no such hidden state. Expected 0 to {layers} (the last one).")
    return tuple(sorted(chosen))


_TINY = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
_TINY_FRONT = {
    "conv_dim": (16, 16, 16, 16), "conv_stride": (5, 4, 4, 4), "conv_kernel": (10, 8, 4, 4),
    "num_feat_extract_layers": 4, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
_STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_REDUCED = {
    "hidden_size": 256,
    "num_hidden_layers": 12,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "conv_dim": (128,) * 7,
}
_RATE = {"sampling_rate": 16000}
_PLAIN, _NORMALISED = {**_RATE, "do_normalize": False}, {**_RATE, "do_normalize": True}

RANDOM: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "wav2vec2-tiny": ("wav2vec2", {**_TINY, **_TINY_FRONT}, _NORMALISED),
    "wav2vec2-layer-tiny": ("wav2vec2", {**_TINY, **_TINY_FRONT, **_STABLE}, _NORMALISED),
    "hubert-tiny": ("hubert", {**_TINY, **_TINY_FRONT}, _NORMALISED),
    "hubert-batchnorm-tiny": ("hubert", {**_TINY, **_TINY_FRONT, "conv_pos_batch_norm": True}, _NORMALISED),
    "wavlm-tiny": ("wavlm", {**_TINY, **_TINY_FRONT}, _PLAIN),
    "data2vec-tiny": (
        "data2vec-audio",
        {**_TINY, **_TINY_FRONT, "conv_pos_kernel_size": 7, "num_conv_pos_embeddings": 5},
        _NORMALISED,
    ),
    "unispeech-sat-tiny": ("unispeech-sat", {**_TINY, **_TINY_FRONT}, _NORMALISED),
    "conformer-tiny": ("wav2vec2-conformer", {**_TINY, **_TINY_FRONT, "conv_depthwise_kernel_size": 7}, _NORMALISED),
    "whisper-tiny": (
        "whisper",
        {
            "d_model": 24,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 48,
            "decoder_layers": 1,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 48,
            "num_mel_bins": 80,
            "max_source_positions": 200,
            "vocab_size": 8,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
        },
        {**_RATE, "chunk_length": 4, "feature_size": 80, "hop_length": 160, "n_fft": 400},
    ),
    "whisper-base": (
        "whisper",
        {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048},
        {**_RATE, "chunk_length": 30, "feature_size": 80, "hop_length": 160, "n_fft": 400},
    ),
    "ast-tiny": (
        "audio-spectrogram-transformer",
        {**_TINY, "max_length": 256},
        {**_RATE, "max_length": 256, "num_mel_bins": 128},
    ),
    "wav2vec2-reduced": ("wav2vec2", _REDUCED, _NORMALISED),
    "wavlm-reduced": ("wavlm", _REDUCED, _PLAIN),
    "wav2vec2-base": ("wav2vec2", {}, _NORMALISED),
    "hubert-base": ("hubert", {}, _NORMALISED),
    "wavlm-base": ("wavlm", {}, _PLAIN),
    "data2vec-base": ("data2vec-audio", {}, _NORMALISED),
}
"""Encoders with random weights: name -> model_type, settings of its config, preprocessor settings.

`random:NAME` stands wherever a checkpoint may: the tests need no download, speed is measured without one, and a
leaderboard can hold what the architecture alone is worth. `base` is the published size of each family, `reduced` has a
third of its width in the transformer and a quarter in the front end.
"""
RANDOM_SEED = 0


def random_parts(name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The entry of `RANDOM` for the text behind `random:`."""
    if name not in RANDOM:
        raise unknown("random encoder", f"random:{name}", [f"random:{known}" for known in RANDOM])
    return RANDOM[name]
