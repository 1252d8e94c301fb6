"""What a frozen Whisper encoder makes of spoken words: the mean of its last states over each word's frames.

The encoder hears the whole utterance, so a word's vector knows of the words around it too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...datasets.core.stages import track
from ...datasets.schema.corpus import Corpus
from ..core.audio import read_audio
from ..words.spoken_words import Array, Cuts
from ..words.whisper import Whisper

Times = npt.NDArray[np.float64]


def hear_words(whisper: Whisper, corpus: Corpus, cuts: Cuts) -> Array:
    """Mean states (occurrence, dim) float32 of the words of a corpus that `cuts` were cut out of."""
    import pandas as pd

    assert cuts.spans is not None, "words that were cut out know their times"
    items = np.array(cuts.items, dtype=str)
    out = np.zeros((len(cuts), int(whisper.model.config.d_model)), np.float32)
    for item in track(list(dict.fromkeys(cuts.items)), "hearing"):
        row, own = corpus.row(item), np.flatnonzero(items == item)
        start, end = (None if pd.isna(row[c]) else float(row[c]) for c in ("start", "end"))
        signal, _ = read_audio(corpus.audio_path(item), whisper.sampling_rate, start, end)
        _hear(whisper, signal, cuts.spans[own], out, own)
    return out


def _hear(whisper: Whisper, signal: Array, spans: Times, out: Array, rows: npt.NDArray[np.intp]) -> None:
    """Fill the rows of words with spans [s] (word, 2), window by window."""
    window = whisper.window_seconds
    for number in np.unique(spans[:, 0] // window):
        offset = number * window
        part = signal[round(offset * whisper.sampling_rate) : round((offset + window) * whisper.sampling_rate)]
        states = whisper.hear(part)[0].float().cpu().numpy()
        for row, (first, last) in zip(rows, spans, strict=True):
            if first // window == number:
                begin = min(int((first - offset) / whisper.frame_seconds), len(states) - 1)
                behind = max(begin + 1, round((last - offset) / whisper.frame_seconds))
                out[row] = states[begin:behind].mean(0)
