"""What every feature extractor must do. A feature that needs an argument is checked with one: `opensmile:IS10:lld`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json
from ...datasets.voice.synthesis import babble
from ...features import registry
from ...features.cache.cache import FeatureCache
from ...features.core.feature_extractor import Array, FeatureExtractor, build
from ...features.core.word_feature import SpokenWordFeature, WordFeature
from ...features.extraction.extract import extract
from .check import Problems, UncheckedError, differs
from .material import words
from .models import config_problems

SECONDS = (0.7, 2.0, 1.1)
"""Lengths of the babbles that are described."""


def offers_what_a_feature_needs(name: str) -> Problems:
    """`Config` with documented fields, `Extractor` that states what it makes, a docstring, an identity."""
    module, extractor = registry.load(name), built(name)
    yield from config_problems(module.Config, [extractor.config])
    if extractor.name.partition(":")[0] != name.partition(":")[0]:
        yield f"the extractor's name is {extractor.name!r}, expected {name!r}"
    for what in ("version", "sampling_rate", "dim"):
        if not isinstance(value := getattr(extractor, what, None), int) or value < 1:
            yield f"{what} is {value!r}, expected a whole number from 1"
    if extractor.hop_seconds is not None and not extractor.hop_seconds > 0:
        yield f"hop_seconds is {extractor.hop_seconds!r}, expected seconds, or None for one frame per utterance"
    canonical_json(extractor.identity())  # raises on what a key can't hold
    if extractor.identity() != built(name).identity() or extractor.signature() != built(name).signature():
        yield "two extractors of one configuration have different identities"
    if not registry.summary(name.partition(":")[0]):
        yield "the module has no docstring"


def shapes(name: str) -> Problems:
    """Finite float32 arrays (frames, dim); one frame where no hop is stated."""
    extractor = built(name)
    for seconds, array in zip(SECONDS, described(extractor), strict=True):
        if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] != extractor.dim or not len(array):
            yield f"{seconds} s give {array.dtype} {array.shape}, expected float32 (frames, {extractor.dim})"
        elif extractor.hop_seconds is None and len(array) != 1:
            yield f"{seconds} s give {len(array)} frames, expected one where hop_seconds is None"
        elif not np.isfinite(array).all():
            yield f"{seconds} s give values that are not finite"


def the_same_input_gives_the_same_array(name: str) -> Problems:
    """Of one extractor and of two, and the signal stays as it was."""
    extractor = built(name)
    first, again = described(extractor), described(extractor)
    for array, second, other in zip(first, again, described(built(name)), strict=True):
        yield from differs("a second call", second, array)
        yield from differs("a second extractor", other, array)
    if not isinstance(extractor, WordFeature):
        signal = _signal(extractor, SECONDS[0])
        before = signal.copy()
        extractor.extract(signal)
        yield from differs("the signal after the call", signal, before)


def many_at_once_are_as_one_by_one(name: str) -> Problems:
    """`extract_many` gives what `extract` gives, up to rounding."""
    extractor = built(name)
    together = extractor.extract_many([_signal(extractor, seconds) for seconds in SECONDS])
    for seconds, array, alone in zip(SECONDS, together, described(extractor), strict=True):
        yield from differs(f"{seconds} s among others", array, alone, 1e-4 * max(1.0, float(np.abs(alone).max())))


def silence_and_a_single_sample_are_described_or_refused(name: str) -> Problems:
    """What can't be described is a `SerbenchError`, so that the run lists the file; nothing else is raised."""
    extractor = built(name)
    for what, signal in (
        ("silence", np.zeros(extractor.sampling_rate, np.float32)),
        ("a sample", np.ones(1, np.float32)),
    ):
        try:
            array = extractor.extract(signal)
        except SerbenchError:
            continue
        except Exception as error:
            yield f"{what}: {type(error).__name__}: {error}"
            continue
        if array.ndim != 2 or not np.isfinite(array).all():
            yield f"{what} gives {array.shape}, not all finite"


def cached_arrays_are_the_extracted_ones(name: str) -> Problems:
    """What comes out of the cache is what was put in, to the bit."""
    extractor = built(name)
    with tempfile.TemporaryDirectory() as folder:
        rows = _files(Path(folder), extractor)
        cache = FeatureCache(Path(folder) / "cache")
        tables = [extract(rows, Path(folder), extractor, cache) for _ in range(2)]
        yield from (f"{item}: {reason}" for table in tables for item, reason in table.failed.items())
        for item in set(tables[0]) & set(tables[1]):
            yield from differs(f"{item} from the cache", tables[1][item], tables[0][item])


def words_are_laid_on_frames(name: str) -> Problems:
    """A word feature fills as many frames as are asked for, also where nothing is said, and refuses sound alone."""
    extractor = built(name)
    assert isinstance(extractor, WordFeature)
    said = extractor.times("u00", words)
    for what, table in (("three words", said), ("no words", said.iloc[:0])):
        array = _laid(extractor, table, 12)
        if array.shape != (12, extractor.dim) or array.dtype != np.float32 or not np.isfinite(array).all():
            yield f"{what} on 12 frames give {array.dtype} {array.shape}, expected finite float32 (12, {extractor.dim})"
    with tempfile.TemporaryDirectory() as folder:
        table_of_words = extract(_files(Path(folder), extractor), Path(folder), extractor, words=words)
    yield from (f"{item}: {reason}" for item, reason in table_of_words.failed.items())
    try:
        extractor.extract(np.zeros(16000, np.float32))
    except SerbenchError:
        return
    yield "sound alone is not refused"


def built(name: str) -> FeatureExtractor:
    """The extractor of a name; where it can't be made without an argument, its checks are not made."""
    try:
        extractor = build(name)
    except SerbenchError as error:
        if ":" not in name and hasattr(registry.load(name).Config, "from_argument"):
            raise UncheckedError(f"it needs an argument: {error}") from error
        raise
    extractor.prepare()
    return extractor


def described(extractor: FeatureExtractor) -> list[Array]:
    """Arrays of a few babbles, or of the words of an item."""
    if isinstance(extractor, WordFeature):
        said = extractor.times("u00", words)
        return [_laid(extractor, said, max(1, int(seconds / extractor.hop_seconds))) for seconds in SECONDS]
    return [extractor.extract(_signal(extractor, seconds)) for seconds in SECONDS]


def _laid(extractor: WordFeature, said: pd.DataFrame, frames: int) -> Array:
    """Words on frames; where their sound is needed, they are said in a babble."""
    if isinstance(extractor, SpokenWordFeature):
        return extractor.lay_heard(said, extractor.hear(said, _signal(extractor.encoder, SECONDS[1])), frames)
    return extractor.lay(said, frames)


def _signal(extractor: FeatureExtractor, seconds: float) -> Array:
    return babble(seconds, 7, sampling_rate=extractor.sampling_rate)


def _files(folder: Path, extractor: FeatureExtractor) -> pd.DataFrame:
    """Sound files of the babbles, as rows of a corpus."""
    import soundfile

    paths = {}
    for k, seconds in enumerate(SECONDS):
        paths[f"u{k:02d}"] = f"{k}.wav"
        soundfile.write(folder / f"{k}.wav", _signal(extractor, seconds), extractor.sampling_rate)
    return pd.DataFrame({"path": pd.Series(paths, dtype="string"), "start": np.nan, "end": np.nan})


OF_A_FEATURE = (offers_what_a_feature_needs, shapes, the_same_input_gives_the_same_array)
OF_SOUND = (
    many_at_once_are_as_one_by_one,
    silence_and_a_single_sample_are_described_or_refused,
    cached_arrays_are_the_extracted_ones,
)
OF_WORDS = (words_are_laid_on_frames,)
