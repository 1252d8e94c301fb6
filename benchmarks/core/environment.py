"""What this machine can do: versions, the device, and each part with the reason where it is not usable."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

from ...datasets.core.libraries import (
    NOT_INSTALLED,
    installed_version,
    left_out,
    reason_of_failure,
    remedy,
    requirement,
)


@dataclass(frozen=True)
class Part:
    """A library: import name, distribution, what is lost without it, and the extra that brings it (empty: required)."""

    module: str
    distribution: str
    lost: str
    extra: str = ""


EVERYTHING = "everything but serbench list and env"
PARTS = (
    Part("numpy", "numpy", EVERYTHING),
    Part("scipy", "scipy", "the demo corpus, significance, mel, MFCCs"),
    Part("pandas", "pandas", EVERYTHING),
    Part("pyarrow", "pyarrow", "predictions of records: run, leaderboard, compare, report; MSP-Podcast"),
    Part("sklearn", "scikit-learn", "linear, svm, clusters"),
    Part("threadpoolctl", "threadpoolctl", "run (bounds of threads)"),
    Part("soundfile", "soundfile", "all audio"),
    Part("soxr", "soxr", "audio of another sampling rate than the feature's"),
    Part("librosa", "librosa", "words speech2vec"),
    Part("opensmile", "opensmile", "egemaps, opensmile, emobase45 (non-commercial licence), so linear, svm, maec"),
    Part("torch", "torch", "all neural models, transformers features, words"),
    Part("safetensors", "safetensors", "saved models, neural models, transformers features"),
    Part(
        "transformers",
        "transformers",
        "probe, transformer, transformers features, words align --model, words transcribe",
    ),
    Part(
        "huggingface_hub",
        "huggingface-hub",
        "encoders by their name on the hub (folders work), push, pull of repositories",
    ),
    Part("gensim", "gensim", "words word2vec"),
    Part("matplotlib", "matplotlib", "figures: report, rank, clusters, salience, traces, cross, study"),
    Part("jinja2", "jinja2", "report"),
    Part("typer", "typer", "the command line"),
    Part("rich", "rich", "tables and progress on the terminal"),
    Part("packaging", "packaging", "the check of versions"),
    Part("platformdirs", "platformdirs", "serbench.toml in the user's folder"),
    Part("faiss", "faiss-cpu", "model.kmeans=faiss of deepemocluster", "faiss"),
    Part("av", "av", "video clips of MELD", "video"),
    Part("audformat", "audformat", "the dataset audformat", "audformat"),
    Part("iso639", "iso639-lang", "names of languages in the dataset audformat", "audformat"),
    Part("ray", "ray", "--launcher ray", "ray"),
    Part("jiwer", "jiwer", "word error rates of words transcribe", "wer"),
    Part("krippendorff", "krippendorff", "Krippendorff's alpha in serbench raters", "raters"),
    Part("pocketsphinx", "pocketsphinx", "words align --model pocketsphinx", "pocketsphinx"),
    Part("optuna", "optuna", "serbench tune", "tune"),
    Part("onnx", "onnx", "serbench push --onnx", "onnx"),
    Part("onnxscript", "onnxscript", "serbench push --onnx", "onnx"),
    Part("tensorboard", "tensorboard", "serbench run --track tensorboard", "tensorboard"),
    Part("mlflow", "mlflow-skinny", "serbench run --track mlflow", "mlflow"),
    Part("sqlalchemy", "sqlalchemy", "serbench run --track mlflow into a database", "mlflow"),
    Part("alembic", "alembic", "serbench run --track mlflow into a database", "mlflow"),
    Part("wandb", "wandb", "serbench run --track wandb", "wandb"),
    Part("pyroomacoustics", "pyroomacoustics", "reverb of serbench stress and of --train-with", "stress"),
)


@dataclass(frozen=True)
class State:
    """A part as it is here: its version, why it can't be used (None when it can), the line to type, and a remark."""

    part: Part
    version: str | None
    problem: str | None
    remedy: str = ""
    remark: str = ""
    required: bool = False

    def line(self) -> str:
        """One line of `serbench env`."""
        head = f"  {self.part.distribution:<14} {self.version or '-':<16} "
        if self.problem is None:
            return f"{head}usable{f' ({self.remark})' if self.remark else ''}"
        kind = "REQUIRED" if self.required else "optional"
        return f"{head}NOT usable, {kind}: {self.problem}; lost: {self.part.lost}; type: {self.remedy}"


def states() -> list[State]:
    """All parts as they are here."""
    return [state(part) for part in PARTS]


def report(parts: list[State]) -> Iterator[str]:
    """Lines of `serbench env`."""
    yield f"serbench {installed_version('serbench') or 'not installed as a distribution'}"
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield from (one.line() for one in parts)
    yield f"device: {_device()}"
    from ...datasets.core.files import cache_root, config_path

    yield f"config: {config_path() or 'no serbench.toml'}"
    yield f"cache: {cache_root()} (set SERBENCH_CACHE to move it)"


def state(part: Part) -> State:
    """What one part is like here: it is imported, and its version is held against what serbench requires."""
    version, marker = installed_version(part.distribution), left_out(part.distribution)
    try:
        importlib.import_module(part.module)
    except Exception as error:  # a broken binary raises OSError, RuntimeError or worse: report it, never fail
        problem = reason_of_failure(part.module, error)
        advice = remedy(part.distribution, installed=problem != NOT_INSTALLED)
        said = f"{problem}, since serbench asks for it where {marker}" if marker else problem
        return State(part, version, said, advice, required=not part.extra and marker is None)
    wanted, _ = requirement(part.distribution)
    if version is not None and wanted is not None and not wanted.specifier.contains(version, prereleases=True):
        remark = f"untried: serbench asks for {wanted.specifier}"
        return State(part, version, None, remark=f"{remark}; type: {remedy(part.distribution, installed=False)}")
    return State(part, version, None)


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
