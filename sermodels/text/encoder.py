"""An encoder of text: where its checkpoint lies, its tokens, and its states; nothing is downloaded.

Tokens are those of the checkpoint's own fast tokenizer, which is kept as text (the contents of tokenizer.json), so that
a saved model needs no checkpoint. `random:bert-tiny` is a small BERT with random weights that reads bytes: for trials
and tests without a checkpoint.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...datasets.core.errors import SerbenchError, unknown
from ...features.encoders.checkpoint import RANDOM_PREFIX, folder_of, weight_files
from ...features.encoders.library import reading, transformers
from ...features.encoders.loading import quiet

RANDOM: dict[str, dict[str, Any]] = {
    "bert-tiny": {
        "model_type": "bert",
        "vocab_size": 259,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 258,
    }
}
"""Encoders with random weights: name -> settings of their configuration."""
EXPECTED = "a folder with config.json, tokenizer.json and model.safetensors of a text encoder, such as BERT's"
BEGIN, END, FIRST = 1, 2, 3
"""Tokens of a text's begin and end in bytes, and the token of byte 0; 0 is padding."""


@dataclass(frozen=True)
class TextSource:
    """A checkpoint that was found: its settings, tokenizer (empty = bytes), folder (None = random), identity."""

    settings: Mapping[str, Any] = field(compare=False)
    tokenizer: str = field(compare=False)
    folder: Path | None
    identity: tuple[tuple[str, str], ...]


@lru_cache(maxsize=4)
def text_source(name: str, revision: str) -> TextSource:
    """Find a text encoder: a folder, a repository in the local cache, or random:NAME.

    Raises
    ------
    SerbenchError
        When there is none, it is no encoder of text, or its tokenizer is not a fast one.
    """
    if not name:
        raise SerbenchError(
            "no text encoder is named. Type its folder, or its name on the Hugging Face hub: --set model.encoder=NAME. "
            "random:bert-tiny needs no checkpoint."
        )
    if name.startswith(RANDOM_PREFIX):
        given = name.removeprefix(RANDOM_PREFIX)
        if given not in RANDOM:
            raise unknown("random text encoder", name, [f"{RANDOM_PREFIX}{one}" for one in RANDOM])
        return TextSource(RANDOM[given], "", None, (("random", name),))
    folder, identity = folder_of(name, revision)
    with reading(folder, EXPECTED) as arguments:
        config = transformers().AutoConfig.from_pretrained(folder, **arguments)
        tokenizer = transformers().AutoTokenizer.from_pretrained(folder, use_fast=True, **arguments)
    if getattr(config, "is_encoder_decoder", False) or not hasattr(config, "vocab_size"):
        raise SerbenchError(f"{name} is a {config.model_type}, which is no encoder of text. Expected {EXPECTED}.")
    if not getattr(tokenizer, "is_fast", False):
        raise SerbenchError(f"the tokenizer of {name} has no tokenizer.json. Expected {EXPECTED}.")
    weight_files(folder, name)
    settings = json.loads(config.to_json_string(use_diff=False))
    return TextSource(settings, tokenizer.backend_tokenizer.to_str(), folder, tuple(identity.items()))


class Tokens:
    """Texts as numbers of tokens, at most so many of each, padded.

    Parameters
    ----------
    tokenizer : contents of a tokenizer.json; empty = bytes
    most : tokens of a text, with those of its begin and end
    padding : number that stands behind a text's end
    """

    def __init__(self, tokenizer: str, most: int, padding: int) -> None:
        self._most, self._padding = most, padding
        self._tokenizer: Any = None
        if tokenizer:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "tokenizer.json")
                path.write_text(tokenizer, encoding="utf-8")
                self._tokenizer = transformers().PreTrainedTokenizerFast(tokenizer_file=str(path))

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Numbers (text, token) int64, and which of them are there (text, token) bool; each text has one at least."""
        rows = [self._row(text) or [self._padding] for text in texts]
        numbers = torch.full((len(rows), max(map(len, rows))), self._padding)
        mask = torch.zeros(numbers.shape, dtype=torch.bool)
        for k, row in enumerate(rows):
            numbers[k, : len(row)] = torch.tensor(row)
            mask[k, : len(row)] = True
        return numbers, mask

    def _row(self, text: str) -> list[int]:
        if self._tokenizer is None:
            return [BEGIN, *(FIRST + byte for byte in text.encode()[: self._most - 2]), END]
        numbers: list[int] = self._tokenizer(text, truncation=True, max_length=self._most)["input_ids"]
        return numbers


def longest(settings: Mapping[str, Any], wanted: int) -> int:
    """The most tokens of a text: what is wanted, within what the encoder has positions for."""
    positions = int(settings.get("max_position_embeddings") or 0)
    return min(wanted, positions - 2) if positions > 2 else wanted  # some families count positions from 2


def build_encoder(settings: Mapping[str, Any], folder: Path | None) -> nn.Module:
    """The network, with the weights in a folder or fresh ones, in float32; a pooler behind it is left out."""
    library = transformers()
    with quiet():
        if folder is None:
            own = {key: value for key, value in settings.items() if key != "model_type"}
            model = library.AutoModel.from_config(library.AutoConfig.for_model(settings["model_type"], **own))
        else:
            with reading(folder, EXPECTED) as arguments:
                model = library.AutoModel.from_pretrained(folder, use_safetensors=True, **arguments)
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    network: nn.Module = model.float()
    return network


def pooled(encoder: nn.Module, numbers: Tensor, mask: Tensor, how: str) -> Tensor:
    """One vector per text, (text, width): the mean of the states of its tokens, or the first token's."""
    states = encoder(input_ids=numbers, attention_mask=mask.long()).last_hidden_state  # (text, token, width)
    if how == "first":
        return torch.as_tensor(states[:, 0])
    there = mask[:, :, None].to(states.dtype)
    return torch.as_tensor((states * there).sum(1) / there.sum(1))
