"""Extraction of a corpus with a transformers encoder: batches, bad files, stopping, several processes."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from serbench.datasets.core.errors import SerbenchError
from serbench.features.cache.cache import FeatureCache
from serbench.features.core.feature_extractor import FeatureExtractor, FeatureRequest, build
from serbench.features.extraction.batched import groups, in_batches
from serbench.features.extraction.extract import extract
from serbench.features.extraction.file_tasks import FileTask, Segment

RATE = 16000
TOLERANCE = 1e-4
"""What batching and padding may change."""


@pytest.fixture(autouse=True)
def _no_encoder_left() -> Iterator[None]:
    from serbench.features.transformers import _loaded

    yield
    _loaded.cache_clear()


def extractor(name: str | Path, **settings: Any) -> FeatureExtractor:
    return build(FeatureRequest(f"transformers:{name}", tuple((k, str(v)) for k, v in settings.items())))


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    """Eight clips of noise, a segment of one of them, a damaged file and one that is not there."""
    generator, rows = np.random.default_rng(7), {}
    for i, length in enumerate((16000, 9000, 24123, 700, 30000, 12000, 18000, 21000)):
        signal = (0.1 * generator.standard_normal(length) + 0.02).astype(np.float32)
        soundfile.write(tmp_path / f"{i}.wav", signal, RATE, subtype="FLOAT")
        rows[f"u{i}"] = {"path": f"{i}.wav", "start": np.nan, "end": np.nan}
    rows["part"] = {"path": "4.wav", "start": 0.5, "end": 1.25}
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    rows["broken"] = {"path": "broken.wav", "start": np.nan, "end": np.nan}
    rows["gone"] = {"path": "gone.wav", "start": np.nan, "end": np.nan}
    return tmp_path, pd.DataFrame.from_dict(rows, orient="index")


def test_a_corpus_is_extracted_in_batches_and_bad_files_are_listed(corpus: Any, tmp_path: Path) -> None:
    root, rows = corpus
    made, calls = extractor("random:wav2vec2-tiny", batch_seconds=2), []
    table = extract(rows, root, made, FeatureCache(tmp_path / "cache"), progress=lambda *a: calls.append(a))
    assert set(table.failed) == {"broken", "gone"}
    assert "gone.wav" in table.failed["gone"]
    for item, row in rows.drop(index=["broken", "gone"]).iterrows():
        signal = soundfile.read(root / row["path"], dtype="float32")[0]
        if row["start"] > 0:
            signal = signal[8000:20000]
        np.testing.assert_allclose(table[str(item)], made.extract(signal), rtol=0, atol=TOLERANCE)
    assert calls[-1][:2] == (11, 11)
    assert calls[-1][2] == pytest.approx((130823 + 12000) / RATE, abs=1e-3)
    warm = extract(rows, root, made, FeatureCache(tmp_path / "cache"))
    assert all(np.array_equal(warm[item], table[item]) for item in table)


def test_an_extraction_that_was_stopped_ends_in_the_same_bytes(corpus: Any, tmp_path: Path) -> None:
    root, rows = corpus
    made = extractor("random:data2vec-tiny", batch_seconds=2)
    whole = extract(rows, root, made, FeatureCache(tmp_path / "a"))

    def stop(done: int, _total: int, _seconds: float) -> None:
        if done > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(rows, root, made, FeatureCache(tmp_path / "b"), progress=stop)
    rest = extract(rows, root, made, FeatureCache(tmp_path / "b"))
    assert len(whole) == 9
    assert list(rest) == list(whole)
    assert all(np.array_equal(rest[item], whole[item]) for item in whole)


def test_groups_depend_on_the_request_and_not_on_what_is_cached() -> None:
    every = [FileTask(f"{i}.wav", (Segment(f"u{i}", 0.0, 1.0 + i % 5),)) for i in range(20)]
    whole = groups(every, every, 6.0)
    assert sorted(m.task.path for g in whole for m in g) == sorted(t.path for t in every)
    assert all(sum(m.task.segments[0].end for m in g) <= 6.0 for g in whole)
    some = groups(every, every[3:7], 6.0)
    assert {g[0].task.path for g in some} <= {g[0].task.path for g in whole}
    assert sorted(m.pending.path for g in some for m in g if m.pending) == sorted(t.path for t in every[3:7])


class Fussy(FeatureExtractor):
    """Counts batches, and can't describe loud signals."""

    name, version, sampling_rate, dim, hop_seconds = "fussy", 1, RATE, 1, None
    batch_seconds = 10.0

    def __init__(self) -> None:
        super().__init__(None)
        self.batches: list[int] = []

    def extract(self, signal: np.ndarray) -> np.ndarray:
        if np.abs(signal).max() > 0.9:
            raise SerbenchError("too loud")
        return np.array([[len(signal)]], np.float32)

    def extract_many(self, signals: Any) -> list[np.ndarray]:
        self.batches.append(len(signals))
        return [self.extract(signal) for signal in signals]


def test_one_bad_utterance_does_not_spoil_its_batch(tmp_path: Path) -> None:
    tasks = []
    for i in range(5):
        soundfile.write(tmp_path / f"{i}.wav", np.full(8000 + i, 0.95 if i == 2 else 0.1), RATE, subtype="FLOAT")
        tasks.append(FileTask(str(tmp_path / f"{i}.wav"), (Segment(f"u{i}", None, None),)))
    made = Fussy()
    section = FeatureCache(tmp_path / "cache").section(extractor("random:wavlm-tiny", pooling="mean", layers="0"))
    section.dim = 1
    outcomes = list(in_batches(tasks, tasks, made, section, 1))
    assert made.batches == [5]
    assert {k: v for o in outcomes for k, v in o.failed.items()} == {"u2": "too loud"}
    assert sorted(k for o in outcomes for k in o.frames) == ["u0", "u1", "u3", "u4"]


@pytest.mark.slow
def test_several_processes_extract_the_same_vectors(corpus: Any, tmp_path: Path) -> None:
    root, rows = corpus
    made = extractor("random:hubert-tiny", batch_seconds=1, device="cpu")
    one = extract(rows, root, made, FeatureCache(tmp_path / "a"))
    two = extract(rows, root, made, FeatureCache(tmp_path / "b"), jobs=2)
    assert set(two.failed) == {"broken", "gone"}
    for item in one:
        np.testing.assert_allclose(two[item], one[item], rtol=0, atol=TOLERANCE)
    assert pickle.loads(pickle.dumps(made)).identity() == made.identity()
