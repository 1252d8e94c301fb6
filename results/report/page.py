"""The page of the report: what stands on it, filled into the templates beside this file.

Nothing is loaded from anywhere, and the page forbids it. All text is escaped by the templates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from ..display.table import Table

if TYPE_CHECKING:
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
    """What is folded away under a title: texts, facts (name, text), figures, tables, and names of CSV files."""

    title: str
    texts: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    data: Sequence[str] = ()
    is_open: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not any((self.texts, self.facts, self.figures, self.tables, self.data))


@dataclass(frozen=True)
class Section:
    """A section of the page: `id` is unique; problems are what could not be done, with what to type."""

    id: str
    title: str
    problems: Sequence[str] = ()
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    parts: Sequence[Part] = ()


def page(
    title: str, sections: Sequence[Section], texts: Sequence[str] = (), problems: Sequence[str] = (), folder: str = ""
) -> str:
    """The whole file, with texts and problems below its title.

    Parameters
    ----------
    folder : address of the files beside the page; empty = there are none
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(__name__.rpartition(".")[0])
    templates = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    return templates.get_template("page.html.jinja").render(
        title=title,
        sections=sections,
        texts=texts,
        problems=problems,
        folder=folder,
        style=_read("style.css"),
        script=_read("script.js"),
    )


def _read(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")
