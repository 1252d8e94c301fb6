"""A Whisper checkpoint (Radford et al. 2023, arXiv:2212.04356) of the transformers library, from a local folder.

It hears windows of 30 seconds. A known text is forced through its decoder, which shows where each token looks and how
likely the text is; or the decoder says by itself what it hears. Nothing is downloaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.errors import SerbenchError
from ..core.process import keep_freed_memory
from ..encoders.library import reading, transformers
from ..encoders.loading import quiet

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Forced:
    """A text that was forced through the decoder.

    Attributes
    ----------
    attention : weights (head, token, frame) of the heads that follow the speech, for the frames that the signal fills;
        the tokens are those of the text and the end of the text, each where the decoder is about to say it
    log_probabilities : of the same tokens, (token,)
    """

    attention: npt.NDArray[np.float32]
    log_probabilities: npt.NDArray[np.float32]

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities of the text's tokens, 0 .. 1."""
        return float(np.exp(self.log_probabilities[:-1].mean())) if len(self.log_probabilities) > 1 else 0.0


class Whisper:
    """Encoder, decoder and vocabulary.

    Parameters
    ----------
    folder : local folder of the checkpoint
    device : of torch, such as "cpu" or "cuda"

    Raises
    ------
    SerbenchError
        If the folder holds no such checkpoint.
    """

    def __init__(self, folder: Path | str, device: str = "cpu") -> None:
        self.folder, self.device = Path(folder).expanduser(), torch.device(device)
        keep_freed_memory()
        model, self._prepare, self.tokenizer = _checkpoint(self.folder)
        self.model = model.to(self.device).eval()
        self.sampling_rate = int(self._prepare.sampling_rate)
        self.window_seconds = float(self._prepare.chunk_length)
        self.frame_seconds = self.window_seconds / int(model.config.max_source_positions)
        self.longest = int(model.config.max_target_positions)

    @cached_property
    def languages(self) -> list[str]:
        """ISO 639-1 codes that it knows; empty for a checkpoint that knows English alone."""
        known = getattr(self.model.generation_config, "lang_to_id", None) or {}
        return sorted(token.strip("<|>") for token in known)

    @cached_property
    def heads(self) -> list[tuple[int, int]]:
        """(layer, head) of the cross-attention that follows the speech; else all of the upper half of the layers."""
        config = self.model.config
        chosen = getattr(self.model.generation_config, "alignment_heads", None)
        if chosen:
            return [(int(layer), int(head)) for layer, head in chosen]
        upper = range(config.decoder_layers // 2, config.decoder_layers)
        return [(layer, head) for layer in upper for head in range(config.decoder_attention_heads)]

    def prompt(self, language: str | None) -> list[int]:
        """The tokens before a text in a language.

        Raises
        ------
        SerbenchError
            If the checkpoint does not know the language, or needs one and there is none.
        """
        if not self.languages:
            if language not in (None, "en"):
                raise SerbenchError(
                    f"the checkpoint {self.folder.name!r} knows English alone, the text is in {language!r}. Expected a "
                    "multilingual Whisper checkpoint (without .en in its name)."
                )
            names = ["<|startoftranscript|>", "<|notimestamps|>"]
        elif language not in self.languages:
            what = "no language is known of the item" if language is None else f"the language {language!r} is unknown"
            raise SerbenchError(
                f"{what} to the checkpoint {self.folder.name!r}. Expected one of {', '.join(self.languages)}; type "
                "--language de, for example."
            )
        else:
            names = ["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>", "<|notimestamps|>"]
        return [int(self.tokenizer.convert_tokens_to_ids(name)) for name in names]

    def pieces(self, word: str) -> list[int]:
        """The tokens of a word behind a blank."""
        tokens: list[int] = self.tokenizer(f" {word}", add_special_tokens=False).input_ids
        return tokens

    @torch.inference_mode()
    def hear(self, signal: Array) -> Tensor:
        """What the encoder makes of a signal (samples,) of one window at most: (1, frame, dim), silence behind it."""
        prepared = self._prepare(signal, sampling_rate=self.sampling_rate, return_tensors="pt").input_features
        heard: Tensor = self.model.model.encoder(prepared.to(self.device)).last_hidden_state
        return heard

    @torch.inference_mode()
    def force(self, heard: Tensor, tokens: Sequence[int], frames: int, language: str | None) -> Forced:
        """Force the tokens of a text through the decoder that listens to `heard`, of which `frames` are filled."""
        before, end = self.prompt(language), int(self.tokenizer.eos_token_id)
        said = torch.tensor([[*before, *tokens, end]], device=self.device)
        out = self.model(decoder_input_ids=said, encoder_outputs=(heard,), output_attentions=True)
        chosen = torch.stack([out.cross_attentions[layer][0, head] for layer, head in self.heads])
        at = slice(len(before) - 1, -1)
        log_probabilities = out.logits[0, at].float().log_softmax(-1).gather(1, said[0, len(before) :, None])[:, 0]
        attention = standardised(chosen[:, :, :frames].float())[:, at]
        return Forced(attention.cpu().numpy(), log_probabilities.cpu().numpy())

    @torch.inference_mode()
    def recognise(self, heard: Tensor, language: str | None) -> str:
        """The text that the decoder finds likeliest, token by token."""
        before = self.prompt(language)
        settings = {"do_sample": False, "num_beams": 1, "max_new_tokens": self.longest - len(before) - 1}
        library = transformers().modeling_outputs.BaseModelOutput
        with quiet():
            found = self.model.generate(
                encoder_outputs=library(last_hidden_state=heard),
                decoder_input_ids=torch.tensor([before], device=self.device),
                **settings,
            )
        text: str = self.tokenizer.decode(found[0], skip_special_tokens=True)
        return text.strip()

    @torch.inference_mode()
    def silence(self, heard: Tensor) -> float:
        """Probability, by the decoder's own token for it, that nothing is said; 0 where the vocabulary has none."""
        names = ("<|nospeech|>", "<|nocaptions|>")
        tokens = [self.tokenizer.convert_tokens_to_ids(name) for name in names]
        token = next((t for t in tokens if t is not None and t != self.tokenizer.unk_token_id), None)
        if token is None:
            return 0.0
        start = torch.tensor([self.prompt(self.languages[0] if self.languages else None)[:1]], device=self.device)
        said = self.model(decoder_input_ids=start, encoder_outputs=(heard,)).logits[0, -1].float().softmax(-1)
        return float(said[token])

    def frames(self, samples: int) -> int:
        """Frames that so many samples fill, at least in part."""
        return max(1, math.ceil(samples / (self.frame_seconds * self.sampling_rate)))


def standardised(attention: Tensor) -> Tensor:
    """Weights (head, token, frame) with mean 0 and variance 1 over the tokens of each head and frame."""
    std, mean = torch.std_mean(attention, dim=1, keepdim=True, correction=0)
    return (attention - mean) / std.clamp_min(1e-10)


def is_whisper(folder: Path) -> bool:
    """Whether a folder holds a Whisper checkpoint."""
    try:
        config = json.loads((folder.expanduser() / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads the checkpoint says what is wrong with it
    return isinstance(config, dict) and config.get("model_type") == "whisper"


def _checkpoint(folder: Path) -> tuple[Any, Any, Any]:
    """Model, preparation of signals, and vocabulary."""
    library = transformers()
    files = "a Whisper model with model.safetensors, preprocessor_config.json and tokenizer.json"
    with reading(folder, files) as local, quiet():
        prepare = library.WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True)
        tokenizer = library.AutoTokenizer.from_pretrained(folder, **local)
        model = library.WhisperForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, attn_implementation="eager", dtype=torch.float32, **local
        )
    return model, prepare, tokenizer
