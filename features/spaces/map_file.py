"""A map between two spaces in a file, for vectors that were not there when it was fitted: safetensors, no pickle.

`serbench words align-spaces` writes it beside the mapped vectors. It holds the orthogonal matrix, and what was done to
the source vectors before (`prepare`), with the mean that was taken off.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...datasets.core.files import write_bytes
from ..core.tensor_file import Kind
from ..words.vectors import Vectors

Array = npt.NDArray[np.float32]
SUFFIX = ".map.safetensors"
_EXPECTED = f"Expected the file *{SUFFIX} that 'serbench words align-spaces' writes."
_KIND = Kind("map of word vectors", 1, "map of word vectors", _EXPECTED)


@dataclass(frozen=True, eq=False)
class SpaceMap:
    """A map.

    Attributes
    ----------
    prepare : what is done first, see `mapping.PREPARE`
    mean : (dim,) what "centre" takes off; zeros where nothing is
    matrix : (dim, dim) orthogonal
    """

    prepare: str
    mean: Array
    matrix: Array

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return len(self.matrix)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of what the file holds, 64 hexadecimal digits."""
        return hashlib.sha256(_content(self)).hexdigest()

    def __call__(self, vectors: Array) -> Array:
        """Vectors (word, dim) of the source space in the target space; zeros stay zeros."""
        mapped = np.asarray(prepared(vectors, self.prepare, self.mean)[0] @ self.matrix, np.float32)
        mapped[~vectors.any(axis=1)] = 0
        return mapped


def prepared(x: Array, steps: str, mean: Array | None = None) -> tuple[Array, Array]:
    """Vectors (word, dim) after the steps of `mapping.PREPARE`, and what "centre" took off (`mean`, or theirs)."""
    taken = np.zeros(x.shape[1], np.float32) if mean is None else mean
    for step in steps.split("-") if steps != "none" else ():
        if step == "unit":
            x = np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))
        else:
            taken = x.mean(0) if mean is None else mean
            x = x - taken
    return x, taken


def map_of(source: Vectors, prepare: str, matrix: Array) -> SpaceMap:
    """The map of a space that was prepared and turned as `mapping.align` does it."""
    return SpaceMap(prepare, prepared(source.matrix, prepare)[1], matrix)


def beside(vectors: Path) -> Path:
    """The map's file beside the mapped vectors: `mapped.vec.map.safetensors`."""
    return vectors.with_name(f"{vectors.name}{SUFFIX}")


def save_map(path: Path, space_map: SpaceMap) -> None:
    """Write a map, at once or not at all."""
    write_bytes(path, _content(space_map))


def load_map(path: Path | str) -> SpaceMap:
    """Read what `save_map` has written; raises `SerbenchError` if the file is missing, or no such map."""
    head, arrays = _KIND.read(path)
    try:
        return SpaceMap(head["prepare"], arrays["mean"], arrays["matrix"])
    except KeyError as error:
        raise _KIND.wrong(path, error) from error


def _content(space_map: SpaceMap) -> bytes:
    arrays = {name: np.asarray(getattr(space_map, name), np.float32) for name in ("mean", "matrix")}
    return _KIND.content({"prepare": space_map.prepare}, arrays)
