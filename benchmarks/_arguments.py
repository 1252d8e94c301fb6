"""Reading what was typed: KEY=VALUE pairs, corpus roots, and the corpus that a command names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..datasets._errors import SerbenchError

if TYPE_CHECKING:
    from ..datasets._corpus import Corpus
    from .protocol import Protocol


def pairs(flag: str, texts: list[str] | None) -> dict[str, str]:
    """`KEY=VALUE` texts as a dictionary."""
    found: dict[str, str] = {}
    for text in texts or []:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise SerbenchError(f"{flag} {text!r}: expected KEY=VALUE.")
        found[key.strip()] = value
    return found


def roots(given: list[str] | None, datasets: list[str]) -> dict[str, str]:
    """`--root FOLDER` (one dataset) or `--root DATASET=FOLDER` (several) as dataset -> folder."""
    found: dict[str, str] = {}
    for text in given or []:
        name, sign, folder = text.partition("=")
        if sign and name in datasets:
            found[name] = folder
        elif len(datasets) == 1:
            found[datasets[0]] = text
        else:
            raise SerbenchError(f"--root {text!r}: with several datasets, expected DATASET=FOLDER for each.")
    return found


def checked(protocol: Protocol) -> Protocol:
    """The protocol, with its settings in range."""
    from ..datasets._config import validate

    return validate(protocol)


def open_dataset(name: str, root: str | None, release: str | None = None, option: list[str] | None = None) -> Corpus:
    """The corpus that a command names."""
    from ..datasets._load import load_corpus

    return load_corpus(name, root, release, pairs("--option", option))
