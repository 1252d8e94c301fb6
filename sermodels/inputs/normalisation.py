"""z-normalisation of frames: by the training fold, by speaker, or not at all.

"train" takes the moments of all frames of the training items. "speaker" takes, for each speaker, the moments of all of
that speaker's frames in the corpus, test items included: no label is used, but the audio of the test speakers is
(a transductive use, which a score's signature has to say: `TRANSDUCTIVE`). A speaker of fewer than `FEWEST`
utterances, whose moments would say what was felt in them, gets those of all frames of the corpus; one who is unknown,
the training fold's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from ...datasets.core.errors import SerbenchError
from ...features.core.feature_table import FeatureTable
from ..core.scaling import TRANSDUCTIVE as TRANSDUCTIVE
from ..core.sermodel import Data
from .moments import Vector, inverse_std, moments

FEWEST = 5
"""Utterances that a speaker's own moments are taken of at least."""
Array = npt.NDArray[np.float32]
Scale = tuple[Vector, Vector]
"""Mean and inverse standard deviation, each (dim,); the inverse of a constant column is 0, so that it becomes 0."""


class FrameNormaliser:
    """Normalises the frames of any utterance of a feature table.

    Parameters
    ----------
    mode : one of `MODES`
    table : features of all utterances
    speakers : id -> speaker; ids that are not in it have an unknown speaker
    fold : mean and inverse standard deviation of the training fold
    """

    def __init__(self, mode: str, table: FeatureTable, speakers: Mapping[str, str], fold: Scale) -> None:
        self._mode, self._table, self._speakers, self._fold = mode, table, speakers, fold
        self._known: dict[str, Scale] = {}
        self._spoken: dict[str, list[str]] = defaultdict(list)
        if mode == "speaker":
            for item in table:
                if item in speakers:
                    self._spoken[speakers[item]].append(item)

    def __call__(self, item: str, frames: Array) -> Array:
        """The frames (frame, dim) of an utterance, normalised; values that are no numbers become 0."""
        if self._mode == "none":
            return np.nan_to_num(frames, posinf=0.0, neginf=0.0)
        mean, inverse = self._scale(item)
        scaled = (frames.astype(np.float64) - mean) * inverse
        return np.nan_to_num(scaled, posinf=0.0, neginf=0.0).astype(np.float32)

    def _scale(self, item: str) -> Scale:
        speaker = self._speakers.get(item) if self._mode == "speaker" else None
        if speaker is None:
            return self._fold
        if len(self._spoken[speaker]) < FEWEST:
            speaker = ""
        if speaker not in self._known:
            self._known[speaker] = scale_of(self._table, self._spoken[speaker] if speaker else list(self._table))
        return self._known[speaker]


def trained_normaliser(mode: str, data: Data, mean: Tensor, inverse: Tensor) -> FrameNormaliser:
    """The normaliser of a data set's feature `input`, with the training fold's moments, each (dim,), of a network.

    Raises
    ------
    SerbenchError
        If the feature has another width than in training.
    """
    table = data.features["input"]
    if table.dim != len(mean):
        raise SerbenchError(
            f"the features have {table.dim} values per frame. Expected {len(mean)}, as in training: give the feature "
            "settings that the model was trained with."
        )
    return FrameNormaliser(mode, table, speakers_of(data), (mean.cpu().numpy(), inverse.cpu().numpy()))


def scale_of(table: FeatureTable, items: list[str]) -> Scale:
    """Mean and inverse standard deviation over all frames of some utterances."""
    frames = moments((table[item] for item in items), table.dim)
    return frames.mean, inverse_std(frames)


def speakers_of(data: Data) -> dict[str, str]:
    """id -> speaker of every utterance that the data know of, context turns included; unknown speakers are left out."""
    rows = data.items if data.turns is None else data.turns
    known: pd.Series[str] = rows["speaker"].dropna()
    return {str(item): str(speaker) for item, speaker in known.items()}
