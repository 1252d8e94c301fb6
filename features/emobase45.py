"""emobase45: the 45 descriptors per frame that MAEC listens to, every 10 ms.

Fu, Liu, Ishi and Ishiguro, "MAEC: multi-instance learning with an adversarial auto-encoder-based classifier for speech
emotion recognition", ICASSP 2021, section 2. The paper names "Emobase 2010" and 45 dimensions; which ones they are
follows from the column list of the authors' release (github.com/CZFuChason/ISEMOR), which is that of Yeh et al., "An
interaction-aware attention network for speech emotion recognition in spoken dialogs", ICASSP 2019: openSMILE's emobase
set, not emobase2010, with first and second deltas. In this order:

| index | descriptors |
|---|---|
| 0-1 | F0 and its delta |
| 2-4 | loudness, delta, second delta |
| 5-6 | voicing probability and its delta |
| 7-8 | zero-crossing rate and its delta |
| 9-44 | MFCC 1-12, their deltas, their second deltas |

The descriptors are those of `opensmile:emobase:lld` (pitch from frames of 40 ms; the authors' configuration took 60 ms
and centred its frames). The deltas are computed here, bit for bit as openSMILE's cDeltaRegression does in utterances of
six frames (80 ms) or more. In shorter ones openSMILE takes zeros for frames that are not there yet; here the last frame
is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..datasets.core.config import option
from . import opensmile
from .core.feature_extractor import Array, FeatureExtractor

CITES = ("eyben2010opensmile", "yeh2019iaan")
REACH = 2
"""Frames on each side that a delta looks at, W."""
_MFCC = range(1, 13)
NAMES = (
    "F0_sma",
    "F0_sma_de",
    "pcm_loudness_sma",
    "pcm_loudness_sma_de",
    "pcm_loudness_sma_de_de",
    "voiceProb_sma",
    "voiceProb_sma_de",
    "pcm_zcr_sma",
    "pcm_zcr_sma_de",
    *(f"mfcc_sma{order}[{k}]" for order in ("", "_de", "_de_de") for k in _MFCC),
)
"""openSMILE's names of the 45 columns."""
EMOBASE = (
    "pcm_intensity_sma",
    "pcm_loudness_sma",
    *(f"mfcc_sma[{k}]" for k in _MFCC),
    *(f"lspFreq_sma[{k}]" for k in range(8)),
    "pcm_zcr_sma",
    "voiceProb_sma",
    "F0_sma",
    "F0env_sma",
)
"""openSMILE's names of the 26 descriptors of emobase, in its order."""
_ORDERS = [name.split("_sma")[1].count("_de") for name in NAMES]
_SOURCES = [EMOBASE.index(name.replace("_de", "")) for name in NAMES]


@dataclass(frozen=True)
class Config:
    """Settings of the descriptors."""

    sampling_rate: int = option(16000, "rate in Hz that the audio is resampled to", source="free choice", low=8000)


class Extractor(FeatureExtractor):
    """45 descriptors per frame, (frames, 45)."""

    name = "emobase45"
    version: ClassVar[int] = 1
    libraries: ClassVar[tuple[str, ...]] = ("opensmile", "numpy")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sampling_rate, self.dim, self.hop_seconds = config.sampling_rate, len(NAMES), opensmile.HOP_SECONDS
        self._descriptors = opensmile.Extractor(opensmile.Config("emobase", "lld", config.sampling_rate))

    def extract(self, signal: Array) -> Array:
        """Descriptors of a signal (samples,) as (frames, 45) float32.

        Raises
        ------
        SerbenchError
            When the signal is too short for openSMILE to give a frame.
        """
        return with_deltas(self._descriptors.extract(signal))


def with_deltas(descriptors: Array) -> Array:
    """The 45 columns from the 26 descriptors of emobase, (frames, 26) -> (frames, 45) float32."""
    frames = len(descriptors)
    extended = np.pad(descriptors, ((0, 2 * REACH), (0, 0)), mode="edge")  # openSMILE goes on after the last frame
    first = deltas(extended)
    orders = np.stack([extended[:frames], first[:frames], deltas(first)[:frames]])
    return np.ascontiguousarray(orders[_ORDERS, :, _SOURCES].T)


def deltas(rows: Array) -> Array:
    """Regression slope over 2 W + 1 frames, d_t = sum_w w (x_{t+w} - x_{t-w}) / (2 sum_w w^2), W = 2; float32.

    The first and the last frame are repeated beyond the ends. The order of the operations is openSMILE's.
    """
    count = len(rows)
    padded = np.pad(rows, ((REACH, REACH), (0, 0)), mode="edge")
    ahead = {w: padded[REACH + w : REACH + w + count] for w in range(-REACH, REACH + 1)}
    slope = (ahead[1] - ahead[-1]) + np.float32(2) * (ahead[2] - ahead[-2])
    return np.asarray(slope / np.float32(10), dtype=np.float32)
