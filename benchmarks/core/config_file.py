"""`serbench.toml`: where corpora and folders lie on this machine, and defaults of options.

The program reads the first file that there is (`datasets.core.files.config_path`). What it says of folders becomes
environment variables where these are not set, so that processes and nodes have the same; what it says of options are
their defaults. So the command line comes first, then the environment, then the file, and nothing of it enters a
signature. Python's functions don't read it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ...datasets import registry
from ...datasets.core.config import from_dict, option, validate
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.files import config_path


@dataclass(frozen=True)
class Defaults:
    """Defaults of options, as they are without a file."""

    results: str = option("results", "folder of results, as --results")
    device: str = option("auto", "as --device")
    jobs: int = option(1, "as --jobs", low=1)
    threads: int | None = option(None, "as --threads", low=1)
    launcher: str = option("local", "as --launcher")


@dataclass(frozen=True)
class Folders:
    """Folders that have a variable of their own."""

    cache: str | None = option(None, "SERBENCH_CACHE")
    folds: str | None = option(None, "SERBENCH_FOLDS")
    weights: str | None = option(None, "SERBENCH_WEIGHTS")


@dataclass(frozen=True)
class ConfigFile:
    """What a file says: corpus -> folder, folders, and defaults of options."""

    roots: Mapping[str, str] = field(default_factory=dict)
    folders: Folders = Folders()
    defaults: Defaults = Defaults()

    def variables(self) -> dict[str, str]:
        """Environment variable -> folder."""
        from ...datasets.reading.load import root_variable  # with pandas, which 'serbench env' must do without

        known = {f.metadata["doc"]: getattr(self.folders, f.name) for f in fields(Folders)}
        return {name: value for name, value in known.items() if value} | {
            root_variable(name): folder for name, folder in self.roots.items()
        }

    def options(self) -> dict[str, tuple[Any, Any]]:
        """Option -> (its default without a file, with it), of those that differ."""
        usual, ours = asdict(Defaults()), asdict(self.defaults)
        for one in (usual, ours):
            one["results"] = Path(one["results"])
        return {name: (usual[name], ours[name]) for name in usual if usual[name] != ours[name]}


def use() -> dict[str, tuple[Any, Any]]:
    """Read the file that there is, and set the variables that are not set; returns `ConfigFile.options`."""
    if (path := config_path()) is None:
        return {}
    known = read(path)
    for name, value in known.variables().items():
        os.environ.setdefault(name, value)
    return known.options()


def read(path: Path) -> ConfigFile:
    """A file, checked; folders that are not absolute are taken from where it lies.

    Raises
    ------
    SerbenchError
        For a file that can't be read, an unknown key or corpus, or a value of another kind.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SerbenchError(
            f"{path} can't be read: {error}. Expected a TOML file as docs/configuration.md has it; "
            "to go on without it, type SERBENCH_CONFIG= before the command."
        ) from error
    try:
        return _checked(values, path.absolute().parent)
    except SerbenchError as error:
        raise SerbenchError(f"{path}: {error}") from error


def _checked(values: Mapping[str, Any], folder: Path) -> ConfigFile:
    kinds = {"folders": Folders, "defaults": Defaults}
    for key, value in values.items():
        if key not in ("roots", *kinds):
            raise unknown("key", key, ("roots", *kinds))
        if not isinstance(value, Mapping):
            raise SerbenchError(f"{key} is {value!r}. Expected entries below [{key}].")
        known = registry.names() if key == "roots" else [f.name for f in fields(kinds[key])]
        for name in value:
            if name not in known:
                raise unknown("dataset of [roots]" if key == "roots" else f"key of [{key}]", name, known)
    roots = {name: _place(value, folder, f"roots.{name}") for name, value in values.get("roots", {}).items()}
    given = {name: _place(value, folder, f"folders.{name}") for name, value in values.get("folders", {}).items()}
    return ConfigFile(roots, from_dict(Folders, given), validate(from_dict(Defaults, values.get("defaults", {}))))


def _place(value: Any, folder: Path, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise SerbenchError(f'{name} is {value!r}. Expected a folder, such as "/data/corpus".')
    return str(folder / Path(value).expanduser())
