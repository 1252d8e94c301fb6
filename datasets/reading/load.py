"""Loading a corpus by name: the root from the argument or the environment, then the component's `load`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import registry
from ..core.errors import SerbenchError, unknown
from ..schema.corpus import Corpus


def root_variable(name: str) -> str:
    """Environment variable that holds a corpus's root, such as SERBENCH_ROOT_MSP_PODCAST."""
    return f"SERBENCH_ROOT_{name.upper().replace('-', '_')}"


def needs_root(name: str) -> bool:
    """Whether the dataset has to be given its folder: `load` has no default for `root`, so nothing makes it."""
    return inspect.signature(registry.load(name).load).parameters["root"].default is inspect.Parameter.empty


def load_corpus(
    name: str, root: str | Path | None = None, release: str | None = None, options: Mapping[str, Any] | None = None
) -> Corpus:
    """Load the corpus called `name`.

    Parameters
    ----------
    root : folder (or file, for `table`) of the corpus; None = the variable of `root_variable`, if set
    release : the corpus's release; None = detected
    options : further keyword arguments of the component's `load`

    Raises
    ------
    SerbenchError
        For an unknown dataset or option, or a root that is missing.
    """
    module = registry.load(name)
    given = root if root is not None else os.environ.get(root_variable(name))
    if given is None and needs_root(name):
        raise SerbenchError(
            f"the dataset {name!r} needs the folder that it lies in. Type --root FOLDER, or set {root_variable(name)}."
        )
    path = None if given is None else Path(given).expanduser()
    if path is not None and needs_root(name) and not path.exists():
        raise SerbenchError(
            f"the root {str(path)!r} of {name!r} does not exist. Expected the folder that holds the corpus."
        )
    known = [p for p in inspect.signature(module.load).parameters if p not in ("root", "release")]
    for key in options or {}:
        if key not in known:
            raise unknown(f"option of {name}", key, known)
    corpus = module.load(path, release, **(options or {}))
    if not isinstance(corpus, Corpus):
        raise SerbenchError(f"{name}.load returned {type(corpus).__name__}, expected a Corpus.")
    return corpus
