"""The networks that DeepEmoCluster's authors released, as weights of `deepemocluster`.

The checkpoints of github.com/winston-lin-wei-cheng/DeepEmoClusters hold {arch, state_dict}; they are read as tensors
alone, nothing in them is executed. Normalisation constants lie beside them as MATLAB files with one variable
`normal_para`: moments of the 128 mel bands and of each label on the 1..7 scale (MSP-Podcast 1.6, training set).

Layers are numbered convolution 0, normalisation 1, ReLU 2, and so on; `classifier` and `emo_regressor` are the hidden
layers of the two heads, `top_layer_class` and `top_layer_attri` their last ones.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import file_sha256
from ...datasets.schema.task import Task
from ..core.sermodel import Resources
from .config import RELEASED
from .matlab import read_numbers
from .model import Model

TARGETS = {"Act": "arousal", "Dom": "dominance", "Val": "valence"}
"""Attribute as the release spells it -> target."""
SIZES = {"bands": 128, "frames": 62, "chunks": 11}
_HEADS = {
    "cnn_out.0": "encoder.latent",
    "classifier.0": "cluster.0",
    "top_layer_class": "cluster.2",
    "emo_regressor.0": "emotion.0",
    "top_layer_attri": "emotion.2",
}
_LAYER = re.compile(r"cnn_features\.(\d+)\.(.+)")


def convert(file: Path, norm: Path, target: str | None = None) -> tuple[Model, dict[str, Any]]:
    """A trained model from a released checkpoint, and notes about its origin.

    Parameters
    ----------
    file : `..._10clusters_Act.pth.tar`
    norm : folder of `feat_norm_means.mat`, `feat_norm_stds.mat`, `act_norm_means.mat` ...
    target : arousal, dominance or valence; None = told by the file's name

    Raises
    ------
    SerbenchError
        For a file that is no such checkpoint, of another shape, or incomplete normalisation constants.
    """
    target = target or _target_of(file)
    if target not in TARGETS.values():
        raise SerbenchError(f"the target {target!r} is unknown. Expected one of: {', '.join(TARGETS.values())}.")
    weights = _renamed(file, _state(file))
    short = next(k.lower() for k, v in TARGETS.items() if v == target)
    weights |= {
        "normaliser.mean": _constant(norm, "feat_norm_means", 128),
        "normaliser.inverse": 1 / _constant(norm, "feat_norm_stds", 128),
        "label_mean": _constant(norm, f"{short}_norm_means", 1),
        "label_std": _constant(norm, f"{short}_norm_stds", 1),
    }
    task = Task(target, "regression", (target,), scales={target: (1.0, 7.0)})
    model = Model(replace(RELEASED, clusters=max(2, len(weights["cluster.2.bias"]))), task, Resources())
    arrays = {key: v.astype(np.float32) if v.dtype.kind == "f" else v for key, v in weights.items()}
    try:
        model.restore(arrays, {"sizes": SIZES})
    except RuntimeError as error:
        raise _another(file, str(error).splitlines()[-1].strip()) from error
    return model, {
        "imported_from": file.name,
        "sha256": file_sha256(file),
        "normalisation": norm.name,
        "trained_on": {"name": "msp-podcast", "release": "1.6"},
    }


def _target_of(file: Path) -> str:
    named = re.search(rf"_({'|'.join(TARGETS)})\.", file.name)
    if not named:
        raise SerbenchError(
            f"the name of {str(file)!r} does not say which attribute it predicts (..._Act.pth.tar, _Dom or _Val). "
            "Type --target arousal, dominance or valence."
        )
    return TARGETS[named[1]]


def _state(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name."""
    if not file.is_file():
        raise SerbenchError(f"there is no file {str(file)!r}. Expected a checkpoint of the release (.pth.tar).")
    try:
        _intact(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the version of the pickle protocol
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, EOFError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _refused(file, reason) from error
    except Exception as error:  # of any kind, from whatever bytes; torch's own text advises to execute them
        raise _refused(file, "it holds something else.") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise _another(file, "it has no entry state_dict of tensors")
    return {str(key).replace(".module", ""): value for key, value in state.items()}


def _intact(file: Path) -> None:
    """Refuse a damaged checkpoint, and one that unpacks to more than it holds; torch compares no checksum.

    Files of torch before 1.6 are no zip files and have none.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        if packed := [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]:
            raise zipfile.BadZipFile(f"its part {packed[0]!r} is compressed, which torch never does.")
        if (damaged := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"its part {damaged!r} is damaged; copy the file again.")


def _renamed(file: Path, state: dict[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
    """The tensors under our names; every one of theirs has to have a place."""
    arrays = {}
    for key, value in state.items():
        layer, (module, _, name) = _LAYER.fullmatch(key), key.rpartition(".")
        if layer is not None:
            number, kind = divmod(int(layer[1]), 3)
            ours = f"encoder.{('convolutions', 'norms', '')[kind]}.{number}.{layer[2]}"
        elif module in _HEADS:
            ours = f"{_HEADS[module]}.{name}"
        else:
            raise _another(file, f"it has a tensor {key!r} that the released network does not have")
        arrays[ours] = value.numpy()
    if "cluster.2.bias" not in arrays:
        raise _another(file, "it has no tensor 'top_layer_class.bias'")
    return arrays


def _constant(folder: Path, name: str, size: int) -> npt.NDArray[np.float64]:
    """A normalisation constant (size,)."""
    file = folder / f"{name}.mat"
    try:
        values = read_numbers(file, "normal_para").astype(np.float64)
    except (OSError, ValueError) as error:
        raise SerbenchError(
            f"{str(file)!r} can't be read: {error}. Expected the release's normalisation constants, MATLAB files with "
            "a variable 'normal_para': give their folder as --norm."
        ) from error
    if values.shape != (size,) or not np.isfinite(values).all() or (name.endswith("stds") and not (values > 0).all()):
        raise SerbenchError(f"{str(file)!r} holds {values.size} numbers. Expected {size} finite ones, spreads above 0.")
    return values


def _refused(file: Path, reason: str) -> SerbenchError:
    return SerbenchError(
        f"{str(file)!r} can't be read as tensors alone: {reason} Expected a checkpoint of the release; files that "
        "would execute code are refused."
    )


def _another(file: Path, reason: str) -> SerbenchError:
    return SerbenchError(
        f"{str(file)!r} is no checkpoint of the DeepEmoCluster release: {reason}. Expected seven convolutions of 32 to "
        "128 channels, hidden layers of 256, one output per attribute, and a top layer with one output per cluster."
    )
