"""A trained model from wherever it lies, in one line of Python."""

from __future__ import annotations

from pathlib import Path

from ..core.persist import load_model
from ..core.sermodel import Resources, SERModel
from .places import at_hand


def from_pretrained(source: str | Path, *, device: str = "cpu", revision: str | None = None) -> SERModel:
    """The trained model that `serbench push` put somewhere; it predicts from the features that it was trained on.

    Class scores are those of the model itself: a temperature that was fitted is applied by `serbench predict`.

    Parameters
    ----------
    source : a folder, its address on a web server, or a repository of the Hugging Face hub (`OWNER/NAME`)
    device : "cpu", "cuda" or "mps"
    revision : branch, tag or commit of the repository; None = its main branch

    Raises
    ------
    SerbenchError
        For a source that can't be reached, holds no model of serbench, or a damaged one. Pickle files are never read.
    """
    with at_hand(source, revision) as (folder, _, _):
        return load_model(folder, Resources(device=device))
