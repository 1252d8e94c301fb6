"""Features of many utterances: a read-only mapping from id to array that loads on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureTable(Mapping[str, Array]):
    """Arrays (frames, dim) float32 by utterance id, read from the cache when they are asked for.

    Attributes
    ----------
    loaders : id -> function that returns the array
    shapes : id -> (frames, dim), known without loading
    failed : id -> reason, for the utterances that could not be extracted
    dim : second axis of every array
    hop_seconds : distance of two frames in seconds; None when there is one frame per utterance
    sampling_rate : rate in Hz of the audio that the features were made from
    """

    loaders: Mapping[str, Callable[[], Array]]
    shapes: Mapping[str, tuple[int, int]]
    dim: int
    hop_seconds: float | None
    sampling_rate: int
    failed: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, item: str) -> Array:
        return self.loaders[item]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.loaders)

    def __len__(self) -> int:
        return len(self.loaders)

    def part(self, item: str, first: int, stop: int) -> Array:
        """Frames `first` .. `stop` - 1 of an utterance; where the table `reads_parts`, nothing else of it is read."""
        reader = getattr(self.loaders, "part", None)
        return self[item][first:stop] if reader is None else np.asarray(reader(item, first, stop))

    @property
    def reads_parts(self) -> bool:
        """Whether the loaders offer `part(item, first, stop)`."""
        return hasattr(self.loaders, "part")

    def frames(self, item: str) -> int:
        """Number of frames of an utterance, without loading it."""
        return self.shapes[item][0]

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, Array], hop_seconds: float | None = None, sampling_rate: int = 16000
    ) -> FeatureTable:
        """A table over arrays in memory; for tests and notebooks."""
        loaders = {item: partial(_same, array) for item, array in arrays.items()}
        shapes = {item: (array.shape[0], array.shape[1]) for item, array in arrays.items()}
        return cls(loaders, shapes, next(iter(shapes.values()))[1], hop_seconds, sampling_rate)


def _same(array: Array) -> Array:
    return array
