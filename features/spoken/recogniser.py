"""What a Whisper checkpoint hears: text and word times of speech that has no transcript.

The text is Whisper's greedy decoding (Radford et al. 2023, arXiv:2212.04356) by the transformers library, token by
token; word times are those of the cross-attention for this text (`words/cross_attention.py`). A signal that is longer
than a window is heard window by window; the next one begins behind the last word that ends well before the cut.

A recogniser writes words where nobody speaks. So a window has none

- where its loudest 10 ms are below `SILENT_DB` of full scale: it is not decoded at all;
- where the decoder's own token says that nothing is said with a probability above 0.6, and the text is unlikely (mean
  log probability of its tokens below -1): the rule of the paper's section 4.5;
- where the text repeats itself: its bytes compress by more than 2.4. The paper then draws other texts at random; here
  there is none.

Texts are kept like features: this is an extractor whose array holds the bytes of what was heard (`Heard`), so the cache
addresses it by the audio's content, the checkpoint and the language, and checks it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest, file_sha256
from ..core.feature_extractor import Array, FeatureExtractor
from ..core.process import give_back_memory
from ..encoders.checkpoint import Checkpoint, locate
from ..words.cross_attention import LOUDNESS_SECONDS, CrossAttentionAligner
from ..words.whisper import Whisper, is_whisper

SILENT_DB, NO_SPEECH, UNLIKELY, COMPRESSED = -70.0, 0.6, -1.0, 2.4
SILENCE, NOTHING_SAID, REPEATED = "silence", "nothing is said", "the text repeats itself"
DOUBTFUL = float(np.exp(UNLIKELY))
"""Texts of a lower confidence are likely to be wrong."""
_VOCABULARY = ("tokenizer.json", "generation_config.json")
Word = tuple[str, float, float]
"""Text, start and end [s]."""


@dataclass(frozen=True)
class Heard:
    """What was heard.

    Attributes
    ----------
    text : in the recogniser's own spelling
    words : its words with their times [s]
    confidence : geometric mean of the probabilities of its tokens, 0 .. 1
    empty : why there are no words in a part of it, or nothing
    """

    text: str
    words: tuple[Word, ...]
    confidence: float
    empty: str = ""


@dataclass(frozen=True)
class Config:
    """Settings of the recogniser."""

    checkpoint: str = option("", "folder of a Whisper checkpoint, or its name in the hub's cache", source="free choice")
    language: str = option("", "ISO 639-1 code; empty for a checkpoint that knows English alone", source="free choice")


class Recogniser(FeatureExtractor):
    """The bytes of what is heard, (byte, 1); `read` makes a `Heard` of them."""

    version: ClassVar[int] = 2  # 2: a click is not the beginning of the first word
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "torch", "transformers")
    parallel: ClassVar[bool] = False
    dim, hop_seconds = 1, None

    def __init__(self, config: Config, device: str = "cpu") -> None:
        super().__init__(config)
        self.source: Checkpoint = locate(config.checkpoint)
        if self.source.folder is None or not is_whisper(self.source.folder):
            raise SerbenchError(
                f"{config.checkpoint!r} is no Whisper model: it is of the kind {self.source.geometry.family}. Expected "
                "the folder of a Whisper checkpoint; a CTC model aligns known words: serbench words align."
            )
        self.model, self.device, self.sampling_rate = self.source.short, device, self.source.geometry.sampling_rate
        self.name = f"asr:{self.model}"

    def prepare(self) -> None:
        """Load the checkpoint; refuse a language that it does not know."""
        self._whisper.prompt(self._language)

    def release(self) -> None:
        """Give the memory of the checkpoint back."""
        _loaded.cache_clear()
        give_back_memory()

    def extract(self, signal: Array) -> Array:
        """What is heard in a signal (samples,), as bytes (byte, 1)."""
        text = json.dumps(asdict(self.hear(signal)), ensure_ascii=False, separators=(",", ":"))
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.float32)[:, None]

    def hear(self, signal: Array) -> Heard:
        """Text, word times and confidence of a signal (samples,)."""
        aligner, rate = CrossAttentionAligner(self._whisper), self.sampling_rate
        window, start, parts = round(self._whisper.window_seconds * rate), 0, list[Heard]()
        while start < len(signal):
            part, last = signal[start : start + window], start + window >= len(signal)
            heard = self._window(aligner, part, last=last)
            words = tuple((word, a + start / rate, b + start / rate) for word, a, b in heard.words)
            parts.append(Heard(heard.text, words, heard.confidence, heard.empty))
            start += max(1, round(heard.words[-1][2] * rate)) if heard.words and not last else window
        return _joined(parts)

    def identity(self) -> dict[str, Any]:
        """What decides the text, wherever the checkpoint lies."""
        return {**super().identity(), "config": {"language": self.config.language}}

    def signature(self) -> str:
        """Name, version, and digest of language and checkpoint."""
        return f"{self.name}.v{self.version}+{digest([self.config.language, dict(self.extra_identity())], 8)}"

    def extra_identity(self) -> Mapping[str, str]:
        """The checkpoint, and its vocabulary."""
        assert self.source.folder is not None
        files = [self.source.folder / name for name in _VOCABULARY]
        return {**dict(self.source.identity), "vocabulary": digest([file_sha256(f) for f in files if f.is_file()])}

    def _window(self, aligner: CrossAttentionAligner, signal: Array, *, last: bool) -> Heard:
        """What is heard in one window; words near the end of one that is not the last are left to the next."""
        if loudest_db(signal, self.sampling_rate) < SILENT_DB:
            return Heard("", (), 1.0, SILENCE)
        heard = self._whisper.hear(signal)
        words = self._whisper.recognise(heard, self._language).split()
        if repeats(" ".join(words)):
            return Heard("", (), 0.0, REPEATED)
        spans, confidence = aligner.in_window(words, signal, heard, self._language, last=last)
        if not spans or (confidence < DOUBTFUL and self._whisper.silence(heard) > NO_SPEECH):
            return Heard("", (), confidence, NOTHING_SAID)
        kept = tuple((word, round(a, 4), round(b, 4)) for word, (a, b) in zip(words, spans, strict=False))
        return Heard(" ".join(word for word, _, _ in kept), kept, confidence)

    @property
    def _language(self) -> str | None:
        return self.config.language or None

    @property
    def _whisper(self) -> Whisper:
        assert self.source.folder is not None
        return _loaded(self.source.folder, self.device)


def read(array: Array) -> Heard:
    """What an array (byte, 1) of a `Recogniser` says."""
    held = json.loads(array[:, 0].astype(np.uint8).tobytes().decode("utf-8"))
    words = tuple((str(word), float(start), float(end)) for word, start, end in held.pop("words"))
    return Heard(words=words, **held)


def loudest_db(signal: Array, sampling_rate: int) -> float:
    """Level of the loudest 10 ms of a signal (samples,) in decibels of full scale; -inf for digital silence."""
    size = max(1, round(LOUDNESS_SECONDS * sampling_rate))
    padded = np.pad(signal.astype(np.float64), (0, -len(signal) % size))
    power = float(np.square(padded).reshape(-1, size).mean(1).max()) if len(padded) else 0.0
    return float(10 * np.log10(power)) if power > 0 else float("-inf")


def repeats(text: str) -> bool:
    """Whether a text compresses so well that a decoder ran in circles."""
    content = text.encode("utf-8")
    return bool(content) and len(content) / len(zlib.compress(content)) > COMPRESSED


def _joined(parts: list[Heard]) -> Heard:
    """What was heard in all windows; the confidence is the mean over the words."""
    words = tuple(word for part in parts for word in part.words)
    weighed = sum(part.confidence * len(part.words) for part in parts)
    lowest = min((part.confidence for part in parts), default=0.0)
    reasons = dict.fromkeys(part.empty for part in parts if part.empty)
    text = " ".join(part.text for part in parts if part.text)
    return Heard(text, words, weighed / len(words) if words else lowest, "; ".join(reasons))


@lru_cache(maxsize=1)
def _loaded(folder: Path, device: str) -> Whisper:
    return Whisper(folder, device)
