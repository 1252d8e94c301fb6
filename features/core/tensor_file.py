"""Arrays in a safetensors file that says what it is: a kind, a schema, and further facts in the metadata; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json, checksum, intact

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    name, schema : as they stand in the file
    called : what messages call it
    expected : a sentence that says who writes such files
    """

    name: str
    schema: int
    called: str
    expected: str

    def content(self, facts: Mapping[str, Any], arrays: Arrays) -> bytes:
        """The bytes of a file; equal for equal facts and arrays."""
        head = {"kind": self.name, "schema": self.schema, **facts}
        tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        whole = canonical_json({**head, "checksum": checksum(head, tensors)})
        return safetensors.numpy.save(tensors, metadata={"serbench": whole})

    def read(self, path: Path | str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Facts and arrays of a file.

        Raises
        ------
        SerbenchError
            If the file is missing, damaged, or of another kind or schema.
        """
        file = Path(path).expanduser()
        if not file.is_file():
            raise SerbenchError(f"there is no {self.called} {str(path)!r}. {self.expected}")
        try:
            with safetensors.safe_open(file, framework="np") as content:
                head = json.loads((content.metadata() or {}).get("serbench", "{}"))
                if (head.get("kind"), head.get("schema")) != (self.name, self.schema):
                    raise ValueError(f"it is of the kind {head.get('kind')!r} and schema {head.get('schema')}")
                arrays = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a mapping)
            if not intact(head, arrays):
                raise ValueError("its checksum is wrong, so it was damaged")
            return head, arrays
        except (OSError, safetensors.SafetensorError, ValueError) as error:
            raise self.wrong(path, error) from error

    def wrong(self, path: Path | str, error: Exception) -> SerbenchError:
        """The message for a file that holds something else."""
        return SerbenchError(f"{str(path)!r} holds no {self.called}: {str(error).splitlines()[0]}. {self.expected}")
