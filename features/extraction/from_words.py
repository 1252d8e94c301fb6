"""Features that are made from the words of an item instead of its sound, as a table like that of all other features.

Nothing is cached: laying words on frames costs less than reading a file of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...datasets.core.errors import SerbenchError
from ..core.feature_extractor import Array, FeatureExtractor
from ..core.feature_table import FeatureTable
from ..core.word_feature import WordFeature, Words
from .file_tasks import AudioSource, FileTask, reason_of, tasks_of

if TYPE_CHECKING:
    import pandas as pd


_SHORTER = 1e-6


def table_of_words(
    rows: pd.DataFrame, root: Path, extractor: FeatureExtractor, words: Words | None, source: AudioSource | None = None
) -> FeatureTable:
    """The table of a word feature for corpus rows; an item whose words or file can't be read stands in `failed`.

    An item has ceil(seconds / hop) frames, its seconds being those of its segment or of its file. Words are read now,
    to find what is wrong with them; they are laid on frames when an array is asked for.

    Raises
    ------
    SerbenchError
        Where no words are handed over, no item has any, or the feature describes none of them.
    """
    if words is None or not isinstance(extractor, WordFeature):
        raise SerbenchError(
            f"the feature {extractor.name} is made from the words of a corpus, which are not at hand here. It can be "
            "used by 'serbench extract' and by models that are trained on a corpus."
        )
    tasks, failed = tasks_of(rows, root, source)
    frames: dict[str, int] = {}
    spoken: list[str] = []
    for task in tasks:
        for item, seconds in seconds_of(task, failed):
            try:
                said = extractor.times(item, words)
                extractor.check(said)
                spoken += said["word"].astype(str).tolist()
                frames[item] = max(1, math.ceil(seconds / extractor.hop_seconds - _SHORTER))
            except Exception as error:
                failed[item] = reason_of(error, task.path)
    if frames and not spoken:
        raise SerbenchError(
            f"none of {len(frames)} items has words. Expected word times: 'serbench words align' makes them from "
            "transcripts, and feature.word_times=FILE uses them."
        )
    extractor.survey(spoken)
    ids = [str(i) for i in rows.index if str(i) in frames]
    return FeatureTable(
        loaders=_FromWords({i: frames[i] for i in ids}, extractor, words),
        shapes={i: (frames[i], extractor.dim) for i in ids},
        dim=extractor.dim,
        hop_seconds=extractor.hop_seconds,
        sampling_rate=extractor.sampling_rate,
        failed={str(i): failed[str(i)] for i in rows.index if str(i) in failed},
    )


@dataclass(frozen=True)
class _FromWords(Mapping[str, Callable[[], Array]]):
    """id -> function that lays the item's words on its frames."""

    frames: dict[str, int]
    extractor: WordFeature
    words: Words

    def __getitem__(self, item: str) -> Callable[[], Array]:
        return partial(self._load, item, self.frames[item])

    def __iter__(self) -> Iterator[str]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def _load(self, item: str, frames: int) -> Array:
        return self.extractor.lay(self.extractor.times(item, self.words), frames)


def seconds_of(task: FileTask, failed: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Items of a file and their seconds; where its header can't be read, items without an end go to `failed`."""
    import soundfile

    whole: float | None = None
    for segment in task.segments:
        end = segment.end
        if end is None:
            try:
                whole = float(soundfile.info(task.path).duration) if whole is None else whole
            except Exception as error:
                failed[segment.item] = reason_of(error, task.path)
                continue
            end = whole
        seconds = end - (segment.start or 0.0)
        if np.isfinite(seconds) and seconds > 0:
            yield segment.item, seconds
        else:
            failed[segment.item] = f"the segment of {task.path} lasts {seconds} s. Expected start < end."
