"""Cost of a trained model: counts against closed forms, for every registered model, in records and leaderboard."""

from __future__ import annotations

import io
import pickle
import random
import types
import warnings
from collections.abc import Callable
from dataclasses import replace
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
from serbench.benchmarks.grid.cost import RunningCost, choose, counting, running_cost
from serbench.datasets.schema.corpus import Corpus, make_table
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_extractor import FeatureExtractor, FeatureRequest, build
from serbench.features.extraction.extract import extract
from serbench.results.record.folder import load_runs
from serbench.results.tables.leaderboard import leaderboard, to_markdown, to_rich
from serbench.sermodels import registry
from serbench.sermodels.core.sermodel import Data, Resources

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
        rows[f"u{i}"] = {
            "path": f"{i}.wav",
            "start": np.nan,
            "end": np.nan,
            "speaker": f"s{i % 3}",
            "emotion": "abc"[i % 3],
            "gender": "female",
            "previous": None,
            "interlocutor": None,
            "dialogue": f"d{i}",
            "turn": 0,
            "text": f"take {i}",
        }
    return types.SimpleNamespace(
        root=root,
        utterances=pd.DataFrame.from_dict(rows, orient="index"),
        audio_path=lambda item: root / rows[item]["path"],
    )


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


def states() -> tuple[Any, ...]:
    """What later predictions could depend on."""
    drawn = pickle.dumps((random.getstate(), np.random.get_state(), torch.get_rng_state().tolist()))  # noqa: NPY002
    sums = (
        torch.backends.mkldnn.enabled,
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.get_num_threads(),
    )
    return drawn, sums, torch.is_inference_mode_enabled(), torch.is_grad_enabled(), len(warnings.filters)


class Careless(FeatureExtractor):
    """Draws from every random state and leaves torch with other threads."""

    name, version, sampling_rate, dim, hop_seconds = "careless", 1, RATE, 1, None

    def extract(self, signal: np.ndarray) -> np.ndarray:
        random.random()
        np.random.rand()  # noqa: NPY002
        torch.rand(1)
        torch.set_num_threads(3)
        return np.zeros((1, 1), np.float32)


@pytest.mark.parametrize("name", MODELS)
def test_measuring_changes_no_later_prediction(name: str, corpus: Any) -> None:
    if registry.load(name).Model.uses_words:
        pytest.skip("the clips have no words")
    model, _, data, extractors = _arranged(name, corpus)
    before, kept = model.predict(data), states()
    running_cost(model, corpus, data, extractors | {"aside": Careless(None)})
    assert states() == kept
    np.testing.assert_array_equal(model.predict(data), before)


def test_runs_with_and_without_it_predict_the_same(
    corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 1 is trained after the cost was measured in trial 0."""
    import serbench.benchmarks.grid.trial as module

    path = clips_csv(corpus, tmp_path)
    settings = {"model.encoder": "random:wavlm-tiny", "train.epochs": "2"}
    predictions = []
    for skipped in (False, True):
        if skipped:
            monkeypatch.setattr(module, "_cost", lambda *_: {})
        results = tmp_path / f"skipped-{skipped}"
        runs = [
            run(name, "table", root=path, trials=2, results=results, settings=settings, threads=1)[0]
            for name in ("probe", "transformer")
        ]
        assert all(bool(unit["cost"]) != skipped for one in runs for unit in one.units())
        predictions.append([one.predictions(trial) for one in runs for trial in (0, 1)])
    for a, b in zip(*predictions, strict=True):
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_clips_whose_sound_is_decoded_first_are_measured(corpus: Any, tmp_path: Path) -> None:
    """As of MELD: the table names video clips, the sound lies elsewhere and is asked for through `audio_source`."""
    asked: list[str] = []

    def decoded(clip: Path) -> Path:
        asked.append(clip.name)
        return corpus.root / clip.with_suffix(".wav").name

    table = corpus.utterances.drop(columns="emotion").assign(path=[f"{i}.mp4" for i in range(9)])
    clips = Corpus("meld", "only", tmp_path, make_table(table), (TASK,), {}, audio_source=decoded)
    model, data, extractors = trained("linear", corpus)
    found = running_cost(model, clips, replace(data, items=clips.utterances), extractors)
    assert found.items == 8
    assert set(asked) <= {f"{i}.mp4" for i in range(9)}
    assert found.facts() | {"real_time_factor": 0} == running_cost(model, corpus, data, extractors).facts() | {
        "real_time_factor": 0
    }


def test_of_a_large_test_set_few_headers_are_read() -> None:
    items = pd.DataFrame({"start": 0.0, "end": np.arange(5000) / 1000 + 0.5}, index=[f"u{i}" for i in range(5000)])
    looked: list[Data] = []

    def spied(corpus: Any, data: Data) -> list[float]:
        looked.append(data)
        return module_durations(corpus, data)

    import serbench.benchmarks.grid.cost as module

    module_durations = module.durations
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "durations", spied)
        some, seconds = module.sample(None, Data(TASK, items, {}))  # type: ignore[arg-type]
    assert len(looked[0]) == 200
    assert seconds == pytest.approx(3.0 * len(some), abs=0.5)


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
            rows.append(
                {"path": name, "emotion": row["emotion"], "speaker": f"{part}-{row['speaker']}", "partition": part}
            )
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
    from serbench.benchmarks.grid.plan import seen
    from serbench.sermodels import probe

    iemocap, emodb = (types.SimpleNamespace(name=n) for n in ("iemocap", "emodb"))
    config = probe.Config(encoder="superb/hubert-base-superb-er")
    inside = types.SimpleNamespace(corpus=iemocap, tested=iemocap)
    across = types.SimpleNamespace(corpus=emodb, tested=iemocap)
    clean = types.SimpleNamespace(corpus=emodb, tested=emodb)
    assert seen(probe.Model, config, inside) == ["encoder-saw:iemocap"]  # type: ignore[arg-type]
    assert seen(probe.Model, config, across) == ["encoder-saw:iemocap"]  # type: ignore[arg-type]
    assert seen(probe.Model, config, clean) == []  # type: ignore[arg-type]


def test_a_cost_that_cannot_be_measured_spoils_no_result(
    corpus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import serbench.benchmarks.grid.cost as module

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
