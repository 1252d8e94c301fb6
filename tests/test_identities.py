"""What names a record stays the same: run ids, signatures and cache keys, held here as texts.

A change of one of them orphans records, caches and weights that users have. It is made on purpose, with a raised
`version` or a note in the changelog, or not at all; moving code never makes it.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from serbench.benchmarks.grid.finished import FLOORS, source_digest, sources
from serbench.benchmarks.grid.training import plan_training
from serbench.benchmarks.protocol.request import Request
from serbench.benchmarks.protocol.setting import Corpora
from serbench.datasets.core import config as configs
from serbench.datasets.core.errors import SerbenchError
from serbench.features.cache.cache import FeatureCache
from serbench.features.core import audio
from serbench.features.core.feature_extractor import build
from serbench.results.record.folder import Run
from serbench.sermodels import registry

RUNS = {
    "chance": ("06486a7e5ef4", "8753a47d", "none"),
    "cnn-ae": ("37544408a530", "e2d945cf", "mel.v1+a3300754"),
    "cnn-regressor:small": ("142a10fecb0d", "f5418b35", "mel.v1+a3300754"),
    "cnn-vae": ("235aa434c568", "d92173f0", "mel.v1+a3300754"),
    "deepemocluster": ("7d26a6a13f9f", "8a7a3189", "mel.v1+a3300754"),
    "linear": ("10241a774d94", "4ae76a35", "egemaps.v1+dc0e251a"),
    "maec": ("f7007870ce19", "1d7e9b68", "emobase45.v1+dc0e251a"),
    "semantic-fusion": ("1fe650f6bb0d", "36db3c95", "waveform.v1+2e5674ff"),
    "svm": ("9738870651b7", "e2691da8", "egemaps.v1+dc0e251a"),
}
"""Model on the demo corpus -> end of the run id, digest of the model, signature of its features."""
SECTIONS = {
    "egemaps": ("f1f5027c7996eacd", "egemaps.v1+dc0e251a"),
    "emobase45": ("8ab1bf7971ebd700", "emobase45.v1+dc0e251a"),
    "mel": ("ffc3604dfe323a5d", "mel.v1+a3300754"),
    "opensmile:IS10": ("2cc26e8a4bbaed84", "opensmile:IS10:functionals.v1+5ff5357e"),
    "waveform": ("f6d2130acdabe6c8", "waveform.v1+b78e7109"),
}
"""Feature -> its section of the cache where every library has version 1.0, and its signature."""


def record(request: Request, results: Path) -> Run:
    """The record that a request would have."""
    return Run.create(results, plan_training([request], Corpora()).parts[0].spec)


@pytest.mark.parametrize("model", RUNS)
def test_run_ids_and_signatures_are_what_they_were(model: str, tmp_path: Path) -> None:
    name, _, preset = model.partition(":")
    run = record(Request(name, "demo", preset=preset or None), tmp_path)
    end, digest, features = RUNS[model]
    assert run.run_id == f"demo_emotion_{name}_{end}"
    recipe = f"model:{name}+{digest}|data:demo@1+b224d96b|task:emotion|protocol:4x5+ea4ecab0|features:{features}|"
    assert run.spec["signature"].startswith(recipe)


@pytest.mark.parametrize("feature", SECTIONS)
def test_cache_keys_are_what_they_were(feature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = build(feature)
    monkeypatch.setattr(importlib.metadata, "version", lambda library: "1.0")
    monkeypatch.setattr(audio.soundfile, "__libsndfile_version__", "1.0")
    section = FeatureCache(tmp_path).section(extractor)
    assert (section.folder.name, extractor.signature()) == SECTIONS[feature]


def test_no_run_names_a_module(tmp_path: Path) -> None:
    run = record(Request("cnn-regressor", "demo", preset="small"), tmp_path)
    assert "serbench." not in (run.path / "run.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("model", "owner"), [("linear", "linear.Config"), ("maec", "maec.Config")])
def test_messages_name_a_component_not_its_main_part(model: str, owner: str) -> None:
    with pytest.raises(SerbenchError, match=f"setting of {owner} 'alhpa'"):
        configs.from_dict(registry.load(model).Config, {"alhpa": 1})


def test_the_sources_are_all_rooms_of_all_floors(checkout: Path) -> None:
    for floor in FLOORS:
        there = {p for p in (checkout / floor).rglob("*.py") if "runs" not in p.parts}
        assert set(sources(checkout / floor)) == there
        assert max(len(p.relative_to(checkout).parts) for p in there) > 2


def test_a_change_in_any_room_changes_the_sources_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "room" / "inner"
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep.parent, deep):
        (folder / "__init__.py").touch()
    module = deep / "kernel.py"
    module.write_text("a = 1\n")
    monkeypatch.setattr("serbench.benchmarks.grid.finished.floors", lambda: [tmp_path])
    before = source_digest()
    module.write_text("a = 2\n")
    changed = source_digest()
    module.rename(deep / "moved.py")
    assert len({before, changed, source_digest(), source_digest("more")}) == 4
