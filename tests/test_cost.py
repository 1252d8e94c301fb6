"""Cost of a trained model: counts against closed forms, for every registered model, in records and leaderboard."""

from __future__ import annotations

import io
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from rich.console import Console
from torch import nn

from serbench.benchmarks import run
from serbench.benchmarks.cost import RunningCost, choose, counting, running_cost
from serbench.datasets._task import Task
from serbench.features._extract import extract
from serbench.features._extractor import FeatureExtractor, FeatureRequest, build
from serbench.results.leaderboard import leaderboard, to_markdown, to_rich
from serbench.results.records import load_runs
from serbench.sermodels import registry
from serbench.sermodels._model import Data, Resources

TASK = Task("emotion", "classification", ("emotion",), labels=("a", "b", "c"))
RATE = 16000


def counted(work: Callable[[], Any]) -> int:
    with counting() as so_far, torch.inference_mode():
        work()
    return so_far()


def test_multiply_accumulates_have_their_closed_forms() -> None:
    x = torch.randn(2, 9, 8)
    assert counted(lambda: nn.Linear(8, 5)(x)) == 2 * 9 * 8 * 5
    assert counted(lambda: nn.Conv1d(4, 6, 3, groups=2)(torch.randn(2, 4, 10))) == 2 * 8 * 6 * 2 * 3
    assert counted(lambda: nn.Conv2d(3, 5, 3, stride=2)(torch.randn(1, 3, 9, 9))) == 16 * 5 * 3 * 9
    assert counted(lambda: x @ torch.randn(8)) == 2 * 9 * 8
    gates = 2 * 9 * 2 * 7 * (8 + 7)  # (batch, time, directions, units, inputs + units)
    assert counted(lambda: nn.GRU(8, 7, bidirectional=True, batch_first=True)(x)) == 3 * gates
    assert counted(lambda: nn.LSTM(8, 7, bidirectional=True, batch_first=True)(x)) == 4 * gates


def test_attention_is_counted_whichever_kernel_would_run() -> None:
    q = torch.randn(2, 3, 7, 8)
    scores_and_sums = 2 * (2 * 3 * 7 * 7 * 8)
    assert counted(lambda: nn.functional.scaled_dot_product_attention(q, q, q)) == scores_and_sums
    mask = torch.ones(2, 1, 7, 7, dtype=torch.bool)
    assert counted(lambda: nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=mask)) == scores_and_sums
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(2, 7, 8)
    assert counted(lambda: layer(x, x, x)) == 2 * 7 * 8 * 8 * 4 + 2 * (2 * 7 * 7 * 8)


def test_counting_leaves_torch_as_it_was() -> None:
    torch.backends.mha.set_fastpath_enabled(True)
    flags = (torch.backends.mkldnn.enabled, torch.backends.cuda.math_sdp_enabled())
    with pytest.raises(ValueError, match="out"), counting():
        raise ValueError("out")
    assert torch.backends.mha.get_fastpath_enabled()
    assert flags == (torch.backends.mkldnn.enabled, torch.backends.cuda.math_sdp_enabled())


def test_items_around_the_median_are_measured() -> None:
    assert choose([9.0, 1.0, 4.0, 2.0, 6.0], shortest=False) == [2, 3, 4]
    assert choose([30.0, 20.0, 40.0], shortest=True) == [1]
    assert len(choose([0.1] * 50, shortest=False)) == 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Nine clips of 0.5 to 1.3 s with an emotion each, and what a corpus offers of them."""
    root = tmp_path_factory.mktemp("clips")
    generator, rows = np.random.default_rng(0), {}
    for i in range(9):
        signal = generator.standard_normal(8000 + 1600 * i) * 0.1 * (1 + i % 3)
        soundfile.write(root / f"{i}.wav", signal, RATE)
        rows[f"u{i}"] = {"path": f"{i}.wav", "start": np.nan, "end": np.nan, "speaker": f"s{i % 3}",
                         "emotion": "abc"[i % 3], "gender": "female", "previous": None, "interlocutor": None,
                         "dialogue": f"d{i}", "turn": 0}  # fmt: skip
    return types.SimpleNamespace(root=root, utterances=pd.DataFrame.from_dict(rows, orient="index"),
                                 audio_path=lambda item: root / rows[item]["path"])  # fmt: skip


def trained(name: str, corpus: Any) -> tuple[Any, Data, dict[str, FeatureExtractor]]:
    module = registry.load(name)
    config = getattr(module, "TINY", module.PRESETS["default"])
    extractors = {role: build(r) for role, r in module.Model.requests(config, TASK).items()}
    rows = corpus.utterances
    tables = {role: extract(rows, corpus.root, e) for role, e in extractors.items()}
    data = Data(TASK, rows, tables, TASK.encode(rows), turns=rows[["speaker", "gender"]])
    model = module.Model(config, TASK, Resources(seed=1))
    model.fit(data, data, lambda gold, scores: float((scores.argmax(1) == gold).mean()), None)
    return model, Data(TASK, rows, tables, turns=data.turns), extractors


MODELS = [name for name in registry.names() if "classification" in registry.load(name).Model.kinds]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_measured(name: str, corpus: Any) -> None:
    if registry.load(name).Model.uses_words:
        pytest.skip("the clips have no words")
    found = running_cost(*_arranged(name, corpus))
    assert isinstance(found, RunningCost)
    assert found.parameters > 0
    assert found.real_time_factor > 0
    assert found.seconds_of_audio == pytest.approx(sum(0.5 + 0.1 * i for i in (4, 3, 5, 2, 6, 1, 7, 0)), abs=1e-6)
    assert found.items == 8
    assert found.macs_per_second is not None
    assert (found.macs_per_second > 0) == (name != "chance")
    assert (found.feature_parameters > 0) == (name == "probe")


def _arranged(name: str, corpus: Any) -> tuple[Any, Any, Data, dict[str, FeatureExtractor]]:
    model, data, extractors = trained(name, corpus)
    return model, corpus, data, extractors


def test_linear_costs_one_product_for_each_coefficient(corpus: Any) -> None:
    found = running_cost(*_arranged("linear", corpus))
    assert found.macs_per_second == pytest.approx(88 * 3 * found.items / found.seconds_of_audio)
    assert found.parameters == 88 * 3 + 3


def test_a_frozen_encoder_is_counted_with_the_probe(corpus: Any) -> None:
    """Against the encoder's layers by hand: convolutions, projection, positions, blocks."""
    _, _, data, extractors = _arranged("probe", corpus)
    shape = extractors["input"].source.geometry  # type: ignore[attr-defined]
    item = data.items.loc["u4", "path"]
    signal = soundfile.read(corpus.root / item, dtype="float32")[0]
    found = counted(lambda: extractors["input"].extract(signal))
    t, n, truth = len(signal), 1, 0
    for kernel, stride in zip((10, 8, 4, 4), (5, 4, 4, 4), strict=True):
        t = (t - kernel) // stride + 1
        truth += t * 16 * n * kernel
        n = 16
    assert t == shape.frames(len(signal))
    truth += t * 16 * 24  # feature projection
    truth += (t + 1) * 24 * 12 * 16  # positional convolution, two groups, one frame more than is kept
    truth += 2 * (4 * t * 24 * 24 + 2 * t * t * 24 + 2 * t * 24 * 48)  # two blocks
    assert found == truth


def clips_csv(corpus: Any, folder: Path) -> Path:
    rows = []
    for part in ("train", "dev", "test"):
        for i, (_, row) in enumerate(corpus.utterances.iterrows()):
            name = f"{part}{i}.wav"
            sound, rate = soundfile.read(corpus.root / row["path"])
            soundfile.write(folder / name, sound * (1 + 0.01 * ("train", "dev", "test").index(part)), rate)
            rows.append({"path": name, "emotion": row["emotion"], "speaker": f"{part}-{row['speaker']}",
                         "partition": part})  # fmt: skip
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    return folder / "clips.csv"


def test_costs_stand_in_records_and_leaderboard_and_leaks_are_marked(corpus: Any, tmp_path: Path) -> None:
    path = clips_csv(corpus, tmp_path)
    settings = {"model.encoder": "random:wavlm-tiny", "train.epochs": "2"}
    [probe] = run("probe", "table", root=path, trials=2, results=tmp_path, settings=settings, threads=1)
    [linear] = run("linear", "table", root=path, trials=1, results=tmp_path, threads=1)
    units = [*probe.units(), *linear.units()]
    assert all(unit["status"] == "done" for unit in units), [unit["error"] for unit in units]
    costs = [unit["cost"] for unit in units]
    assert costs[0]["feature_parameters"] > 10_000
    assert costs[0] == costs[1]  # measured once for the run
    assert costs[2]["feature_parameters"] == 0
    assert all(cost["real_time_factor"] > 0 and cost["seconds_of_audio"] > 5 for cost in costs)
    assert probe.spec["labels"] == []
    frame = leaderboard(load_runs(tmp_path)).set_index("model")
    assert frame.loc["probe", "macs_per_second"] == costs[0]["macs_per_second"]
    assert frame.loc["linear", "real_time_factor"] == costs[2]["real_time_factor"]
    assert frame.loc["probe", "feature_parameters"] == costs[0]["feature_parameters"]
    text = to_markdown(frame.reset_index())
    assert "| model | trained | frozen | MAC/s | x real time | time |" in text
    stream = io.StringIO()
    Console(file=stream, width=80).print(to_rich(frame.reset_index()))
    assert "x real time" in stream.getvalue()


def test_a_leaking_encoder_is_marked_in_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from serbench.benchmarks.plan import _seen
    from serbench.sermodels import probe

    iemocap, emodb = (types.SimpleNamespace(name=n) for n in ("iemocap", "emodb"))
    config = probe.Config(encoder="superb/hubert-base-superb-er")
    inside = types.SimpleNamespace(corpus=iemocap, tested=iemocap)
    across = types.SimpleNamespace(corpus=emodb, tested=iemocap)
    clean = types.SimpleNamespace(corpus=emodb, tested=emodb)
    assert _seen(probe.Model, config, inside) == ["encoder-saw:iemocap"]  # type: ignore[arg-type]
    assert _seen(probe.Model, config, across) == ["encoder-saw:iemocap"]  # type: ignore[arg-type]
    assert _seen(probe.Model, config, clean) == []  # type: ignore[arg-type]


def test_a_cost_that_cannot_be_measured_spoils_no_result(
    corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import serbench.benchmarks.cost as module

    def fails(*_: Any) -> RunningCost:
        raise OSError("no clock")

    monkeypatch.setattr(module, "running_cost", fails)
    [done] = run("chance", "table", root=clips_csv(corpus, tmp_path), trials=1, results=tmp_path, threads=1)
    [unit] = done.units()
    assert unit["status"] == "done"
    assert unit["cost"] == {"error": "OSError: no clock"}
    assert leaderboard(load_runs(tmp_path))["real_time_factor"].isna().all()


def test_feature_requests_of_a_record_build_the_same_extractors() -> None:
    asked = FeatureRequest("transformers:random:wavlm-tiny", (("layers", "all"),))
    kept = {"name": asked.name, "settings": [list(pair) for pair in asked.settings]}
    again = FeatureRequest(kept["name"], tuple(map(tuple, kept["settings"])))
    assert build(again).digest() == build(asked).digest()
