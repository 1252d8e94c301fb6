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
from ._libraries import LibraryError, library_failure


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
        except Exception as error:  # a broken library raises anything
            failure = library_failure(error)
            if failure is None:
                raise
            raise LibraryError(f"the {self.kind} {base!r} can't be used: {failure}") from error
        raise unknown(self.kind, base, self.names())

    def summary(self, name: str) -> str:
        """First line of the component's docstring, read from its source without importing it."""
        if name not in self._builtin:
            return f"from {self._plugins[name].value}" if name in self._plugins else ""
        return (ast.get_docstring(self._source(name)) or "").split("\n", 1)[0]

    def declared(self, name: str, variable: str) -> list[str]:
        """Texts of a module-level tuple, or text keys of a module-level dictionary, read without importing.

        Models declare `PRESETS`, datasets `TASK_NAMES`. Empty when the component declares none, or comes from a plugin.
        """
        if name not in self._builtin:
            return []
        for node in self._source(name).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(t, ast.Name) and t.id == variable for t in targets):
                value = getattr(node, "value", None)
                parts = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", [])
                return [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
        return []

    def _source(self, name: str) -> ast.Module:
        folder = Path(next(iter(importlib.import_module(self.package).__path__)))
        return ast.parse((folder / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8"))
