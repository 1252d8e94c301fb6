"""Who said what: corpora, their tables, tasks and labels. Imports nothing else of serbench."""

if __name__ != "serbench.datasets":
    raise ImportError(
        f"this folder is the package serbench.datasets, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import datasets'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )

from .core.registry import Registry

registry = Registry("serbench.datasets", "serbench.datasets", "dataset", "reader")
"""The datasets: each component module has `load(root, release=None) -> Corpus`."""
miniatures = Registry("serbench.datasets.mocks", "serbench.mocks", "corpus with a miniature copy", "mock")
"""Miniature copies by the names of their corpora; `mocks/__init__.py` says what a module of them has."""
