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
