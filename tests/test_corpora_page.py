"""docs/corpora.md: a section for each registered dataset, with its tasks, splits, options, releases and sources."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from serbench.datasets import miniatures, registry
from serbench.datasets.msp_podcast import labels
from serbench.datasets.sewa import package

PAGE = Path(__file__).parents[1] / "docs/corpora.md"
FREE = (PAGE.parent / "free_corpora.md").read_text(encoding="utf-8")
PARTS = ("Read", "Root", "Releases", "Tasks", "Splits", "Known traps", "Licence", "Cite")
RELEASES = {"msp-podcast": labels.RELEASES, "sewa": package.RELEASES}


def sections() -> dict[str, str]:
    """Dataset -> its section, in order."""
    _, *parts = re.split(r"^## `([^`]+)`\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_registered_dataset_has_a_section() -> None:
    assert sorted(sections()) == sorted(registry.names())


@pytest.mark.parametrize("name", registry.names())
def test_a_section_says_everything(name: str) -> None:
    text = sections()[name]
    for part in PARTS:
        assert re.search(rf"\*\*{part}:?\*\*", text), part
    for task in registry.declared(name, "TASK_NAMES"):
        assert f"`{task}`" in text, task
    for option in list(inspect.signature(registry.load(name).load).parameters)[2:]:
        assert f"`{option}`" in text, option
    for release in RELEASES.get(name, ()):
        assert re.search(rf"(?<![\d.]){re.escape(release)}(?!\d)", text), release
    assert re.search(rf"serbench run .*--dataset {name}\b", text)
    assert f"serbench mock {name} " in text or name not in miniatures.names()
    cited = getattr(registry.load(name), "CITATION", "")
    doi = re.search(r"doi (10\.\S+?)[,.]?(?:\s|$)", cited)
    assert doi is None or doi[1] in text


# ---- docs/free_corpora.md


def free() -> dict[str, list[str]]:
    """Dataset -> the cells of its row: language, numbers, where, licence."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", FREE.partition("## The commands")[0], flags=re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}


def test_the_free_corpora_are_registered_and_have_one_command_each() -> None:
    assert len(free()) > 10
    assert set(free()) <= set(registry.names())
    commands = FREE.partition("## The commands")[2].partition("## Results")[0]
    assert sorted(re.findall(r"--dataset (\S+) --root", commands)) == sorted([*free(), "hf"])


@pytest.mark.parametrize("name", free())
def test_a_free_corpus_has_the_numbers_and_the_source_of_its_reader(name: str) -> None:
    module = registry.load(name)
    _, numbers, where, licence = free()[name]
    if name != "esd":  # its numbers depend on the language
        utterances, speakers = (int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d(?=,? )", numbers)[:2])
        assert utterances == module.EXPECTED["utterances"]
        assert speakers == module.EXPECTED["speakers"]
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert f'homepage="{where.split()[0]}"' in source
    assert f'licence="{licence}"' in source
