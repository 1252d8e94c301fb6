"""Forced alignment of English with the acoustic model and the dictionary that pocketsphinx brings: no checkpoint.

The best path through the hidden Markov models of the words' phones, with silence or noise between words where there is
some (Huggins-Daines et al., "PocketSphinx: A free, real-time continuous speech recognition system for hand-held
devices", ICASSP 2006, doi 10.1109/ICASSP.2006.1659988). Phones are those of the CMU Pronouncing Dictionary. A word that
it lacks is said letter by letter: its sound is then about as long and as voiced as it should be, which is what its
neighbours' times need.

Nothing is pruned, so every text that is not too long has a path, and how well it fits is the confidence: the geometric
mean, over the frames of words, of the density of the path's state in parts of that of the frame's likeliest state. The
work grows with the number of words times the length of the signal, and there are no windows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ...datasets.core.libraries import library
from ..words.aligner import Aligned, Span
from ..words.matching import letters

NAME = "pocketsphinx"
FRAME_SECONDS, LEAST_SECONDS = 0.01, 0.05
"""Distance of two frames; signals that are shorter than the least hold no word."""
SCORE_SHIFT = 10
"""Scores of paths are kept without their lowest bits (`SENSCR_SHIFT` of pocketsphinx)."""
TINY = 1e-300
_VARIANT = re.compile(r"\(\d+\)$")
_DASHES = re.compile(r"[-\u2010-\u2015/]+")
_LETTERS = (
    "a:AE b:B c:K d:D e:EH f:F g:G h:HH i:IH j:JH k:K l:L m:M n:N o:AA p:P q:K r:R s:S t:T u:AH v:V w:W x:K y:Y z:Z"
)
_PHONES = {pair[0]: pair[2:] for pair in _LETTERS.split()}
Array = npt.NDArray[np.float32]


class PhoneAligner:
    """Word times of known English words.

    `doubtful` was chosen on actors 1 to 4 of RAVDESS: few recordings are below it with the sentence that they say, and
    nearly all with quite other sentences. One that differs in a few words is often not doubted.

    Raises
    ------
    LibraryError
        If pocketsphinx is not there.
    """

    source, doubtful, sampling_rate = "forced", 0.03, 16000

    def __init__(self) -> None:
        module = library("pocketsphinx", "the alignment of English without a checkpoint")
        never = dict.fromkeys(("beam", "wbeam", "pbeam"), 0.0)
        self.decoder: Any = module.Decoder(
            lm=None, bestpath=False, loglevel="FATAL", samprate=self.sampling_rate, **never
        )

    def align(self, words: Sequence[str], signal: Array, language: str | None = None) -> Aligned:
        """Start and end of each word in a signal (samples,) at 16 kHz; None for words without a letter.

        All are None where the signal has too few frames for the text.

        Raises
        ------
        SerbenchError
            If the language is another one than English.
        """
        if language not in (None, "en"):
            raise SerbenchError(
                f"pocketsphinx brings a model of English alone, the text is in {language!r}. Expected a folder of a "
                "multilingual Whisper checkpoint, or of a CTC model: --model FOLDER."
            )
        said = [self.pronounceable(word) for word in words]
        spans: list[Span | None] = [None] * len(words)
        owners = [k for k, parts in enumerate(said) for _ in parts]
        path = self._path([part for parts in said for part in parts], signal)
        if len(path) != len(owners) or not owners:
            return Aligned(spans, 0.0)
        for owner, (first, behind, _) in zip(owners, path, strict=True):
            before = spans[owner]
            start = first * FRAME_SECONDS if before is None else before[0]
            spans[owner] = (start, min(behind * FRAME_SECONDS, len(signal) / self.sampling_rate))
        frames = sum(behind - first for first, behind, _ in path)
        return Aligned(spans, math.exp(sum(score for *_, score in path) / frames))

    def pronounceable(self, word: str) -> list[str]:
        """Entries of the dictionary that a word is made of; one that it lacks is put in, letter by letter.

        Tags such as `<laughter>` have none.
        """
        if word.startswith(("<", "[")):
            return []
        parts = []
        for piece in _DASHES.split(word.lower().replace("\u2019", "'")):
            plain = piece.strip('.,;:!?"()[]{}<>«»“”„…*')
            known = next((p for p in (plain, plain.strip("'"), letters(plain)) if p and self._has(p)), None)
            spelt = "".join(c for c in letters(plain) if c in _PHONES)
            if known is None and spelt:
                known = spelt
                if not self._has(spelt):
                    self.decoder.add_word(spelt, " ".join(_PHONES[c] for c in spelt), True)
            if known is not None:
                parts.append(known)
        return parts

    def _has(self, entry: str) -> bool:
        return self.decoder.lookup_word(entry) is not None

    def _path(self, entries: Sequence[str], signal: Array) -> list[tuple[int, int, float]]:
        """First frame, frame behind the last, and log density of each entry on the best path; [] without a path."""
        if not entries or len(signal) < LEAST_SECONDS * self.sampling_rate:
            return []
        decoder = self.decoder
        decoder.reinit_feat()  # else its estimate of noise goes on from the signal before
        decoder.set_align_text(" ".join(entries))
        decoder.start_utt()
        decoder.process_raw((np.clip(signal, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        return [] if decoder.hyp() is None else list(_said(decoder.seg(), entries))


def _said(segments: Any, entries: Sequence[str]) -> Iterator[tuple[int, int, float]]:
    """The segments of a path that are its words, without silence and noise between them."""
    left = list(entries)
    for segment in segments:
        if left and _VARIANT.sub("", segment.word) == left[0]:
            left.pop(0)
            score = math.log(max(segment.ascore, TINY)) * 2**SCORE_SHIFT
            yield segment.start_frame, segment.end_frame + 1, score
