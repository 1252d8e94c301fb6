"""The speed of Whisper's encoder as a part of the performance page: its rows, and what is left out with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from serbench.benchmarks.performance.parts import transformers, whisper

SECONDS = {"loop": 10.0, "0": 6.0, "10": 2.0, "float32": 9.0, "int8": 5.0}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sides that cost what `SECONDS` says; the list is what was started."""
    started: list[str] = []

    def apart(module: str, what: str, **given: Any) -> dict[str, float]:
        assert module == whisper.__name__
        started.append(what)
        seconds = SECONDS[given.get("window") or given.get("compute_type") or what]
        return {"cpu_seconds": seconds, "wall_seconds": seconds / 2, "audio_seconds": 40.0, "peak_mib": 1.0}

    monkeypatch.setattr(whisper, "apart", apart)
    return started


def test_rows_hold_ratios_to_the_loop_and_the_limit(
    measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "why_no_peer", lambda _: None)
    found = whisper.rows(tmp_path)
    assert len(measured) == 5 * whisper.ROUNDS
    assert [row.get("ratio") for row in found] == [None, 1.6667, 5.0, 1.1111, 2.0]
    assert [row.get("met") for row in found] == [None, True, True, None, None]
    assert "real-time factor 0.125" in found[0]["title"]


def test_a_missing_peer_is_named_with_its_reason(
    measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper.importlib.util, "find_spec", lambda _: None)
    *_, last = whisper.rows(tmp_path)
    assert last["title"] == "faster-whisper: not measured, it is not installed (pip install faster-whisper)"
    assert "peer" not in measured


def test_without_a_checkpoint_the_weights_are_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper.importlib.util, "find_spec", lambda _: object())
    assert whisper.encoder_of(tmp_path / "emodb") == "random:whisper-base"
    assert "no whisper_base" in str(whisper.why_no_peer(whisper.RANDOM))
    (tmp_path / "whisper_base").mkdir()
    (tmp_path / "whisper_base" / "config.json").write_text("{}")
    assert whisper.encoder_of(tmp_path / "emodb") == str(tmp_path / "whisper_base")
    assert whisper.why_no_peer(str(tmp_path / "whisper_base")) is None


def test_both_sides_hear_the_same_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wav").mkdir()
    noise = np.random.default_rng(0).standard_normal(40000).astype(np.float32) * 0.1
    for k in range(4):
        soundfile.write(tmp_path / "wav" / f"{k}.wav", noise[: 8000 * (k + 1)], 16000)
    monkeypatch.setattr(whisper, "CLIPS", 3)
    seconds = sum(soundfile.info(path).duration for path in transformers.clips(tmp_path, 3))
    tiny = "random:whisper-tiny"
    assert whisper.clip_by_clip(str(tmp_path), tiny)["audio_seconds"] == pytest.approx(seconds)
    assert whisper.ours(str(tmp_path), tiny, "3")["audio_seconds"] == pytest.approx(seconds)
