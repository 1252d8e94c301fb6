"""What a feature extractor is: a frozen configuration and one method from samples to (frames, dim).

A component `features/name.py` has a frozen dataclass `Config` and a class `Extractor(FeatureExtractor)`. `version`
is raised by hand when the output changes. The cache key is made of `identity()`, the audio's SHA-256 and the segment.
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...datasets.core.config import override, to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from .. import registry
from .feature_request import FeatureRequest

__all__ = ["Array", "FeatureExtractor", "FeatureRequest", "build"]

Array = npt.NDArray[np.float32]


class FeatureExtractor(ABC):
    """From one mono signal to a float32 array (frames, dim).

    Attributes
    ----------
    name : registered name, with the argument after a colon if it takes one
    version : raised by hand whenever the output changes
    sampling_rate : the rate in Hz that `extract` expects; decoding resamples to it
    dim : second axis of the output
    hop_seconds : distance of two frames; None when there is one frame per utterance (functionals)
    libraries : distributions whose versions decide the output's bytes
    parallel : whether several processes may extract side by side; False for extractors that hold a device
    needs_words : whether the feature is made from an item's words instead of its sound (`extraction/from_words.py`)
    """

    name: str
    version: ClassVar[int]
    sampling_rate: int
    dim: int
    hop_seconds: float | None
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    parallel: ClassVar[bool] = True
    needs_words: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def extract(self, signal: Array) -> Array:
        """Features of a mono signal, (samples,) float32 in [-1, 1] at `sampling_rate`, as (frames, dim) float32.

        Raises
        ------
        SerbenchError
            When the signal can't be described (too short, say); the run lists the file with this reason.
        """

    @property
    def batch_seconds(self) -> float:
        """Seconds of audio that `extract_many` takes best at once; 0 = utterances are extracted one by one."""
        return 0.0

    @property
    def parameters(self) -> int:
        """Number of scalars of the pre-trained network that the extractor runs, 0 without one."""
        return 0

    def extract_many(self, signals: Sequence[Array]) -> list[Array]:
        """Features of several signals, each as `extract` gives them up to rounding; see `batch_seconds`."""
        return [self.extract(signal) for signal in signals]

    def wider(self) -> Sequence[FeatureExtractor]:
        """Other settings of this feature whose arrays hold all of this one's, the smallest first.

        What the cache has of one of them is narrowed instead of extracted anew.
        """
        return ()

    def narrowed(self, array: Array, wider: FeatureExtractor) -> Array:
        """The features (frames, dim) in an array of one of `wider()`, the same bytes as `extract` gives."""
        raise NotImplementedError(f"{self.name} has nothing to narrow")

    def prepare(self) -> None:  # noqa: B027
        """Load what `extract` needs, such as a checkpoint, if that has not been done in this process.

        An error here ends the extraction; an error of `extract` is that of one file.
        """

    def release(self) -> None:  # noqa: B027
        """Give back what `prepare` has taken; called when an extraction ends. `extract` may prepare anew."""

    def identity(self) -> dict[str, Any]:
        """Everything but the audio that decides the output: name, version, full config, library versions."""
        versions = {lib: importlib.metadata.version(lib) for lib in self.libraries}
        return {
            "name": self.name,
            "version": self.version,
            "config": to_dict(self.config),
            "libraries": versions,
            "extra": dict(self.extra_identity()),
        }

    def extra_identity(self) -> Mapping[str, str]:
        """Further parts of the key, such as the revision of a checkpoint."""
        return {}

    def labels(self, recognised: str) -> tuple[str, ...]:
        """What a score's signature has to say of this feature beside `signature`.

        `recognised` is who recognised the words of the corpora, `asr(MODEL)`, empty where they are of transcripts.
        """
        return ()

    def digest(self) -> str:
        """Sixteen hexadecimal digits of `identity()`."""
        return digest(self.identity())

    def signature(self) -> str:
        """Short text for a score's signature: name, version, digest of the configuration without library versions."""
        return f"{self.name}.v{self.version}+{digest([to_dict(self.config), dict(self.extra_identity())], 8)}"


def build(request: FeatureRequest | str) -> FeatureExtractor:
    """Make the extractor for a request.

    The module's `Config` is built from `Config.from_argument(text)` when the name has an argument (`opensmile:IS10`),
    then the request's settings are applied.
    """
    request = FeatureRequest(request) if isinstance(request, str) else request
    base, _, argument = request.name.partition(":")
    module = registry.load(base)
    if argument and not hasattr(module.Config, "from_argument"):
        raise SerbenchError(f"the feature {base!r} takes no argument, but {request.name!r} was given. Type {base!r}.")
    config = module.Config.from_argument(argument) if argument else module.Config()
    config = override(config, dict(request.settings), prefix="feature.")
    extractor = module.Extractor(config)
    if not isinstance(extractor, FeatureExtractor):
        raise SerbenchError(f"{base}.Extractor is not a FeatureExtractor but {type(extractor).__name__}.")
    return extractor
