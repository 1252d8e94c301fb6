"""A trained encoder of spoken words in a file of its own: from a word's sound to its vector, without any text.

`serbench words speech2vec` writes it beside its vectors. The file is safetensors: the weights of the encoder (the
decoder serves its training alone), mean and deviation of the MFCCs that it was trained on, and in the metadata all
settings of the training and of the cuts. A vector of an occurrence has length 1, as before the mean over all
occurrences that the file of vectors holds (`words/speech2vec.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...datasets.core.config import from_dict, to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_bytes
from ..core.process import one_thread
from ..core.tensor_file import Arrays, Kind
from ..words.speech2vec import Config, Trained
from ..words.speech2vec_network import read_words
from ..words.spoken_words import CutConfig, Cuts, Moments, filled_up, mfcc

Array = npt.NDArray[np.float32]
SUFFIX = ".encoder.safetensors"
_EXPECTED = f"Expected the file *{SUFFIX} that 'serbench words speech2vec' writes beside its vectors."
_KIND = Kind("speech2vec encoder", 1, "encoder of spoken words", _EXPECTED)
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
    write_bytes(path, _content(encoder))


def load_encoder(path: Path | str) -> WordEncoder:
    """Read what `save_encoder` has written; raises `SerbenchError` if the file is missing, or no such encoder."""
    head, arrays = _KIND.read(path)
    try:
        return _encoder(head, arrays)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise _KIND.wrong(path, error) from error


def _encoder(head: Mapping[str, Any], arrays: Arrays) -> WordEncoder:
    config, cuts = from_dict(Config, head["config"]), from_dict(CutConfig, head["cuts"])
    weights = {key.removeprefix(_LSTM): torch.from_numpy(a) for key, a in arrays.items() if key.startswith(_LSTM)}
    lstm = nn.LSTM(cuts.coefficients, config.dim // 2, batch_first=True, bidirectional=True)
    lstm.load_state_dict(weights)
    return WordEncoder(lstm.eval(), config, cuts, arrays["mean"], arrays["deviation"])


def _content(encoder: WordEncoder) -> bytes:
    arrays = {f"{_LSTM}{key}": value.numpy() for key, value in encoder.lstm.state_dict().items()}
    arrays |= {name: getattr(encoder, name) for name in ("mean", "deviation")}
    return _KIND.content({"config": to_dict(encoder.config), "cuts": to_dict(encoder.cuts)}, arrays)
