"""The word vectors of `semantic-fusion`: settings, the file with its digest, and what is recorded of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..datasets._config import option
from ..datasets._errors import SerbenchError
from ..features._coverage import coverage, need_overlap
from ..features._wordvec import UNKNOWN, read_vectors
from ._model import Data
from ._semantic_frames import Words

NONE = "words:none"
"""Label of a score without word vectors."""
C = TypeVar("C", bound="WordConfig")


@dataclass(frozen=True)
class WordConfig:
    """Settings of the word vectors."""

    vectors: str = option("", "file of word vectors (.vec, .txt, .bin); empty = zero vectors", source="section 3.1")
    vectors_sha256: str = option("", "digest of that file, filled in when a run is planned", source="free choice")
    word_dim: int = option(100, "size of a word vector where no file is given", source="released code", low=1)
    unknown: str = option("random", "vector of a word that the file lacks", source="released code", choices=UNKNOWN)
    unknown_seed: int = option(0, "seed of the random ones", source="free choice", low=0)


def resolved(config: C) -> C:
    """The configuration with the digest of its file, which makes other contents another configuration.

    Raises
    ------
    SerbenchError
        If the file is missing, or is not the one that the configuration was made with.
    """
    if not config.vectors:
        return replace(config, vectors_sha256="")
    found = _sha256(Path(config.vectors))
    if config.vectors_sha256 not in ("", found):
        raise SerbenchError(
            f"the file of word vectors {config.vectors!r} has the digest {found[:16]}..., but the configuration was "
            f"made with {config.vectors_sha256[:16]}.... Expected the same file: put it back, or start a new run."
        )
    return replace(config, vectors_sha256=found)


def labels(config: WordConfig) -> tuple[str, ...]:
    """The file's name and the beginning of its digest, or that there is none."""
    if not config.vectors:
        return (NONE,)
    return (f"words:{Path(config.vectors).name}:{resolved(config).vectors_sha256[:8]}",)


def source(config: WordConfig) -> Words:
    """The vectors of a configuration, read and checked."""
    if not config.vectors:
        return Words(None, config.word_dim)
    resolved(config)
    vectors = read_vectors(config.vectors)
    return Words(vectors, vectors.dim, config.unknown, config.unknown_seed)


def coverage_facts(config: WordConfig, words: Words, data: Data) -> dict[str, Any]:
    """What is recorded of the words of the training data.

    Raises
    ------
    SerbenchError
        If there are words, and none of them has a vector.
    """
    if words.vectors is None:
        return {"vectors": None}
    spoken: list[str] = []
    without: dict[str, str] = {}
    for item in data.ids:
        try:
            said = [] if data.words is None else data.words(item)["word"].astype(str).tolist()
            without |= {} if said else {item: "no words"}
        except SerbenchError as error:
            said, without = [], {**without, item: str(error)}
        spoken += said
    found = need_overlap(coverage(spoken, words.vectors), f"the training data in {config.vectors!r}")
    facts = {"vectors": config.vectors, "sha256": _sha256(Path(config.vectors)), "tokens": found.tokens,
             "known_tokens": found.known_tokens, "types": found.types, "known_types": found.known_types,
             "items": len(data), "items_without_words": len(without)}  # fmt: skip
    return facts | ({"without_words": dict(list(without.items())[:5])} if without else {})


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SerbenchError(
            f"the file of word vectors {str(path)!r} can't be read: {error.strerror}. Expected a file such as those of "
            "'serbench words': --set model.vectors=FILE."
        ) from error
