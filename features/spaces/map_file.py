"""A map between two spaces in a file, for vectors that were not there when it was fitted: safetensors, no pickle.

`serbench words align-spaces` writes it beside the mapped vectors. It holds the orthogonal matrix, and what was done to
the source vectors before (`prepare`), with the mean that was taken off.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import atomic_write, canonical_json
from ..words.vectors import Vectors

Array = npt.NDArray[np.float32]
SUFFIX = ".map.safetensors"
KIND, SCHEMA = "map of word vectors", 1


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
        x = vectors
        for step in self.prepare.split("-") if self.prepare != "none" else ():
            x = _unit(x) if step == "unit" else x - self.mean
        mapped = np.asarray(x @ self.matrix, np.float32)
        mapped[~vectors.any(axis=1)] = 0
        return mapped


def map_of(source: Vectors, prepare: str, matrix: Array) -> SpaceMap:
    """The map of a space that was prepared and turned as `mapping.align` does it."""
    x, mean = source.matrix, np.zeros(source.dim, np.float32)
    for step in prepare.split("-") if prepare != "none" else ():
        if step == "centre":
            mean = x.mean(0)
        x = _unit(x) if step == "unit" else x - mean
    return SpaceMap(prepare, mean, matrix)


def beside(vectors: Path) -> Path:
    """The map's file beside the mapped vectors: `mapped.vec.map.safetensors`."""
    return vectors.with_name(f"{vectors.name}{SUFFIX}")


def save_map(path: Path, space_map: SpaceMap) -> None:
    """Write a map, at once or not at all."""
    content = _content(space_map)
    atomic_write(path, lambda stream: stream.write(content))


def load_map(path: Path | str) -> SpaceMap:
    """Read what `save_map` has written.

    Raises
    ------
    SerbenchError
        If the file is missing, or no such map.
    """
    file, expected = Path(path).expanduser(), f"Expected the file *{SUFFIX} that 'serbench words align-spaces' writes."
    if not file.is_file():
        raise SerbenchError(f"there is no map {str(path)!r}. {expected}")
    try:
        with safetensors.safe_open(file, framework="np") as content:
            head = json.loads((content.metadata() or {}).get("serbench", "{}"))
            if (head.get("kind"), head.get("schema")) != (KIND, SCHEMA):
                raise ValueError(f"it is of the kind {head.get('kind')!r} and schema {head.get('schema')}")
            return SpaceMap(head["prepare"], content.get_tensor("mean"), content.get_tensor("matrix"))
    except (OSError, safetensors.SafetensorError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SerbenchError(f"{str(path)!r} holds no map of word vectors: {reason}. {expected}") from error


def _unit(x: Array) -> Array:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def _content(space_map: SpaceMap) -> bytes:
    tensors = {name: np.ascontiguousarray(getattr(space_map, name), np.float32) for name in ("mean", "matrix")}
    head = {"kind": KIND, "schema": SCHEMA, "prepare": space_map.prepare}
    return safetensors.numpy.save(tensors, metadata={"serbench": canonical_json(head)})
