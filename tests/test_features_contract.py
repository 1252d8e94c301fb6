"""What every registered feature must do, by the public checks of `serbench conformance`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serbench.benchmarks.conformance import features as checks
from serbench.benchmarks.conformance.check import Check
from serbench.features import registry
from serbench.features.words.vectors import Vectors, write_vectors

ARGUMENTS = {"transformers": "random:wav2vec2-tiny", "opensmile": "IS10:lld"}
"""Of features that need one, or that have two forms."""
OF_WORDS = {"word-vectors", "spoken-words"}
OF_SOUND = [*(set(registry.names()) - OF_WORDS - {"transformers"}), *(f"{k}:{v}" for k, v in ARGUMENTS.items())]


@pytest.mark.parametrize("check", [*checks.OF_A_FEATURE, *checks.OF_SOUND], ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", sorted(OF_SOUND))
def test_a_feature_of_sound_keeps_its_contract(name: str, check: Check) -> None:
    assert list(check(name)) == []


@pytest.mark.parametrize("check", [*checks.OF_A_FEATURE, *checks.OF_WORDS], ids=lambda check: check.__name__)
def test_a_feature_of_words_keeps_its_contract(tmp_path: Path, check: Check) -> None:
    write_vectors(tmp_path / "few.vec", Vectors(["ba", "di"], np.eye(2, 3, dtype=np.float32)))
    assert list(check(f"word-vectors:{tmp_path / 'few.vec'}")) == []
