"""From arrays to predictions: the models, one file or one room each."""

if __name__ != "serbench.sermodels":
    raise ImportError(
        f"this folder is the package serbench.sermodels, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import sermodels'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )

from importlib import import_module
from typing import Any

from ..datasets.core.registry import Registry

registry = Registry("serbench.sermodels", "serbench.models", "model", "model")
"""The models: each component module has `Config`, `PRESETS` and `Model`."""


def __getattr__(name: str) -> Any:
    """What this floor offers to Python beside the registry, imported when it is asked for."""
    if name == "from_pretrained":
        return import_module(".hub.pretrained", __name__).from_pretrained
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
