"""Libraries that are missing or broken: which one it is, and what to type, so that no file of a user is blamed for it.

A library can fail at any import, with any exception: a missing file of a compiled part raises OSError, two builds that
do not fit each other raise RuntimeError or AttributeError. `library_failure` knows such an exception by where it came
from: the body of a module that is not ours was being executed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType, TracebackType

from packaging.requirements import Requirement

from .errors import SerbenchError, StorageError

OURS = "serbench"
DISTRIBUTIONS = {"sklearn": "scikit-learn", "faiss": "faiss-cpu", "mlflow": "mlflow-skinny"}
"""Import name -> name of the distribution, where they differ."""
NOT_INSTALLED = "not installed"
_CAREFUL = ("torch",)
"""Distributions whose builds for several devices differ, so that a plain reinstallation could fetch another one."""


class LibraryError(SerbenchError):
    """A library can't be loaded. It ends the work, and is never taken for the fault of one file or one trial."""


def library(name: str, purpose: str = "", instead: str = "") -> ModuleType:
    """Import a library (or a module of one) by its name.

    Raises
    ------
    LibraryError
        When it is missing or can't be loaded; `purpose` says what needs it, such as "video clips", and `instead` what
        does without it.
    """
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _described(name.partition(".")[0], error, purpose, instead) from error


def library_failure(error: BaseException | None) -> LibraryError | StorageError | None:
    """The error to raise instead of `error` if that came from loading a library or is a full disk, else None."""
    while error is not None:
        if isinstance(error, LibraryError | StorageError):
            return error
        if (name := _loaded(error)) is not None:
            return _described(name, error)
        if isinstance(error, ImportError) and not error.name:
            return LibraryError(
                f"a library can't be loaded ({error}). 'serbench env' shows every part, and what to type."
            )
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def raise_library_failure(error: BaseException) -> None:
    """Raise what ends the work, where `error` is or came from such: a `LibraryError`, a `StorageError`."""
    failure = library_failure(error)
    if failure is not None:
        raise failure from error


def requirement(distribution: str) -> tuple[Requirement | None, str]:
    """What serbench requires of a distribution, and the extra that does (empty: serbench itself)."""
    wanted = [r for r in _requirements() if r.name.lower().replace("_", "-") == distribution.lower()]
    for one in wanted:
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            return one, ""
    extras = importlib.metadata.metadata(OURS).get_all("Provides-Extra") or [] if wanted else []
    for extra in extras:
        for one in wanted:
            if one.marker is not None and one.marker.evaluate({"extra": extra}):
                return one, extra
    return None, ""


def left_out(distribution: str) -> str | None:
    """The marker by which serbench does without a distribution here, such as `python_version < "3.14"`; else None."""
    wanted = [r for r in _requirements() if r.name.lower().replace("_", "-") == distribution.lower()]
    return str(wanted[0].marker) if wanted and requirement(distribution)[0] is None else None


def remedy(distribution: str, *, installed: bool) -> str:
    """The line to type for a distribution that is not installed, or is installed and can't be used."""
    wanted, extra = requirement(distribution)
    if extra and not installed:
        return f"pip install 'serbench[{extra}]'"
    text = distribution if wanted is None else f"{wanted.name}{wanted.specifier}"
    again = ("--force-reinstall --no-deps " if distribution in _CAREFUL else "--force-reinstall ") if installed else ""
    return f"pip install {again}'{text}'"


def installed_version(distribution: str) -> str | None:
    """Version of an installed distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def reason_of_failure(name: str, error: BaseException) -> str:
    """One line that says why the library of that import name can't be loaded."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        if error.name == name:
            return NOT_INSTALLED
        ours = error.name.startswith(f"{name}.")
        return f"its part {error.name} is missing" if ours else f"it needs {error.name}, which is {NOT_INSTALLED}"
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else 'no message'}"


def _described(name: str, error: BaseException, purpose: str = "", instead: str = "") -> LibraryError:
    distribution = DISTRIBUTIONS.get(name, name)
    reason = reason_of_failure(name, error)
    absent = reason == NOT_INSTALLED
    version = None if absent else installed_version(distribution)
    what = f"the library {name}" + (f" {version}" if version else "")
    subject = f"{purpose} need{'' if purpose.endswith('s') else 's'} {what}, which" if purpose else what
    state = f"is {NOT_INSTALLED}" if absent else f"can't be loaded ({reason})"
    return LibraryError(
        f"{subject} {state}. Type: {remedy(distribution, installed=not absent)}{instead}. 'serbench env' shows every "
        "part, and what is lost without it."
    )


def _loaded(error: BaseException) -> str | None:
    """Import name of the library that was being loaded when `error` was raised, the innermost; None if none was."""
    theirs = [name for name in _modules(error.__traceback__) if name not in (OURS, "__main__")]
    if theirs:
        return theirs[-1]
    if isinstance(error, ImportError) and error.name:
        name = error.name.partition(".")[0]
        return None if name == OURS else name
    return None


def _modules(traceback: TracebackType | None) -> Iterator[str]:
    """Top-level names of the modules whose bodies were being executed, outermost first."""
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "<module>":
            yield str(frame.f_globals.get("__name__", "")).partition(".")[0]
        traceback = traceback.tb_next


@lru_cache(maxsize=1)
def _requirements() -> list[Requirement]:
    try:
        return [Requirement(text) for text in importlib.metadata.requires(OURS) or []]
    except importlib.metadata.PackageNotFoundError:
        return []
