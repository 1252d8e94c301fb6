"""The folder is the registry: a component is a file of its floor, or a room of it that holds the main part.

`sermodels/linear.py` is the model `linear`, `sermodels/semantic_fusion/model.py` the model `semantic-fusion`; a room
without a `model.py` holds machinery. Names are listed without importing anything, one component is imported when it is
asked for, and a component whose optional dependency is broken breaks alone. Other distributions add components through
an entry-point group (`serbench.models`, `serbench.datasets`, `serbench.features`); each entry point names a module of
the same shape.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
from functools import cached_property
from pathlib import Path
from types import ModuleType

from .errors import SerbenchError, unknown
from .libraries import LibraryError, library_failure


class Registry:
    """Components of one package folder and one entry-point group.

    Parameters
    ----------
    package : import name of the folder, such as "serbench.datasets"
    group : entry-point group that other distributions use
    kind : the word for one component in messages, such as "dataset"
    main : module that makes a room a component, such as "reader"
    """

    def __init__(self, package: str, group: str, kind: str, main: str) -> None:
        self.package, self.group, self.kind, self.main = package, group, kind, main

    @cached_property
    def _folder(self) -> Path:
        return Path(next(iter(importlib.import_module(self.package).__path__)))

    @cached_property
    def _builtin(self) -> dict[str, Path]:
        """Registered name -> source of the component, of its main part where it is a room."""
        files = {path.stem: path for path in self._folder.glob("[!_]*.py")}
        rooms = {path.parent.name: path for path in self._folder.glob(f"*/{self.main}.py")}
        return {name.replace("_", "-"): path for name, path in {**files, **rooms}.items()}

    def _module(self, path: Path) -> str:
        return ".".join([self.package, *path.relative_to(self._folder).with_suffix("").parts])

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
                return importlib.import_module(self._module(self._builtin[base]))
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

    def parts(self, part: str) -> dict[str, str]:
        """Registered name -> import name of a further part, such as "importer", of the components that have it."""
        return {
            name: self._module(path.with_stem(part))
            for name, path in self._builtin.items()
            if path.parent != self._folder and path.with_stem(part).exists()
        }

    def _source(self, name: str) -> ast.Module:
        return ast.parse(self._builtin[name].read_text(encoding="utf-8"))
