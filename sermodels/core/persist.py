"""Trained models as files: one safetensors file, arrays as tensors, all else as JSON in its metadata. No pickle.

The metadata entry "serbench" holds {schema, serbench (version), model, config, task, facts}, and where they are known
`features` (role -> what the model was trained on) and `notes` (where weights of other programs came from); `load_model`
needs nothing but the file and the code of the model.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ...datasets.core.config import from_dict, to_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json, checksum, intact, write_bytes
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from .. import registry
from .sermodel import Resources, SERModel

SCHEMA = 1
FILE_NAME = "model.safetensors"
SUFFIX = ".safetensors"


def save_model(
    model: SERModel,
    folder_or_file: Path | str,
    features: Mapping[str, FeatureRequest] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trained model and return the file's path.

    Parameters
    ----------
    folder_or_file : a path that ends in ".safetensors" is the file; any other is a folder, and the file in it is
        called "model.safetensors". Parents are made, an older file is replaced at once or not at all.
    features : role -> the request that the training data were made by; None = those that the model asks for
    notes : JSON-able facts about the weights' origin
    """
    path = _file(Path(folder_or_file))
    arrays, facts = model.state()
    head = {
        "schema": SCHEMA,
        "serbench": importlib.metadata.version("serbench"),
        "model": model.name,
        "config": to_dict(model.config),
        "task": model.task.to_dict(),
        "facts": facts,
    }
    if features is not None:
        head["features"] = {role: asdict(request) for role, request in features.items()}
    if notes:
        head["notes"] = dict(notes)
    tensors = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in arrays.items()}
    whole = canonical_json({**head, "checksum": checksum(head, tensors)})
    content = safetensors.numpy.save(tensors, metadata={"serbench": whole})
    write_bytes(path, content)
    return path


def load_model(path: Path | str, resources: Resources | None = None) -> SERModel:
    """Rebuild a trained model from `save_model`'s file (or the folder that holds it).

    Raises
    ------
    SerbenchError
        For a path without such a file, a file of another kind, another schema, an unknown model, unknown settings, or
        arrays that don't fit the model.
    """
    file = _file(Path(path))
    head, arrays = _read(file)
    module = registry.load(head["model"])
    try:
        model = module.Model(from_dict(module.Config, head["config"]), Task.from_dict(head["task"]), resources)
        model.restore(arrays, head["facts"])
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise SerbenchError(
            f"{str(file)!r} does not fit the model {head['model']!r}: {reason}. Expected the arrays and facts of "
            f"this model's state() (serbench {head['serbench']} wrote the file). Train it again with 'serbench run'."
        ) from error
    assert isinstance(model, SERModel)
    return model


def describe(path: Path | str) -> dict[str, Any]:
    """The description of a trained model in its file: model, config, task, facts, features, notes, and more.

    Raises
    ------
    SerbenchError
        For a path without such a file, or a file of another kind or schema.
    """
    file = _file(Path(path))
    return _read(file)[0]


def weights_file(path: Path | str) -> Path:
    """The file that a path given to `load_model` means."""
    return _file(Path(path))


def trained_on(head: Mapping[str, Any]) -> dict[str, FeatureRequest]:
    """Role -> feature request of a described model: as recorded, else what the model asks for."""
    held = head.get("features")
    if held is not None:
        return {role: FeatureRequest(r["name"], tuple((k, v) for k, v in r["settings"])) for role, r in held.items()}
    module = registry.load(head["model"])
    asked: dict[str, FeatureRequest] = module.Model.requests(
        from_dict(module.Config, head["config"]), Task.from_dict(head["task"])
    )
    return asked


def expect(arrays: Mapping[str, npt.NDArray[Any]], key: str, shape: tuple[int | None, ...]) -> npt.NDArray[Any]:
    """The array called `key`, checked to have `shape` (None = any length); for `restore`.

    Raises
    ------
    ValueError
        If it is missing or of another shape; `load_model` tells the user.
    """
    if key not in arrays:
        raise ValueError(f"there is no array {key!r}; there are: {', '.join(sorted(arrays)) or 'none'}")
    held = arrays[key].shape
    if len(held) != len(shape) or any(want not in (None, have) for want, have in zip(shape, held, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"the array {key!r} has shape {held}, expected ({wanted})")
    return arrays[key]


def _file(path: Path) -> Path:
    return path if path.suffix == SUFFIX and not path.is_dir() else path / FILE_NAME


def _read(file: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    if file.parent.is_file():  # it has another ending, so it was taken for a folder
        raise _other_kind(file.parent)
    if not file.is_file():
        raise SerbenchError(f"there is no file {str(file)!r}. Expected a file that save_model wrote, or its folder.")
    try:
        with safetensors.safe_open(file, framework="np") as content:
            metadata = content.metadata() or {}
            arrays = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, OSError) as error:
        raise SerbenchError(f"{str(file)!r} is not a readable safetensors file: {error}.") from error
    head = _head(file, metadata.get("serbench"))
    if not intact(head, arrays):
        raise SerbenchError(
            f"{str(file)!r} is damaged: its checksum is wrong. Expected a file as save_model wrote it; copy it again, "
            "or train the model again."
        )
    return head, arrays


def _other_kind(file: Path) -> SerbenchError:
    """The error for a file that does not end in ".safetensors"; what is in it is never looked at."""
    return SerbenchError(
        f"{str(file)!r} is not opened: trained weights are files that end in {SUFFIX}, as 'serbench run --save-models' "
        "writes them, since a pickle file (.pth, .pt, .ckpt, .bin, .pkl) can run any code when it is loaded. A "
        "checkpoint of a model's authors is converted without running anything in it: serbench import "
        f"{'|'.join(registry.parts('importer'))} {file} --norm FOLDER --out {file.name.partition('.')[0]}{SUFFIX}. Any "
        "other model has to be trained by serbench."
    )


def _head(file: Path, text: str | None) -> dict[str, Any]:
    """The checked description of the model in the file's metadata."""
    if text is None:
        raise SerbenchError(
            f"{str(file)!r} is a safetensors file, but not of a serbench model: its metadata has no entry 'serbench'. "
            "Expected a file that save_model wrote."
        )
    try:
        head = json.loads(text)
        missing = {"schema", "serbench", "model", "config", "task", "facts"} - head.keys()
    except (json.JSONDecodeError, AttributeError) as error:
        raise SerbenchError(f"the description in {str(file)!r} can't be read: {error}.") from error
    if missing or head["schema"] != SCHEMA:
        what = f"lacks {', '.join(sorted(missing))}" if missing else f"has schema {head['schema']}"
        raise SerbenchError(
            f"the description in {str(file)!r} {what}. Expected schema {SCHEMA}; load it with the version of serbench "
            "that wrote it, or train the model again."
        )
    return dict(head)
