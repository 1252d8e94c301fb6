"""Spoken words as matrices of equal size: MFCCs of each word's own stretch of sound, cut or filled up to a number of
frames.

Numbers are those of the public reproduction of Speech2Vec by Chen (arXiv:2209.10791; my-yy/s2v_rc): 13 cepstral
coefficients of 128 mel bands, window 512 and hop 512 samples at 16 kHz, 20 frames, each coefficient standardised by
mean and deviation over 10,000 random words. The coefficients are those of `librosa.feature.mfcc` (power spectrogram,
Slaney's mel bands, decibels with a floor 80 dB below the word's peak, orthonormal DCT-II).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.config import option, validate
from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library
from ...datasets.schema.corpus import Corpus
from ..core.audio import read_audio
from .vectors import SILENT, normalise

Array = npt.NDArray[np.float32]
Moments = npt.NDArray[np.float64]
_SOURCE = "reproduction"


@dataclass(frozen=True)
class CutConfig:
    """Settings of the cuts."""

    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", source=_SOURCE, low=1000)
    coefficients: int = option(13, "cepstral coefficients", source=_SOURCE, low=1)
    mels: int = option(128, "mel bands", source="librosa", low=2)
    n_fft: int = option(512, "window in samples", source=_SOURCE, low=16)
    hop: int = option(512, "distance of two frames in samples", source=_SOURCE, low=1)
    frames: int = option(
        20, "frames of a word; longer ones are cut, shorter ones filled with zeros", source=_SOURCE, low=1
    )
    sampled: int = option(10_000, "random words that mean and deviation are taken over", source=_SOURCE, low=1)
    min_seconds: float = option(0.01, "shorter words are left out", source="free choice", low=0)


@dataclass(frozen=True, eq=False)
class Cuts:
    """Occurrences of words, in the order in which they are said.

    Attributes
    ----------
    words : normalised word of each occurrence
    items : id of the utterance that it is from
    mfcc : (occurrence, frame, coefficient) float32, standardised; zero behind a word's end
    lengths : (occurrence,) number of frames that are not filled up
    failed : utterances that were left out, id -> reason
    short : words that were left out, being shorter than `min_seconds` or behind the end of the sound
    mean, deviation : what each coefficient was standardised by, (coefficient,)
    speakers : of each occurrence, "" where it is unknown; empty where no corpus says it
    spans : start and end in the item [s], (occurrence, 2)
    heard : what a frozen encoder makes of each, (occurrence, dim), where it is to be written (`judging/hearing.py`)
    """

    words: list[str]
    items: list[str]
    mfcc: Array
    lengths: npt.NDArray[np.int64]
    failed: Mapping[str, str] = field(default_factory=dict)
    short: int = 0
    mean: Moments | None = None
    deviation: Moments | None = None
    speakers: list[str] = field(default_factory=list)
    spans: npt.NDArray[np.float64] | None = None
    heard: Array | None = None

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the words and their sound."""
        hashed = hashlib.sha256("\n".join(self.words).encode("utf-8", "surrogatepass"))
        for array in (self.mfcc, self.heard):
            if array is not None:
                hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()

    def take(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> Cuts:
        """Some of the occurrences."""
        rows = np.asarray(rows, dtype=int)
        words, items = ([values[i] for i in rows.tolist()] for values in (self.words, self.items))
        speakers = [self.speakers[i] for i in rows.tolist()] if self.speakers else []
        arrays = {name: getattr(self, name) for name in ("mfcc", "lengths", "spans", "heard")}
        taken: dict[str, Any] = {name: None if array is None else array[rows] for name, array in arrays.items()}
        return replace(self, words=words, items=items, speakers=speakers, **taken)


def cut_words(
    corpus: Corpus,
    items: Sequence[str],
    words: Callable[[str], pd.DataFrame] | None = None,
    config: CutConfig | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Cuts:
    """Cut the words of utterances (or recordings) out of their audio.

    Parameters
    ----------
    items : ids
    words : id -> table of words (word, start, end [s]); default: the corpus's own
    seed : of the words that mean and deviation are taken over
    progress : called with the number of items done and of all

    Raises
    ------
    SerbenchError
        If no word is left. An item whose audio can't be read is listed in `failed`.
    """
    config = validate(config or CutConfig())
    said, owners, sounds, spans = [], [], [], []
    failed: dict[str, str] = {}
    short = 0
    for done, item in enumerate(items, 1):
        try:
            for word, part, span in _parts(corpus, item, words or corpus.words, config.sampling_rate):
                if len(part) < max(1, config.min_seconds * config.sampling_rate):
                    short += 1
                    continue
                said.append(word)
                owners.append(item)
                spans.append(span)
                sounds.append(mfcc(part, config)[: config.frames])
        except SerbenchError as error:
            failed[item] = str(error)
        if progress is not None:
            progress(done, len(items))
    if not sounds:
        reason = f" The first reason: {next(iter(failed.values()))}" if failed else ""
        raise SerbenchError(
            f"no word could be cut out of {len(items)} items of {corpus.name}. Expected word times and audio; "
            f"'serbench words align' makes word times.{reason}"
        )
    mean, deviation = _moments(sounds, config, seed)
    filled, lengths = filled_up(sounds, config, mean, deviation)
    speakers = speakers_of(corpus, owners)
    return Cuts(said, owners, filled, lengths, failed, short, mean, deviation, speakers, np.array(spans))


def speakers_of(corpus: Corpus, items: Sequence[str]) -> list[str]:
    """The speaker of each item, "" where it is unknown."""
    known = {item: corpus.row(item).get("speaker") for item in dict.fromkeys(items)}
    return ["" if pd.isna(known[item]) else str(known[item]) for item in items]


def by_speaker(cuts: Cuts) -> Array:
    """The MFCCs (occurrence, frame, coefficient) with mean 0 and deviation 1 over each speaker's own frames."""
    out = cuts.mfcc.copy()
    inside = np.arange(out.shape[1]) < cuts.lengths[:, None]
    speakers = np.array(cuts.speakers or [""] * len(cuts), dtype=str)
    for speaker in np.unique(speakers):
        own = inside & (speakers == speaker)[:, None]
        frames = out[own]
        deviation = frames.std(0)
        out[own] = (frames - frames.mean(0)) / np.where(deviation > 0, deviation, 1)
    return out


def mfcc(signal: Array, config: CutConfig) -> Array:
    """Cepstral coefficients (1 + samples // hop, coefficient) of a signal (samples,)."""
    import scipy.fft

    padded = np.pad(signal, config.n_fft // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, config.n_fft)[:: config.hop]
    bank, window = _bank(config)
    power = np.abs(scipy.fft.rfft(frames * window, axis=1)) ** 2 @ bank.T
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    floored = np.maximum(decibels, decibels.max() - 80)
    return np.asarray(scipy.fft.dct(floored, axis=1, norm="ortho")[:, : config.coefficients], np.float32)


def standardised_by(cuts: Cuts, mean: Moments, deviation: Moments) -> Cuts:
    """The same words, standardised by other moments than their own, such as those that an encoder was trained with."""
    assert cuts.mean is not None, "words that were cut out know their moments"
    assert cuts.deviation is not None
    inside = np.arange(cuts.mfcc.shape[1]) < cuts.lengths[:, None]
    raw = cuts.mfcc * cuts.deviation + cuts.mean
    anew = np.where(inside[:, :, None], (raw - mean) / deviation, 0).astype(np.float32)
    return replace(cuts, mfcc=anew, mean=mean, deviation=deviation)


def filled_up(
    sounds: Sequence[Array], config: CutConfig, mean: Moments, deviation: Moments
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Words (frame, coefficient) standardised and filled up with zeros, (word, frame, coefficient); their lengths."""
    out = np.zeros((len(sounds), config.frames, config.coefficients), np.float32)
    lengths = np.array([len(part) for part in sounds], np.int64)
    for k, part in enumerate(sounds):
        out[k, : len(part)] = (part - mean) / deviation
    return out, lengths


@lru_cache(maxsize=4)
def _bank(config: CutConfig) -> tuple[Array, Array]:
    """Mel bands (band, frequency) and Hann window."""
    librosa = library("librosa", "MFCCs of spoken words")
    import scipy.signal

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the narrowest bands fall between two frequencies of so short a window
        bank = librosa.filters.mel(sr=config.sampling_rate, n_fft=config.n_fft, n_mels=config.mels)
    return bank, scipy.signal.get_window("hann", config.n_fft).astype(np.float32)


def _parts(
    corpus: Corpus, item: str, words: Callable[[str], pd.DataFrame], sampling_rate: int
) -> list[tuple[str, Array, tuple[float, float]]]:
    """Normalised words of an item, their stretches of sound, and start and end of these [s]."""
    table = words(item)
    if not len(table):
        return []
    row = corpus.row(item)
    start, end = (None if pd.isna(row[c]) else float(row[c]) for c in ("start", "end"))
    signal, rate = read_audio(corpus.audio_path(item), sampling_rate, start, end)
    out = []
    for word, first, last in table[["word", "start", "end"]].itertuples(index=False):
        plain = normalise(str(word))
        if plain not in SILENT:
            part = signal[max(0, round(first * rate)) : max(0, round(last * rate))]
            out.append((plain, part, (float(first), float(last))))
    return out


def _moments(sounds: list[Array], config: CutConfig, seed: int) -> tuple[Moments, Moments]:
    """Mean and deviation (coefficient,) over some random words."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(sounds))[: config.sampled].tolist()
    frames = np.concatenate([sounds[i] for i in chosen]).astype(np.float64)
    mean, deviation = frames.mean(0), frames.std(0)
    deviation[deviation == 0] = 1
    return mean, deviation
