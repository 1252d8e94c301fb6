"""The tables of what is as a paper says: each place in the code is there, each switch is what `paper` has."""

from __future__ import annotations

from functools import reduce
from importlib import import_module

import pytest

from serbench.datasets.core.config import override, to_dict
from serbench.features import registry as features
from serbench.sermodels import registry
from serbench.sermodels.core.faithfulness import UNKNOWN, VERDICTS, Statement

PAPERS = ("deepemocluster", "maec", "semantic-fusion")
STATEMENTS = [(name, one) for name in PAPERS for one in registry.part(name, "faithfulness").STATEMENTS]
EACH = pytest.mark.parametrize(("name", "one"), STATEMENTS, ids=[f"{n}: {s.says[:40]}" for n, s in STATEMENTS])


def switches(one: Statement) -> list[tuple[str, str, str]]:
    """(model, train or feature; key; value) of a statement's switches."""
    words = [word.partition("=") for word in one.switch.split()]
    return [(*key.partition(".")[::2], value) for key, _, value in words]


@EACH
def test_the_code_that_is_named_is_there(name: str, one: Statement) -> None:
    module, _, symbol = one.code.partition(":")
    assert reduce(getattr, symbol.split("."), import_module(f"serbench.{module}"))


@EACH
def test_each_statement_is_whole(name: str, one: Statement) -> None:
    assert one.verdict in VERDICTS
    assert one.place
    assert one.says
    assert one.why or one.verdict == "same"
    assert (one.place == "silent") <= (one.verdict == UNKNOWN)


@EACH
def test_switches_are_settings_with_such_values(name: str, one: Statement) -> None:
    """Of what is the same or unknown, the values that the preset `paper` has."""
    module = registry.load(name)
    for part, key, value in switches(one):
        if part == "feature":
            assert key in to_dict(features.load("mel").Config())
            continue
        paper = module.PRESETS["paper"]
        held = paper.train if part == "train" else paper
        changed = override(held, {key: value}, f"{part}.")
        if one.verdict != "differs":
            assert getattr(changed, key) == getattr(held, key) or key in FREE


FREE = {"fusion", "vectors", "unlabelled"}
"""Settings of which a paper compares several values."""
