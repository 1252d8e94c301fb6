"""The documentation as a site: every page has its place, links lead somewhere, made pages are the program's.

`make docs` builds it with --strict, which finds more and takes longer.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from markdown.extensions.toc import slugify, unique

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
HOOKS = runpy.run_path(str(DOCS / "hooks.py"))
PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    made = HOOKS["PAGES"].get(page)
    return made() if made else (DOCS / page).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """Ids of a page's headings, as Python-Markdown's table of contents makes them."""
    seen: set[str] = set()
    for line in re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines():
        if heading := re.match(r"#{1,6} (.*)", line):
            unique(slugify(re.sub(r"[`*]", "", heading[1]), "-"), seen)
    return seen


def nav(entries: Any) -> list[str]:
    """Pages that the navigation names."""
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [page for one in values for page in nav(one)]


def test_the_navigation_names_every_page_once() -> None:
    named = nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(named) == sorted({*PAGES, *HOOKS["PAGES"]})


@pytest.mark.parametrize("page", sorted({*PAGES, *HOOKS["PAGES"]}))
def test_links_and_anchors_lead_somewhere(page: str) -> None:
    for link in LINK.findall(text_of(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (DOCS / page).parent / path if path else DOCS / page
        name = Path(*target.parts[len(DOCS.parts) :]).as_posix() if path else page
        name = re.sub(r"[^/]+/\.\./", "", name)
        assert name in HOOKS["PAGES"] or target.is_file(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(text_of(name)), f"{page}: {link}"


def test_the_reference_has_every_command_with_its_options() -> None:
    from serbench.benchmarks.cli.app import COMMANDS, app

    text = HOOKS["commands"]()
    found = list(HOOKS["leaves"](typer.main.get_command(app), []))
    assert {path[0] for path, _ in found} == set(COMMANDS)
    for path, command in found:
        part = text.split(f"\n## {' '.join(path)}\n")[1].split("\n## ")[0]
        for one in command.params:
            if one.param_type_name == "option" and not set(one.opts) & {"--json", "--quiet", "--help"}:
                assert all(f"`{name}`" in part for name in one.opts), f"{path}: {one.opts}"


def test_the_exit_statuses_of_two_pages_agree() -> None:
    text = (DOCS / "scripting.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE) == [*HOOKS["STATUSES"]]


def test_what_is_shown_of_the_example_is_whole() -> None:
    """Lines that the tutorial cuts out of the example begin and end with a definition."""
    page = (DOCS / "tutorial" / "own_model.md").read_text(encoding="utf-8")
    cut = re.findall(r'--8<-- "(.*\.(py|toml)):(\d+):(\d+)"', page)
    assert len(cut) == 3
    for name, kind, first, last in cut:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        shown, after = lines[int(first) - 1 : int(last)], lines[int(last) : int(last) + 1]
        assert re.match(r"@dataclass|class |\[", shown[0]), shown[0]
        assert shown[-1].strip()
        assert not after or not after[0].strip() or kind == "toml"
