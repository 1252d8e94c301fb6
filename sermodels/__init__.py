"""From arrays to predictions: the models, one file or one room each."""

if __name__ != "serbench.sermodels":
    raise ImportError(
        f"this folder is the package serbench.sermodels, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import sermodels'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )

from ..datasets.core.registry import Registry

registry = Registry("serbench.sermodels", "serbench.models", "model", "model")
"""The models: each component module has `Config`, `PRESETS` and `Model`."""
