"""From waveform to arrays: audio decoding, feature extractors and their cache."""

if __name__ != "serbench.features":
    raise ImportError(
        f"this folder is the package serbench.features, but it was imported as {__name__!r}: "
        "the checkout is on sys.path. Install it with 'pip install -e .', then "
        "'from serbench import features'; run Python with PYTHONSAFEPATH=1 (or -P) inside the checkout."
    )

from ..datasets.core.registry import Registry

registry = Registry("serbench.features", "serbench.features", "feature", "extractor")
"""The feature extractors: each component module has `Config` and `Extractor`."""
