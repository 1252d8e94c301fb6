"""What a folder of a model that travels holds, written and checked; a repository of the Hugging Face hub is one too.

`model.safetensors` is the file that a run kept, byte for byte. `config.json` says in plain text what it is: model,
preset, configuration, features, task, labels, signature, scores, what it was trained on, and the SHA-256 of each file
of numbers. `README.md` is the model card, which anyone may edit. `model.onnx` is there where it was asked for. Nothing
else is ever read, so no pickle is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import checksum, digest, file_sha256, intact
from ..core.persist import FILE_NAME as WEIGHTS, describe

SCHEMA = 1
CONFIG = "config.json"
CARD = "README.md"
ONNX = "model.onnx"
NUMBERS = (WEIGHTS, ONNX)
"""Files whose digests stand in the description."""
REQUIRED = frozenset({"schema", "model", "configuration", "task", "labels", "signature", "files"})


def parcel(weights: bytes, facts: Mapping[str, Any], card: str, onnx: bytes | None = None) -> dict[str, bytes]:
    """The files of a model that travels: name -> bytes.

    `facts` are the entries of `config.json` beside schema, version, digests and checksum.
    """
    numbers = {WEIGHTS: weights} | ({} if onnx is None else {ONNX: onnx})
    files = {name: {"sha256": digest(data, 64), "bytes": len(data)} for name, data in numbers.items()}
    head = {**facts, "schema": SCHEMA, "library_name": "serbench", "serbench": version("serbench"), "files": files}
    text = json.dumps({**head, "checksum": checksum(head, {})}, indent=1, sort_keys=True, ensure_ascii=False)
    return {**numbers, CARD: card.encode(), CONFIG: f"{text}\n".encode()}


def read_config(text: str, source: str) -> dict[str, Any]:
    """The checked description of a model that travels, without its checksum.

    Parameters
    ----------
    source : where it came from, for messages

    Raises
    ------
    SerbenchError
        For a description of another library, of another schema, or one that was changed.
    """
    try:
        head = json.loads(text)
    except ValueError as error:
        raise SerbenchError(f"the {CONFIG} of {source} can't be read: {error}. {AGAIN}") from error
    if not is_ours(text.encode()):
        raise foreign(source, f"its {CONFIG} is of another library")
    if (missing := REQUIRED - head.keys()) or head["schema"] != SCHEMA:
        what = f"lacks {', '.join(sorted(missing))}" if missing else f"has schema {head['schema']}"
        raise SerbenchError(
            f"the {CONFIG} of {source} {what}. Expected schema {SCHEMA}, as 'serbench push' of serbench "
            f"{version('serbench')} writes it; take the version of serbench that wrote it, or push the model again."
        )
    if not intact(head, {}) or not _files_are_named(head["files"]):
        raise SerbenchError(f"the {CONFIG} of {source} was changed: its checksum is wrong. {AGAIN}")
    return dict(head)


def is_ours(text: bytes) -> bool:
    """Whether the bytes of a `config.json` say that they are of serbench, of whatever version."""
    try:
        head = json.loads(text)
    except ValueError:
        return False
    return isinstance(head, dict) and head.get("library_name") == "serbench"


AGAIN = "Expected the folder as 'serbench push' wrote it: copy or pull it again, or push the run again."


def foreign(source: str, why: str) -> SerbenchError:
    """The error for a place that holds no model of ours."""
    return SerbenchError(
        f"{source} holds no model of serbench: {why}. Expected what 'serbench push' writes: {CONFIG}, {WEIGHTS} and "
        f"{CARD}. Pickle files (.bin, .pt, .pth, .ckpt) are never read; a speech encoder of the transformers library "
        "is no model of emotions by itself: serbench run --model probe --set model.encoder=FOLDER trains one on it."
    )


def check(folder: Path, source: str) -> dict[str, Any]:
    """Check a folder of a model that travels; returns its description.

    Raises
    ------
    SerbenchError
        For a folder without a description, a file that is missing or not the described one, and weights that are not
        of the described model.
    """
    if not (folder / CONFIG).is_file():
        raise foreign(source, f"there is no {CONFIG}")
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
    except ValueError as error:
        raise SerbenchError(f"the {CONFIG} of {source} can't be read: {error}. {AGAIN}") from error
    config = read_config(text, source)
    for name, facts in config["files"].items():
        check_file(folder / name, facts, source)
    head = describe(folder)
    if (head["model"], head["config"], head["task"]) != (config["model"], config["configuration"], config["task"]):
        raise SerbenchError(f"the {WEIGHTS} of {source} are of another model than its {CONFIG} says. {AGAIN}")
    return config


def check_file(path: Path, facts: Mapping[str, Any], source: str) -> None:
    """Raise SerbenchError unless a file is there and has the described size and SHA-256."""
    if not path.is_file():
        raise SerbenchError(f"{source} lacks {path.name}, which its {CONFIG} names. {AGAIN}")
    if path.stat().st_size != facts["bytes"] or (found := file_sha256(path)) != facts["sha256"]:
        what = f"{path.stat().st_size} bytes" if path.stat().st_size != facts["bytes"] else f"SHA-256 {found[:16]}..."
        wanted = f"{facts['bytes']} bytes with SHA-256 {facts['sha256'][:16]}..."
        raise SerbenchError(f"{path.name} of {source} is damaged: it has {what}, expected {wanted} {AGAIN}")


def _files_are_named(files: Any) -> bool:
    """Whether the entry `files` names the weights, nothing that does not belong there, and each digest in full."""
    return (
        isinstance(files, dict)
        and WEIGHTS in files
        and files.keys() <= set(NUMBERS)
        and all(
            isinstance(f, dict)
            and isinstance(f.get("bytes"), int)
            and re.fullmatch("[0-9a-f]{64}", str(f.get("sha256")))
            for f in files.values()
        )
    )
