"""The word vectors of `semantic-fusion`: settings, files with their digest, and what is recorded of them.

They are looked up by the words' text (`vectors`), or made from the words' sound (`encoder`, the feature
`spoken-words`), which needs to know where words begin and end, and no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ...datasets.core.config import option
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest, file_sha256
from ...features.core.feature_request import FeatureRequest
from ...features.words.coverage import coverage, need_overlap
from ...features.words.times import load
from ...features.words.vectors import UNKNOWN, Vectors, read_vectors
from ..core.sermodel import Data
from .frames import Words

ROLE = "words"
"""Of the feature that makes vectors of the words' sound."""
NONE = "words:none"
"""Label of a score without word vectors."""
FREE = "free choice"
SHOWN = 5
"""Items without words that a record names."""
C = TypeVar("C", bound="WordConfig")


@dataclass(frozen=True)
class WordConfig:
    """Settings of the word vectors."""

    vectors: str = option("", "file of word vectors (.vec, .txt, .bin); empty = zero vectors", source="section 3.1")
    word_times: str = option("", "CSV file or folder of 'serbench words align'; empty = the corpus's own", source=FREE)
    words_digest: str = option("", "of what these files hold; filled in when a run is planned", source=FREE)
    word_dim: int = option(100, "size of a word vector where no file is given", source="released code", low=1)
    unknown: str = option(
        "matched", "vector of a word that the file lacks", source="released code: random", choices=UNKNOWN
    )
    unknown_seed: int = option(0, "seed of the random ones", source=FREE, low=0)
    encoder: str = option(
        "", "file *.encoder.safetensors: vectors of the words' sound in place of a file's", source=FREE, later=True
    )
    map: str = option("", "file *.map.safetensors that brings those into a space of text", source=FREE, later=True)


def resolved(config: C) -> C:
    """The configuration with the digest of its files, which makes other contents another configuration.

    Raises
    ------
    SerbenchError
        If a file is missing, or does not hold what it held when the configuration was made.
    """
    if config.vectors and config.encoder:
        raise SerbenchError(
            "model.vectors and model.encoder were both given. Expected one: vectors that are looked up by the words' "
            "text, or an encoder of their sound."
        )
    if config.map and not config.encoder:
        raise SerbenchError(
            "model.map was given without model.encoder, whose vectors it would map. Name both, or none."
        )
    if not given(config):
        return replace(config, words_digest="")
    current = digest([_sha256(path) for path in _files(config)], 64)
    if config.words_digest not in ("", current):
        raise SerbenchError(
            f"what {given(config)!r} (and word_times) holds has the digest {current[:16]}, but the configuration was "
            f"made with {config.words_digest[:16]}. Expected the same files: put them back, or start a new run."
        )
    return replace(config, words_digest=current)


def labels(config: WordConfig) -> tuple[str, ...]:
    """The file of vectors with the beginning of the digest, and who recognised the words; or that there are none."""
    if not given(config):
        return (NONE,)
    heard = load(config.word_times).recognised if config.word_times else ""
    named = f"words:{Path(given(config)).name}:{resolved(config).words_digest[:8]}"
    return (named, f"words:{heard}") if heard else (named,)


def source(config: WordConfig) -> Words:
    """The vectors of a configuration, read and checked."""
    if not given(config):
        return Words(None, config.word_dim)
    resolved(config)
    times = load(config.word_times).words if config.word_times else None
    if config.encoder:
        from ...features.spoken.encoder import load_encoder

        return Words(None, load_encoder(config.encoder).dim, times=times, role=ROLE)
    vectors = read_vectors(Path(config.vectors).expanduser())
    return Words(vectors, vectors.dim, config.unknown, config.unknown_seed, times)


def coverage_facts(config: WordConfig, words: Words, data: Data) -> dict[str, Any]:
    """What is recorded of the words of the training data.

    Raises
    ------
    SerbenchError
        If there are words, and none of them has a vector.
    """
    if not words.given:
        return {"vectors": None}
    spoken: list[str] = []
    without: dict[str, str] = {}
    for item in data.ids:
        table, reason = words.spoken(data, item)
        if table is None:
            without[item] = reason
        else:
            spoken += table["word"].astype(str).tolist()
    facts = _spoken_facts(config) if words.vectors is None else _known_facts(config, words.vectors, spoken)
    facts |= {"items": len(data), "items_without_words": len(without)}
    return facts | ({"without_words": dict(list(without.items())[:SHOWN])} if without else {})


def given(config: WordConfig) -> str:
    """The file that word vectors come from: of vectors, or of an encoder; empty where there is none."""
    return config.vectors or config.encoder


def request(config: WordConfig, hop_seconds: float) -> FeatureRequest:
    """The feature that makes vectors of the words' sound."""
    settings = {"encoder": config.encoder, "map": config.map, "word_times": config.word_times}
    chosen = tuple((key, value) for key, value in settings.items() if value)
    return FeatureRequest("spoken-words", (*chosen, ("hop_seconds", str(hop_seconds))))


def _spoken_facts(config: WordConfig) -> dict[str, Any]:
    return {"encoder": config.encoder, "map": config.map or None, "digest": resolved(config).words_digest}


def _known_facts(config: WordConfig, vectors: Vectors, spoken: Sequence[str]) -> dict[str, Any]:
    known = need_overlap(coverage(spoken, vectors), f"the training data in {config.vectors!r}")
    return {
        "vectors": config.vectors,
        "digest": resolved(config).words_digest,
        "tokens": known.tokens,
        "known_tokens": known.known_tokens,
        "types": known.types,
        "known_types": known.known_types,
    }


def _files(config: WordConfig) -> list[Path]:
    """The files that a configuration names, those of a folder in order."""
    times = Path(config.word_times).expanduser()
    further = sorted(times.glob("*.csv")) if times.is_dir() else [times]
    named = [Path(path).expanduser() for path in (config.vectors, config.encoder, config.map) if path]
    return [*named, *(further if config.word_times else [])]


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise SerbenchError(
            f"the file {str(path)!r} can't be read: {error.strerror}. Expected files such as 'serbench words' makes: "
            "--set model.vectors=FILE or model.encoder=FILE, --set model.word_times=FILE."
        ) from error
