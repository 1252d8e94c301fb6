"""`serbench list models`: groups are those that the models state, ours and those of other distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from serbench.benchmarks.core import listing
from serbench.datasets.core.registry import Registry
from serbench.sermodels import registry


def listed() -> dict[str, list[str]]:
    """Group -> names below it."""
    groups: dict[str, list[str]] = {}
    for line in listing.lines("models"):
        if line.startswith("    "):
            groups[list(groups)[-1]].append(line.split()[0])
        else:
            groups[line.strip()] = []
    return groups


def test_every_model_stands_once_in_the_group_that_it_states() -> None:
    groups = listed()
    assert sorted(name for names in groups.values() for name in names) == registry.names()
    for group, names in groups.items():
        assert all(group == registry.load(name).GROUP for name in names)


def test_groups_stand_in_their_order() -> None:
    groups = listed()
    assert list(groups)[:4] == ["seed systems", "relatives", "baselines", "encoders"]
    assert groups["seed systems"] == ["deepemocluster", "maec", "semantic-fusion"]
    assert {"iaan", "higru", "aann-mil"} <= set(groups["relatives"])


def test_another_group_and_none_at_all_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read from the sources: none of these files can be imported."""
    head = '"""{}."""\nimport nothing_of_that_name\n'
    sources = {"own": 'GROUP = "zoo"\n', "silent": "", "odd": "GROUP = 1 + 1\n", "base": 'GROUP = "baselines"\n'}
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(head.format(name) + text)
    other = Registry("serbench.sermodels", "no.such.group", "model", "model")
    other.__dict__["_builtin"] = {name: (f"x.{name}", tmp_path / f"{name}.py") for name in sources}
    monkeypatch.setattr(listing, "models", other)
    assert listed() == {"baselines": ["base"], "zoo": ["own"], "other models": ["odd", "silent"]}
