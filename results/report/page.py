"""The page of the report: what stands on it, filled into the templates beside this file.

Nothing is loaded from anywhere, and the page forbids it. All text is escaped by the templates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..display.table import Table

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A figure as it stands on the page: `name` is that of its files, without suffix; `svg` is markup."""

    name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Drawing:
    """A figure of the report: name (unique in a ranking), heading, what it shows, the figure."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Part:
    """What is folded away under a title (without one: shown): texts, facts (name, text), commands, links (text,
    address), figures, tables, and names of CSV files."""

    title: str
    texts: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    commands: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    data: Sequence[str] = ()
    is_open: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not any((self.texts, self.facts, self.commands, self.links, self.figures, self.tables, self.data))


@dataclass(frozen=True)
class Section:
    """A section of the page: `id` is unique; problems are what could not be done, with what to type; `keys` are what
    filters go by (key -> value)."""

    id: str
    title: str
    problems: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    parts: Sequence[Part] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Filter:
    """A choice above the sections: those whose `key` has another value are hidden; `every` is said where none is
    chosen, options are (value, text)."""

    key: str
    label: str
    every: str
    options: Sequence[tuple[str, str]]


def page(
    title: str, sections: Sequence[Section], texts: Sequence[str] = (), problems: Sequence[str] = (), folder: str = ""
) -> str:
    """The whole file, with texts and problems below its title.

    Parameters
    ----------
    folder : address of the files beside the page; empty = there are none
    """
    choice = Filter("section", "Show", "everything", [(section.id, section.title) for section in sections])
    return fill(
        "page.html.jinja",
        title=title,
        sections=sections,
        texts=texts,
        problems=problems,
        folder=folder,
        search=True,
        filters=[choice],
        style=asset("style.css"),
        script=asset("script.js"),
    )


def fill(template: str, **values: Any) -> str:
    """A template of this room, filled in; all text is escaped."""
    return _templates().get_template(template).render(**values)


def asset(name: str) -> str:
    """The text of a file beside the templates."""
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(__name__.rpartition(".")[0])
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)


def slug(text: str) -> str:
    """A text as a file name and id: letters, digits, dots and dashes."""
    return re.sub(r"[^\w.+-]+", "-", text).strip("-") or "x"
