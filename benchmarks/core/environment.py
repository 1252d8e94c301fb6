"""What this machine can do: versions, the device, and each optional part with the reason where it is not usable."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A library: import name, distribution, what it is for, and the extra that brings it (empty: it is required)."""

    module: str
    distribution: str
    purpose: str
    extra: str = ""


PARTS = (
    Part("numpy", "numpy", "arrays"),
    Part("scipy", "scipy", "statistics, signal processing"),
    Part("pandas", "pandas", "corpus tables"),
    Part("pyarrow", "pyarrow", "prediction files"),
    Part("sklearn", "scikit-learn", "linear, svm"),
    Part("soundfile", "soundfile", "audio decoding"),
    Part("soxr", "soxr", "resampling"),
    Part("librosa", "librosa", "reference for mel features"),
    Part("opensmile", "opensmile", "egemaps and opensmile features (non-commercial licence)"),
    Part("torch", "torch", "neural models"),
    Part("torchaudio", "torchaudio", "forced alignment"),
    Part("transformers", "transformers", "pre-trained encoders"),
    Part("gensim", "gensim", "word vectors"),
    Part("matplotlib", "matplotlib", "figures"),
    Part("faiss", "faiss-cpu", "k-means of deepemocluster, instead of our own", "faiss"),
    Part("av", "av", "audio from video clips (MELD)", "video"),
    Part("audformat", "audformat", "audformat databases", "audformat"),
    Part("ray", "ray", "the grid on a cluster", "ray"),
    Part("optuna", "optuna", "serbench tune", "tune"),
)


def report() -> Iterator[str]:
    """Lines of `serbench env`."""
    yield f"serbench {_version('serbench') or 'not installed as a distribution'}"
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    for part in PARTS:
        version, problem = usable(part)
        state = "usable" if problem is None else f"NOT usable: {problem}"
        yield f"  {part.distribution:<14} {version or '-':<16} {state}  ({part.purpose})"
    yield f"device: {_device()}"
    from ...datasets.core.files import cache_root

    yield f"cache: {cache_root()} (set SERBENCH_CACHE to move it)"


def usable(part: Part) -> tuple[str | None, str | None]:
    """Version, and the reason why the part can't be used (None when it can)."""
    version = _version(part.distribution)
    try:
        importlib.import_module(part.module)
    except ModuleNotFoundError as error:
        if error.name == part.module:
            remedy = f"pip install 'serbench[{part.extra}]'" if part.extra else f"pip install {part.distribution}"
            return version, f"not installed; type: {remedy}"
        return version, f"it needs {error.name}, which is not installed"
    except Exception as error:  # a broken binary raises OSError, RuntimeError or worse: report it, never fail
        return version, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
    return version, None


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> str:
    try:
        import torch
    except Exception as error:  # see `usable`
        return f"cpu (torch can't be imported: {error})"
    if torch.cuda.is_available():
        return ", ".join(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))
    if torch.backends.mps.is_available():
        return "mps"
    return f"cpu, {torch.get_num_threads()} threads (no CUDA device: {_why_no_cuda()})"


def _why_no_cuda() -> str:
    import torch

    return "torch was built without CUDA" if torch.version.cuda is None else "no NVIDIA driver or card was found"
