"""`serbench traces`: the numbers of the record and the corpus on one time axis, what is drawn, and bad input."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from serbench.benchmarks.analyses.traces import find_traces, lanes, table, words_at
from serbench.benchmarks.analyses.traces_figure import envelope
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.results.record.folder import Run
from serbench.results.scores import metrics

ITEM = "Devel_02"


@pytest.fixture(scope="module")
def sewa(miniature: Callable[..., Path]) -> Path:
    return miniature("sewa", release="2017", utterances=48)


@pytest.fixture(scope="module")
def record(sewa: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two trials of chance, with predictions that vary over time: gold of another target and noise."""
    (one,) = run(
        "chance",
        "sewa",
        root=sewa,
        task="traces",
        trials=2,
        protocol=Protocol(subsets=2),
        results=tmp_path_factory.mktemp("results"),
        threads=1,
        device="cpu",
    )
    rng = np.random.default_rng(0)
    for unit in one.units():
        rows = pd.read_parquet(one.unit_files(unit["trial"], unit["fold"])[1])
        for target in one.task.targets:
            rows[f"pred_{target}"] = 0.8 * rows[f"gold_{target}"] + rng.normal(0, 0.1, len(rows))
        one.write_unit(unit["trial"], unit["fold"], unit, rows)
    return Run.open(one.path)


def test_gold_is_the_corpus_own_and_predictions_are_the_records(sewa: Path, record: Run) -> None:
    found = find_traces(record, ITEM)
    trace = load_corpus("sewa", sewa).trace(ITEM)
    np.testing.assert_allclose(found.gold, trace[list(record.task.targets)].to_numpy(), atol=1e-9)
    np.testing.assert_allclose(found.time, np.arange(len(trace)) * 0.1)
    rows = record.predictions(1)
    rows = rows[rows["id"].eq(ITEM)].sort_values("frame")
    np.testing.assert_array_equal(found.predicted[1][:, 2], rows["pred_liking"])
    assert sorted(found.predicted) == [0, 1]
    assert found.scores()["valence"][1] == metrics.ccc(rows["gold_valence"], rows["pred_valence"])
    assert len(found.signal) == pytest.approx(len(trace) * 0.1 * found.rate, rel=0.02)


def test_the_table_has_a_row_per_frame(record: Run) -> None:
    one, both = find_traces(record, ITEM, [1]), find_traces(record, ITEM)
    assert list(table(one).columns) == [
        "time",
        "words",
        "gold_arousal",
        "pred_arousal",
        "gold_valence",
        "pred_valence",
        "gold_liking",
        "pred_liking",
    ]
    assert len(table(both)) == len(both.time)
    np.testing.assert_array_equal(table(both)["pred_arousal_trial1"], table(one)["pred_arousal"])


def test_a_stretch_is_cut_out_of_everything(record: Run) -> None:
    whole, part = find_traces(record, ITEM), find_traces(record, ITEM, start=2.0, end=5.0)
    np.testing.assert_array_equal(part.gold, whole.gold[20:50])
    np.testing.assert_array_equal(part.predicted[0], whole.predicted[0][20:50])
    np.testing.assert_allclose(part.signal[:8000], whole.signal[16000:24000], atol=0.02)
    assert len(part.signal) == 3 * part.rate
    assert (part.words["end"] > 2).all()
    assert (part.words["start"] < 5).all()
    assert 0 < len(part.words) < len(whole.words)


def test_words_stand_in_every_frame_that_they_overlap() -> None:
    rng = np.random.default_rng(1)
    starts = np.sort(rng.uniform(0, 3, 12)).round(2)
    words = pd.DataFrame({"word": [f"w{i}" for i in range(12)], "start": starts, "end": starts + 0.33})
    time = np.arange(35) * 0.1
    expected = [
        " ".join(w for w, s, e in words.itertuples(index=False) if min(e, t + 0.1) - max(s, t) > 1e-6) for t in time
    ]
    assert words_at(words, time, 0.1) == expected
    assert any(" " in said for said in expected)


def test_labels_of_a_lane_never_overlap_and_are_dropped_only_when_all_are_taken() -> None:
    rng = np.random.default_rng(2)
    starts, widths = np.sort(rng.uniform(0, 20, 200)), rng.uniform(0.1, 1.0, 200)
    chosen = lanes(starts, widths, 4)
    for k, lane in enumerate(chosen):
        taken = {chosen[j] for j in range(k) if chosen[j] is not None and starts[j] + widths[j] > starts[k] + 1e-9}
        assert lane not in taken or lane is None
        assert (lane is None) == (taken == {0, 1, 2, 3})
    assert None in chosen
    assert lanes([0, 0.5, 1], [1, 1, 1], 2) == [0, 1, 0]


def test_the_waveforms_envelope_keeps_every_peak() -> None:
    signal = np.zeros(10_007)
    signal[[3, 5000, 10_006]] = 1.0, -1.0, 0.5
    low, high, size = envelope(signal, 100)
    assert len(low) <= 100
    assert [int(k) for k in np.flatnonzero(high)] == [3 // size, 10_006 // size]
    assert [int(k) for k in np.flatnonzero(low)] == [5000 // size]


def test_the_command_writes_png_svg_and_csv(record: Run, tmp_path: Path) -> None:
    from matplotlib.image import imread

    done = CliRunner().invoke(app, ["traces", str(record.path), ITEM, "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    png, svg, csv = (next(tmp_path.glob(f"*.{ending}")) for ending in ("png", "svg", "csv"))
    assert png.stem == svg.stem == csv.stem
    assert ITEM in png.stem
    before = png.read_bytes()
    again = ["traces", str(record.path), ITEM, "--out", str(tmp_path), "--end", "3", "--trial", "1"]
    assert CliRunner().invoke(app, again, catch_exceptions=False).exit_code == 0
    assert (tmp_path / f"{png.stem}_0-3s_trial1.png").is_file(), "a stretch has files of its own"
    assert png.read_bytes() == before
    image = imread(png)
    assert image.shape[1] == 1500
    assert image.std() > 0.05, "not an empty page"
    text = svg.read_text()
    for said in ("arousal", "valence", "liking", "gold standard", "mean of the trials", "time (s)", ITEM):
        assert said in text, said
    words = find_traces(record, ITEM).words["word"]
    assert all(f">{word}<" in text for word in words[:3])
    np.testing.assert_allclose(pd.read_csv(csv)["gold_liking"], find_traces(record, ITEM).gold[:, 2])
    assert "spread evenly within their segment" in done.output


def test_without_the_corpus_the_record_is_drawn_alone(record: Run, tmp_path: Path) -> None:
    spec = {**record.spec, "arguments": {**record.spec["arguments"], "root": str(tmp_path / "nowhere")}}
    found = find_traces(Run(record.path, spec), ITEM)
    assert len(found.signal) == len(found.words) == 0
    assert "no sound and no words" in found.notes[0]
    assert len(table(found)) == len(found.time) > 0


def test_a_recording_without_its_sound_is_drawn_with_words(sewa: Path, record: Run, tmp_path: Path) -> None:
    shutil.copytree(sewa, tmp_path / "sewa")
    (tmp_path / "sewa" / "audio" / f"{ITEM}.wav").unlink()
    spec = {**record.spec, "arguments": {**record.spec["arguments"], "root": str(tmp_path / "sewa")}}
    found = find_traces(Run(record.path, spec), ITEM)
    assert len(found.signal) == 0
    assert len(found.words) > 0
    assert any("no sound" in note for note in found.notes)


def test_bad_input_is_answered_in_words(sewa: Path, record: Run, tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"unknown recording among the test items.*Devel_01"):
        find_traces(record, "Train_01")
    with pytest.raises(SerbenchError, match=r"--trial 7: .* Expected one of 0, 1"):
        find_traces(record, ITEM, [7])
    with pytest.raises(SerbenchError, match=r"no frame of Devel_02 is there\. Expected seconds in 0 \.\. "):
        find_traces(record, ITEM, start=500.0)
    (other,) = run("chance", "sewa", root=sewa, task="arousal", trials=1, results=tmp_path, device="cpu")
    with pytest.raises(SerbenchError, match="one value per utterance"):
        find_traces(other, ITEM)
