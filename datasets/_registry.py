"""The folder is the registry: every `name.py` of a package is a component, `_name.py` is machinery.

Names are listed without importing anything, one component is imported when it is asked for, and a component whose
optional dependency is broken breaks alone. Other distributions add components through an entry-point group
(`serbench.models`, `serbench.datasets`, `serbench.features`); each entry point names a module of the same shape.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import pkgutil
from functools import cached_property
from pathlib import Path
from types import ModuleType

from ._errors import SerbenchError, unknown


class Registry:
    """Components of one package folder and one entry-point group.

    Parameters
    ----------
    package : import name of the folder, such as "serbench.datasets"
    group : entry-point group that other distributions use
    kind : the word for one component in messages, such as "dataset"
    """

    def __init__(self, package: str, group: str, kind: str) -> None:
        self.package, self.group, self.kind = package, group, kind

    @cached_property
    def _builtin(self) -> dict[str, str]:
        paths = importlib.import_module(self.package).__path__
        modules = [m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")]
        return {name.replace("_", "-"): f"{self.package}.{name}" for name in modules}

    @cached_property
    def _plugins(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {e.name: e for e in importlib.metadata.entry_points(group=self.group)}

    def names(self) -> list[str]:
        """Registered names, sorted, without importing any component."""
        return sorted({*self._builtin, *self._plugins})

    def load(self, name: str) -> ModuleType:
        """Import the component called `name` (the part before a colon, if there is one).

        Raises
        ------
        SerbenchError
            For an unknown name (with the closest one and the list), or when the import fails (with the reason).
        """
        base = name.split(":", 1)[0]
        try:
            if base in self._builtin:
                return importlib.import_module(self._builtin[base])
            if base in self._plugins:
                module = self._plugins[base].load()
                if isinstance(module, ModuleType):
                    return module
                raise SerbenchError(f"the plugin {base!r} of group {self.group} is not a module but {type(module)}.")
        except ImportError as error:
            raise SerbenchError(
                f"the {self.kind} {base!r} can't be used: {error}. 'serbench env' shows which parts are missing."
            ) from error
        raise unknown(self.kind, base, self.names())

    def summary(self, name: str) -> str:
        """First line of the component's docstring, read from its source without importing it."""
        if name not in self._builtin:
            return f"from {self._plugins[name].value}" if name in self._plugins else ""
        source = Path(importlib.import_module(self.package).__path__[0]) / f"{name.replace('-', '_')}.py"
        text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
        return text.split("\n", 1)[0]
