"""Where an encoder's checkpoint lies and which one it is: a local folder, the Hugging Face cache, or random weights.

Nothing is ever downloaded: an experiment that names a checkpoint must find the same one tomorrow. A repository of the
hub is looked up in the local cache at a stated revision and is identified by its commit; a local folder is identified
by the SHA-256 of its weight files and of its configuration. Weights are read from safetensors files alone, since
pickle files run whatever code their author put in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import cache_root, digest
from ...datasets.core.libraries import raise_library_failure
from ..core.audio import AudioHashes
from .families import RANDOM, RANDOM_SEED, WHISPER, Geometry, geometry, random_parts
from .library import transformers

RANDOM_PREFIX = "random:"
CONFIG, INDEX = "config.json", "model.safetensors.index.json"
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found.

    Attributes
    ----------
    name : as it was typed
    short : a name for signatures and cache descriptions that is the same wherever a folder lies
    folder : where its files lie; None for random weights
    identity : what stands in cache keys, as (key, value): the commit, the digests, or the seed
    config : its transformers config object
    preprocessor : contents of preprocessor_config.json
    geometry : its frames
    """

    name: str
    short: str
    folder: Path | None
    identity: tuple[tuple[str, str], ...]
    config: Any = field(compare=False)
    preprocessor: Mapping[str, Any] = field(compare=False)
    geometry: Geometry


def locate(name: str, revision: str = "main") -> Checkpoint:
    """Find a checkpoint.

    Parameters
    ----------
    name : a folder, the name of a repository of the Hugging Face hub, or "random:NAME" (see `RANDOM`)
    revision : branch, tag or commit; for repositories alone

    Raises
    ------
    SerbenchError
        When there is none, it is not a speech encoder, lacks a file, or holds its weights in pickle files alone.
    """
    if not name:
        raise SerbenchError(
            "no encoder is named. Type its folder or its name on the Hugging Face hub: --set model.encoder=NAME for a "
            "model, transformers:NAME for the feature. random:wav2vec2-tiny needs no checkpoint."
        )
    if name.startswith(RANDOM_PREFIX):
        return _random(name)
    folder, identity = folder_of(name, revision)
    return _found(name, name if "commit" in identity else folder.resolve().name, folder, identity)


def folder_of(name: str, revision: str = "main") -> tuple[Path, dict[str, str]]:
    """Where a checkpoint of any kind lies, a folder or a repository in the local cache, and which one it is.

    Raises
    ------
    SerbenchError
        When there is neither, and for a folder with a revision.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision != "main":
            raise SerbenchError(f"{name} is a folder, which has no revision {revision!r}. Leave the revision out.")
        return folder, _folder_identity(folder)
    snapshot = _snapshot(name, revision)
    return snapshot, {"repository": name, "commit": snapshot.name}


def windowed(source: Checkpoint, seconds: float, setting: str = "feature.window_seconds") -> Checkpoint:
    """The same checkpoint with a shorter window; 0 = its own.

    Raises
    ------
    SerbenchError
        For an encoder other than Whisper, and for a window that is longer than its own or holds no frame.
    """
    shape = source.geometry
    if not seconds:
        return source
    if shape.kind != WHISPER or shape.window is None:
        raise SerbenchError(
            f"{setting}={seconds:g}: {source.name} is a {shape.family} encoder, and only Whisper is fed "
            "in windows that may be cut. Leave the setting out; encoders of waveforms have feature.chunk_seconds, and "
            "model.max_seconds where they are fine-tuned."
        )
    frames, longest = round(seconds * shape.sampling_rate / shape.hop), shape.window / shape.sampling_rate
    if not 1 <= frames * shape.hop <= shape.window:
        raise SerbenchError(
            f"{setting}={seconds:g} is out of range. Expected {shape.hop / shape.sampling_rate:g} to "
            f"{longest:g}, the window that {source.name} was trained with."
        )
    return replace(source, geometry=replace(shape, window=frames * shape.hop))


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files of a checkpoint.

    Raises
    ------
    SerbenchError
        When there are none; for pickle files with the lines that convert them.
    """
    if (folder / INDEX).is_file():
        shards = sorted(set(_read(folder / INDEX, name)["weight_map"].values()))
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise SerbenchError(f"{name} lacks the weight file {missing[0]}. Copy or download the checkpoint again.")
        return [folder / shard for shard in shards]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    pickled = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in folder.glob(pattern))
    if not pickled:
        raise SerbenchError(f"{name} holds no weights in {folder}. Expected model.safetensors beside config.json.")
    new = f"{Path(name).name}-safetensors"
    raise SerbenchError(
        f"{name} holds its weights only as a pickle file ({pickled[0]}), which can run any code when it is loaded. "
        "Expected model.safetensors. If you trust its author, convert it once and name the new folder instead:\n"
        '  python -c "from transformers import AutoModel as M, AutoFeatureExtractor as F; '
        f"a, b = '{folder}', '{new}'; "
        'M.from_pretrained(a, use_safetensors=False).save_pretrained(b); F.from_pretrained(a).save_pretrained(b)"'
    )


def _random(name: str) -> Checkpoint:
    text = name.removeprefix(RANDOM_PREFIX)
    if text not in RANDOM and (Path(text).expanduser() / CONFIG).is_file():
        return _random_like(name, locate(text))
    family, settings, preprocessor = random_parts(name.removeprefix(RANDOM_PREFIX))
    config = transformers().AutoConfig.for_model(family, **settings)
    identity = (("random", name), ("seed", str(RANDOM_SEED)))
    return Checkpoint(name, name, None, identity, config, preprocessor, geometry(config, preprocessor, name))


def _random_like(name: str, source: Checkpoint) -> Checkpoint:
    """Random weights in the architecture of another checkpoint; its own weights are no part of the identity."""
    settings = digest({key: value for key, value in source.identity if key != "weights"})
    identity = (("random", settings), ("seed", str(RANDOM_SEED)))
    return replace(source, name=name, short=f"{RANDOM_PREFIX}{source.short}", folder=None, identity=identity)


def _found(name: str, short: str, folder: Path, identity: Mapping[str, str]) -> Checkpoint:
    if not (folder / CONFIG).is_file():
        raise SerbenchError(f"{name} has no config.json in {folder}. Expected a checkpoint saved by transformers.")
    _read(folder / CONFIG, name)
    auto = transformers().AutoConfig
    try:
        config = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError, RuntimeError, ImportError) as error:
        raise_library_failure(error)
        raise SerbenchError(
            f"the config.json of {name} can't be used: {str(error).splitlines()[0]} Expected a speech encoder of the "
            "transformers library."
        ) from error
    preprocessor = _preprocessor(folder, name)
    shape = geometry(config, preprocessor, name)  # a text or vision model is told what it is, before its files are
    weight_files(folder, name)
    if not preprocessor:
        raise SerbenchError(
            f"{name} has no preprocessor_config.json in {folder}, so its sampling rate and normalisation are not known."
            " Copy that file from the place that the checkpoint came from."
        )
    return Checkpoint(name, short, folder, tuple(identity.items()), config, preprocessor, shape)


def _preprocessor(folder: Path, name: str) -> dict[str, Any]:
    for file in PREPROCESSORS:
        if (folder / file).is_file():
            content = _read(folder / file, name)
            return dict(content.get("feature_extractor", content))
    return {}


def _folder_identity(folder: Path) -> dict[str, str]:
    """Digests of the weights and of the files that say how they are used; weights are hashed once per change."""
    if not (folder / CONFIG).is_file():
        return {}
    texts = [(folder / file).read_bytes().hex() for file in (CONFIG, *PREPROCESSORS) if (folder / file).is_file()]
    weights = sorted(p for p in folder.glob("*.safetensors"))
    hashes = AudioHashes(cache_root() / "checkpoints")
    digests = {p.name: hashes.sha256(p) for p in weights}
    hashes.save()
    return {"weights": digest(digests, 64), "settings": digest(texts)}


def _snapshot(name: str, revision: str) -> Path:
    """The folder of a repository's snapshot in the Hugging Face cache; it is named after its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except HFValidationError as error:
        raise SerbenchError(
            f"there is neither a folder {name!r} nor can a repository of the Hugging Face hub have that name. Expected "
            "the folder of a checkpoint, or OWNER/NAME of a repository that is in the local cache."
        ) from error
    except (LocalEntryNotFoundError, FileNotFoundError) as error:
        raise SerbenchError(
            f"there is neither a folder {name!r} nor a repository of that name, revision {revision!r}, in the Hugging "
            f"Face cache, and nothing is downloaded by itself. Type: hf download {name} --revision {revision}, or give "
            "the folder of a checkpoint."
        ) from error


@lru_cache(maxsize=64)
def _parsed(path: Path, size: int, modified: int) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _read(path: Path, name: str) -> dict[str, Any]:
    """A JSON file of a checkpoint."""
    try:
        state = path.stat()
        return _parsed(path, state.st_size, state.st_mtime_ns)
    except (ValueError, OSError, TypeError) as error:
        raise SerbenchError(
            f"the file {path.name} of {name} can't be read: {error}. Copy or download the checkpoint again."
        ) from error
