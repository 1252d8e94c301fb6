"""Reading what was typed: KEY=VALUE pairs, corpus roots, and the corpus that a command names."""

from __future__ import annotations

from collections.abc import Mapping
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


def roots(given: list[str] | None, datasets: list[str], flag: str = "--root") -> dict[str, str]:
    """`--root FOLDER` (one dataset) or `--root DATASET=FOLDER` (several) as dataset -> folder; so for other flags."""
    found: dict[str, str] = {}
    for text in given or []:
        name, sign, folder = text.partition("=")
        if sign and name in datasets:
            found[name] = folder
        elif len(set(datasets)) == 1:
            found[datasets[0]] = text
        else:
            several = f"with several datasets, expected DATASET={flag.split('-')[-1].upper()} for each"
            raise SerbenchError(f"{flag} {text!r}: {several if datasets else 'there is no dataset that it is for'}.")
    return found


def without_training(given: Mapping[str, object]) -> None:
    """Refuse options that a training alone knows: flag -> what was given for it."""
    for flag, value in given.items():
        if value:
            raise SerbenchError(f"--weights are scored as they are, nothing is trained: leave {flag} out.")


def checked(protocol: Protocol) -> Protocol:
    """The protocol, with its settings in range."""
    from ..datasets._config import validate

    return validate(protocol)


def open_dataset(name: str, root: str | None, release: str | None = None, option: list[str] | None = None) -> Corpus:
    """The corpus that a command names."""
    from ..datasets._load import load_corpus

    return load_corpus(name, root, release, pairs("--option", option))
