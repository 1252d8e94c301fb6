"""Forced alignment with the emissions of a CTC model of the transformers library, from a local folder.

Any checkpoint that `AutoModelForCTC` and `AutoProcessor` read (wav2vec 2.0, HuBERT, WavLM, MMS ...), weights in
safetensors. Nothing is downloaded. Long signals are cut into windows that overlap; of each window the frames near its
cut ends are thrown away, since they lack context.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.errors import SerbenchError
from ..encoders.library import reading, transformers
from .aligner import Aligned, Span

WINDOW_SECONDS, MARGIN_SECONDS = 30.0, 2.0
Array = npt.NDArray[np.float32]


class CTCAligner:
    """A CTC model and its alphabet.

    Parameters
    ----------
    folder : local folder of the checkpoint
    device : of torch, such as "cpu" or "cuda"

    Raises
    ------
    SerbenchError
        If the folder holds no such checkpoint.
    """

    source, doubtful = "forced", 0.1

    def __init__(self, folder: Path | str, device: str = "cpu") -> None:
        self.folder, self.device = Path(folder).expanduser(), torch.device(device)
        model, processor = _checkpoint(self.folder)
        self.model = model.to(self.device).eval()
        self.sampling_rate = int(processor.feature_extractor.sampling_rate)
        self._prepare = processor.feature_extractor
        vocabulary: dict[str, int] = processor.tokenizer.get_vocab()
        self.blank = int(model.config.pad_token_id if model.config.pad_token_id is not None else 0)
        special = set(processor.tokenizer.all_special_tokens)
        self.alphabet = {t: i for t, i in vocabulary.items() if t not in special and len(t) == 1 and i != self.blank}
        self.separator = vocabulary.get(getattr(processor.tokenizer, "word_delimiter_token", None) or "|")
        self.stride = int(np.prod(getattr(model.config, "conv_stride", (320,))))

    @property
    def frame_seconds(self) -> float:
        """Distance of two frames of emissions in seconds."""
        return self.stride / self.sampling_rate

    def spell(self, word: str) -> list[int]:
        """The word's characters that the model knows, in lower, upper or their own case; accents fall where need be."""
        letters = []
        for c in unicodedata.normalize("NFC", word):
            forms = (c, c.lower(), c.upper(), *(unicodedata.normalize("NFD", f)[0] for f in (c.lower(), c.upper())))
            known = next((self.alphabet[f] for f in forms if f in self.alphabet), None)
            if known is not None and known != self.separator:
                letters.append(known)
        return letters

    def emissions(self, signal: Array) -> Tensor:
        """Log-probabilities (frame, character) of a signal (samples,) at `sampling_rate`."""
        window, margin = (
            round(s * self.sampling_rate) // self.stride * self.stride for s in (WINDOW_SECONDS, MARGIN_SECONDS)
        )
        if len(signal) <= window:
            return self._emit(signal)
        step, parts = window - 2 * margin, []
        for first in range(0, len(signal) - 2 * margin, step):
            last = first + window >= len(signal)
            scores = self._emit(signal[first : len(signal) if last else first + window])
            head = 0 if first == 0 else margin // self.stride
            parts.append(scores[head:] if last else scores[head : (margin + step) // self.stride])
            if last:
                break
        return torch.cat(parts)

    def align(self, words: Sequence[str], signal: Array, language: str | None = None) -> Aligned:
        """Start and end of each word in a signal (samples,) at `sampling_rate`; None for words that can't be spelt.

        All are None where the signal has too few frames for the text. The confidence is the geometric mean of the
        probabilities of the path's characters and blanks. A CTC model's language is that of its alphabet.
        """
        spelt = [self.spell(word) for word in words]
        times: list[Span | None] = [None] * len(words)
        if not any(spelt) or len(signal) < self.stride:
            return Aligned(times, 0.0)
        tokens, owners = self._separated(spelt)
        emissions = self.emissions(signal)
        frames = best_path(emissions, tokens, self.blank)
        if frames is None:
            return Aligned(times, 0.0)
        for owner, span in zip(owners, frames, strict=True):
            if owner >= 0:
                before = times[owner]
                start = span[0] * self.frame_seconds if before is None else before[0]
                times[owner] = (start, min(span[1] * self.frame_seconds, len(signal) / self.sampling_rate))
        return Aligned(times, _confidence(emissions, tokens, frames, self.blank))

    def _separated(self, spelt: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
        """Tokens of all words with the separator between them, and the word of each token (-1 = separator)."""
        tokens: list[int] = []
        owners: list[int] = []
        for k, letters in enumerate(spelt):
            if letters and tokens and self.separator is not None:
                tokens.append(self.separator)
                owners.append(-1)
            tokens += letters
            owners += [k] * len(letters)
        return tokens, owners

    @torch.inference_mode()
    def _emit(self, signal: Array) -> Tensor:
        inputs = self._prepare(signal, sampling_rate=self.sampling_rate, return_tensors="pt")
        logits: Tensor = self.model(inputs["input_values"].to(self.device)).logits[0]
        return logits.float().log_softmax(-1).cpu()


def _confidence(emissions: Tensor, tokens: Sequence[int], frames: Sequence[Span], blank: int) -> float:
    """Geometric mean of the probabilities of what a path says in each frame."""
    said = torch.full((len(emissions),), blank)
    for token, (first, behind) in zip(tokens, frames, strict=True):
        said[int(first) : int(behind)] = token
    return float(emissions.gather(1, said[:, None]).mean().exp())


def best_path(emissions: Tensor, tokens: Sequence[int], blank: int) -> list[tuple[int, int]] | None:
    """First frame and frame behind the last of each token on the best path through the emissions (frame, character).

    The states of a path are blank, token, blank, token, ..., blank; from frame to frame it stays, goes one state on,
    or two: over a blank between two tokens that differ. The best one is found by Viterbi's recursion, all states of a
    frame at once; of paths that are equally good, the one that stays.

    None where there are fewer frames than a path needs: one for each token, and a blank between two that are equal.
    """
    repeats = sum(a == b for a, b in itertools.pairwise(tokens))
    if len(emissions) < len(tokens) + repeats:
        return None
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    path = _best_states(emissions.numpy().astype(np.float64), states)
    first, behind = (np.searchsorted(path, np.arange(1, len(states), 2), side) for side in ("left", "right"))
    return list(zip(first.tolist(), behind.tolist(), strict=True))


def _best_states(emissions: npt.NDArray[np.float64], states: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The state of each frame (frames,) on the best path through the emissions (frame, character) of the states."""
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    steps = np.zeros((len(emissions), len(states)), np.uint8)
    best = np.full((3, len(states)), -np.inf)
    best[0, :2] = emissions[0, states[:2]]
    for t in range(1, len(emissions)):
        best[1, 1:] = best[0, :-1]
        best[2, 2:] = np.where(may_skip[2:], best[0, :-2], -np.inf)
        steps[t] = best.argmax(0)  # the first of equals: the shortest step
        best[0] = best.max(0) + emissions[t, states]
    path = np.empty(len(emissions), np.int64)
    path[-1] = len(states) - (1 if best[0, -1] > best[0, -2] else 2)
    for t in range(len(emissions) - 1, 0, -1):
        path[t - 1] = path[t] - steps[t, path[t]]
    return path


def _checkpoint(folder: Path) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise SerbenchError(
            f"{str(folder)!r} is no folder of a checkpoint. Expected a Whisper or a CTC model as transformers saves it "
            "(config.json, model.safetensors, preprocessor_config.json, vocabulary); nothing is downloaded."
        )
    library, expected = transformers(), "a CTC model with its processor and weights in model.safetensors"
    with reading(folder, expected) as local:
        config = library.AutoConfig.from_pretrained(folder, **local)
    if type(config) not in library.MODEL_FOR_CTC_MAPPING:
        raise SerbenchError(
            f"{str(folder)!r} is of the kind {config.model_type}, which is no CTC model. Expected {expected}."
        )
    with reading(folder, expected) as local:
        processor = library.AutoProcessor.from_pretrained(folder, **local)
        model = library.AutoModelForCTC.from_pretrained(folder, use_safetensors=True, **local)
    if not hasattr(processor, "tokenizer"):
        raise SerbenchError(f"{str(folder)!r} has no alphabet. Expected vocab.json beside config.json.")
    return model, processor
