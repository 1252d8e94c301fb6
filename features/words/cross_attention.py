"""Word times from the cross-attention of a Whisper checkpoint.

The known text is forced through the decoder; the heads of its cross-attention that follow the speech (`alignment_heads`
of the checkpoint) say which frames each token looks at. As in the program of Whisper's authors, the weights are
standardised over tokens, smoothed over time by a median and averaged over heads, and the path of dynamic time warping
through them gives each token its first frame. A word lasts until the next one begins.

What is done otherwise, since the path goes from the first frame to the last whatever is there, and tokens look ahead:

- Silence before the first and behind the last word is none of theirs: what is `QUIET_DB` below the loudest 10 ms. A
  click of less than half of `CLICK_FRAMES` is no beginning (a last sound may be as short: the release of a plosive).
- Words begin `DELAY_SECONDS`, one frame, behind the path. Chosen on thirty recordings of EMO-DB with hand-made times.
- A signal that is longer than a window is heard window by window. What the model recognises in a window tells how
  much of the text was said in it; words that end near the window's cut are heard again in the next one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .aligner import Aligned, Span
from .matching import said_words
from .warping import first_frames, warping_path
from .whisper import Whisper

Array = npt.NDArray[np.float32]
SMOOTHED = 7
"""Frames of the median."""
QUIET_DB, LOUDNESS_SECONDS = 30.0, 0.01
CLICK_FRAMES = 5
"""Frames of the median of the loudness before the first word."""
DELAY_SECONDS = 0.02
CUT_SECONDS = 2.0
"""Words that end so near to a window's cut are heard again."""


class CrossAttentionAligner:
    """Word times of known words; the confidence is the geometric mean of their tokens' probabilities."""

    source, doubtful = "attention", 0.1

    def __init__(self, whisper: Whisper) -> None:
        self.whisper = whisper
        self.sampling_rate = whisper.sampling_rate

    def align(self, words: Sequence[str], signal: Array, language: str | None = None) -> Aligned:
        """Start and end of each word in a signal (samples,) at `sampling_rate`."""
        window = round(self.whisper.window_seconds * self.sampling_rate)
        spans: list[Span | None] = []
        confidences: list[float] = []
        start = 0
        while len(spans) < len(words) and start < len(signal):
            part, offset = signal[start : start + window], start / self.sampling_rate
            last = start + window >= len(signal)
            found, confidence = self._window(words[len(spans) :], part, language, last=last)
            spans += [(first + offset, end + offset) for first, end in found]
            confidences += [confidence] * len(found)
            start += round(found[-1][1] * self.sampling_rate) if found else window
        missing = [None] * (len(words) - len(spans))
        return Aligned([*spans, *missing], float(np.mean(confidences)) if confidences else 0.0)

    def _window(
        self, words: Sequence[str], signal: Array, language: str | None, *, last: bool
    ) -> tuple[list[Span], float]:
        """Times of the words that a window holds, in seconds of the window, and the confidence in them."""
        heard = self.whisper.hear(signal)
        if not last:
            words = words[: said_words(words, self.whisper.recognise(heard, language))]
        return self.in_window(words, signal, heard, language, last=last)

    def in_window(
        self, words: Sequence[str], signal: Array, heard: Tensor, language: str | None, *, last: bool
    ) -> tuple[list[Span], float]:
        """Times [s] of words that were said in a window, and the confidence in them.

        `heard` is what the encoder makes of the window's signal (samples,). Words that the decoder has no room for, and
        those near the end of a window that is not the `last`, are left to the next one.
        """
        whisper = self.whisper
        pieces = [whisper.pieces(word) for word in words]
        room = whisper.longest - len(whisper.prompt(language)) - 1
        kept = int(np.searchsorted(np.cumsum([len(piece) for piece in pieces]), room, side="right"))
        pieces = pieces[:kept]
        if not pieces or len(signal) < self.sampling_rate * whisper.frame_seconds:
            return [], 0.0
        forced = whisper.force(
            heard, [token for piece in pieces for token in piece], whisper.frames(len(signal)), language
        )
        starts = token_frames(forced.attention) * whisper.frame_seconds
        edges = np.minimum(starts[np.cumsum([0, *map(len, pieces)])] + DELAY_SECONDS, len(signal) / self.sampling_rate)
        edges[0] = 0.0
        spans = without_silence(edges, signal, self.sampling_rate)
        if not last:
            behind = len(signal) / self.sampling_rate - CUT_SECONDS
            spans = [span for span in spans if span[1] <= behind] or spans[:1]
        return spans, forced.confidence


def token_frames(attention: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The first frame of each token (token,), of standardised attention (head, token, frame)."""
    from scipy.ndimage import median_filter

    smooth = median_filter(attention, (1, 1, SMOOTHED), mode="reflect")
    return first_frames(warping_path(-smooth.mean(0, dtype=np.float64)))


def without_silence(edges: npt.NDArray[np.float64], signal: Array, sampling_rate: int) -> list[Span]:
    """Spans of words between edges [s] (word + 1,), the first and the last one without the silence at the ends."""
    from scipy.ndimage import median_filter

    size = round(LOUDNESS_SECONDS * sampling_rate)
    power = np.square(signal[: len(signal) // size * size].reshape(-1, size), dtype=np.float64).mean(1)
    spans = [(float(a), float(b)) for a, b in itertools.pairwise(edges)]
    if not len(power) or not power.max():
        return spans
    lasting = median_filter(power, CLICK_FRAMES, mode="nearest")
    lasting = lasting if lasting.max() else power  # nothing lasts
    first = _loud(lasting)[0] * LOUDNESS_SECONDS
    behind = (_loud(power)[-1] + 1) * LOUDNESS_SECONDS
    if first < spans[0][1]:
        spans[0] = (max(spans[0][0], float(first)), spans[0][1])
    if behind > spans[-1][0]:
        spans[-1] = (spans[-1][0], float(behind))
    return spans


def _loud(power: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Frames that are at most `QUIET_DB` below the loudest one."""
    return np.flatnonzero(power > power.max() * 10 ** (-QUIET_DB / 10))
