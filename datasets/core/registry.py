"""The folder is the registry: a component is a file of its floor, or a room of it that holds the main part.

`sermodels/linear.py` is the model `linear`, `sermodels/semantic_fusion/model.py` the model `semantic-fusion`; a room
without a `model.py` holds machinery. Other distributions add components through an entry-point group; each entry point
names a module of the same shape, or a package that holds the main part, and it can do all that ours can.

Names, summaries and declarations are read without importing any component, one is imported when it is asked for, and a
component that is broken breaks alone.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
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
    def _builtin(self) -> dict[str, tuple[str, Path]]:
        """Registered name -> import name and source of the component, of its main part where it is a room."""
        folder = Path(next(iter(importlib.import_module(self.package).__path__)))
        files = {path.stem: (path.stem, path) for path in folder.glob("[!_]*.py")}
        rooms = {
            path.parent.name: (f"{path.parent.name}.{self.main}", path) for path in folder.glob(f"*/{self.main}.py")
        }
        return {n.replace("_", "-"): (f"{self.package}.{module}", p) for n, (module, p) in {**files, **rooms}.items()}

    @cached_property
    def _plugins(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {e.name: e for e in importlib.metadata.entry_points(group=self.group)}

    def names(self) -> list[str]:
        """Registered names, sorted, without importing any component."""
        return sorted({*self._builtin, *self._plugins})

    def add(self, name: str, module: str) -> None:
        """Make a module, by its import name, a component of this process, as an entry point would: for notebooks.

        Other processes (`jobs`, Ray) don't know of it. A name that was added before may be added again.
        """
        known = self._plugins.get(name)
        if name in self._builtin or (known is not None and known.dist is not None):
            raise SerbenchError(f"there is a {self.kind} {name!r} already. Expected a name of its own.")
        self._plugins[name] = importlib.metadata.EntryPoint(name, module, self.group)

    def known(self, name: str) -> str:
        """The part of a name before a colon; an error with the closest one and the list where nothing has it."""
        base = name.split(":", 1)[0]
        if base not in self.names():
            raise unknown(self.kind, base, self.names())
        return base

    def load(self, name: str) -> ModuleType:
        """Import the component called `name` (the part before a colon, if there is one).

        Raises
        ------
        SerbenchError
            For an unknown name (with the closest one and the list), or when the import fails (with the reason).
        """
        base = self.known(name)
        try:
            return importlib.import_module(self._place(base)[0])
        except Exception as error:  # a broken library raises anything
            failure = library_failure(error)
            if failure is None:
                raise
            raise LibraryError(f"the {self.kind} {base!r} can't be used: {failure}") from error

    def summary(self, name: str) -> str:
        """First line of the component's docstring, read from its source without importing it."""
        try:
            return (ast.get_docstring(self._source(name)) or "").split("\n", 1)[0]
        except Exception as error:  # the source of another distribution may hold anything
            return f"can't be read: {error}"

    def declared(self, name: str, variable: str) -> list[str]:
        """Texts of a module-level tuple, or text keys of a module-level dictionary, read without importing.

        Models declare `PRESETS`, datasets `TASK_NAMES`. Empty when the component declares none, or can't be read.
        """
        try:
            body = self._source(name).body
        except Exception:  # `summary` says why
            return []
        for node in body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(t, ast.Name) and t.id == variable for t in targets):
                value = getattr(node, "value", None)
                parts = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", [])
                return [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
        return []

    def stated(self, name: str, variable: str) -> str:
        """A text that a component states at module level, such as a model's `GROUP`, read without importing it.

        Empty when the component states none, or can't be read.
        """
        try:
            body = self._source(name).body
        except Exception:  # `summary` says why
            return ""
        for node in body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(t, ast.Name) and t.id == variable for t in targets):
                value = getattr(node, "value", None)
                return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
        return ""

    def parts(self, part: str) -> dict[str, str]:
        """Registered name -> import name of a further part, such as "importer", of the components that have it."""
        known = {}
        for name in self.names():
            try:
                module, path = self._place(name)
            except Exception:  # `load` says why
                continue
            if path.stem == self.main and path.with_stem(part).exists():
                known[name] = f"{module.rpartition('.')[0]}.{part}"
        return known

    def part(self, name: str, part: str) -> ModuleType:
        """Import a further part of a component; where it has none, the components that have one are listed."""
        known = self.parts(part)
        if name not in known:
            raise unknown(f"{self.kind} with {part.replace('_', ' ')}", name, known)
        return importlib.import_module(known[name])

    def _place(self, name: str) -> tuple[str, Path]:
        """Import name and source of a component's main part; at most the package around it is imported."""
        return self._builtin[name] if name in self._builtin else self._place_of(self._plugins[name])

    def _place_of(self, plugin: importlib.metadata.EntryPoint) -> tuple[str, Path]:
        if plugin.attr:
            raise SerbenchError(
                f"the entry point {plugin.name!r} of {self.group} is {plugin.value!r}. Expected a module, such as "
                f"{plugin.module!r}, or a package that holds {self.main}.py."
            )
        spec = importlib.util.find_spec(plugin.module)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {plugin.module!r}", name=plugin.module)
        for folder in spec.submodule_search_locations or ():
            if (path := Path(folder, f"{self.main}.py")).exists():
                return f"{plugin.module}.{self.main}", path
        return plugin.module, Path(spec.origin or "")

    def _source(self, name: str) -> ast.Module:
        return ast.parse(self._place(name)[1].read_text(encoding="utf-8"))
