"""A trained encoder of spoken words in a file of its own: from a word's sound to its vector, without any text.

`serbench words speech2vec` writes it beside its vectors. The file is safetensors: the weights of the encoder (the
decoder serves its training alone), mean and deviation of the MFCCs that it was trained on, and in the metadata all
settings of the training and of the cuts. A vector of an occurrence has length 1, as before the mean over all
occurrences that the file of vectors holds (`words/speech2vec.py`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ...datasets.core.config import from_dict, to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write, canonical_json
from ..core.process import one_thread
from ..words.speech2vec import Config, Trained
from ..words.speech2vec_network import read_words
from ..words.spoken_words import CutConfig, Cuts, Moments, filled_up, mfcc

Array = npt.NDArray[np.float32]
SUFFIX = ".encoder.safetensors"
KIND, SCHEMA = "speech2vec encoder", 1
_LSTM = "encoder."


@dataclass(frozen=True, eq=False)
class WordEncoder:
    """The encoder of a Speech2Vec network, and what its sound is made by.

    Attributes
    ----------
    lstm : bidirectional, of the frames of a word
    config, cuts : settings of the training and of the MFCCs
    mean, deviation : of each coefficient, (coefficient,)
    """

    lstm: nn.LSTM
    config: Config
    cuts: CutConfig
    mean: Moments
    deviation: Moments

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return 2 * self.lstm.hidden_size

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of what the file holds, 64 hexadecimal digits."""
        return hashlib.sha256(_content(self)).hexdigest()

    @torch.inference_mode()
    def vectors(self, sounds: Sequence[Array]) -> Array:
        """Vectors (word, dim) of length 1 of words, each a signal (samples,) at the rate of `cuts`.

        Each word is read alone, so that its numbers follow from its own sound and nothing else.
        """
        out = np.empty((len(sounds), self.dim), np.float32)
        with one_thread(torch.device("cpu")):
            for k, sound in enumerate(sounds):
                frames = mfcc(sound, self.cuts)[: self.cuts.frames]
                filled, lengths = filled_up([frames], self.cuts, self.mean, self.deviation)
                out[k] = self.states(torch.from_numpy(filled), torch.from_numpy(lengths))[0].numpy()
        return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))

    @torch.inference_mode()
    def states(self, sound: Tensor, lengths: Tensor) -> Tensor:
        """Last states (word, dim) for standardised words (word, frame, coefficient) and their lengths (word,)."""
        _, (hidden, _) = read_words(self.lstm, sound, lengths, masked=self.config.padding == "masked")
        return hidden


def encoder_of(trained: Trained, cuts: Cuts, config: Config, cut_config: CutConfig) -> WordEncoder:
    """The encoder of a training on `cuts`, which were made with `cut_config`."""
    if cuts.mean is None or cuts.deviation is None:
        raise SerbenchError("the cuts do not say what they were standardised by. Expected those of cut_words.")
    return WordEncoder(trained.network.encoder.cpu().eval(), config, cut_config, cuts.mean, cuts.deviation)


def beside(vectors: Path) -> Path:
    """The encoder's file beside a file of vectors: `sound.vec.encoder.safetensors`."""
    return vectors.with_name(f"{vectors.name}{SUFFIX}")


def save_encoder(path: Path, encoder: WordEncoder) -> None:
    """Write an encoder, at once or not at all."""
    content = _content(encoder)
    atomic_write(path, lambda stream: stream.write(content))


def load_encoder(path: Path | str) -> WordEncoder:
    """Read what `save_encoder` has written.

    Raises
    ------
    SerbenchError
        If the file is missing, or no such encoder.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise SerbenchError(
            f"there is no encoder {str(path)!r}. Expected the file *{SUFFIX} that 'serbench words speech2vec' writes "
            "beside its vectors."
        )
    try:
        with safetensors.safe_open(file, framework="pt") as content:
            head = json.loads((content.metadata() or {}).get("serbench", "{}"))
            tensors = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a mapping)
        return _encoder(head, tensors)
    except (OSError, safetensors.SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise SerbenchError(
            f"{str(path)!r} holds no encoder of spoken words: {str(error).splitlines()[0]}. Expected the file "
            f"*{SUFFIX} that 'serbench words speech2vec' writes beside its vectors."
        ) from error


def _encoder(head: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> WordEncoder:
    if (head.get("kind"), head.get("schema")) != (KIND, SCHEMA):
        raise ValueError(f"it is of the kind {head.get('kind')!r} and schema {head.get('schema')}")
    config, cuts = from_dict(Config, head["config"]), from_dict(CutConfig, head["cuts"])
    weights = {key.removeprefix(_LSTM): value for key, value in tensors.items() if key.startswith(_LSTM)}
    lstm = nn.LSTM(cuts.coefficients, config.dim // 2, batch_first=True, bidirectional=True)
    lstm.load_state_dict(weights)
    mean, deviation = (tensors[name].numpy() for name in ("mean", "deviation"))
    return WordEncoder(lstm.eval(), config, cuts, mean, deviation)


def _content(encoder: WordEncoder) -> bytes:
    tensors = {f"{_LSTM}{key}": value.contiguous() for key, value in encoder.lstm.state_dict().items()}
    tensors |= {name: torch.from_numpy(getattr(encoder, name)) for name in ("mean", "deviation")}
    facts = {"kind": KIND, "schema": SCHEMA}
    head = {**facts, "config": to_dict(encoder.config), "cuts": to_dict(encoder.cuts)}
    return safetensors.torch.save(tensors, metadata={"serbench": canonical_json(head)})
