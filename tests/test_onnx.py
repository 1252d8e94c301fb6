"""Models as ONNX files: onnxruntime comes to the predictions of the run's own weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from serbench.benchmarks import push, run
from serbench.benchmarks.core.progress import Silent
from serbench.benchmarks.grid.source import build_data, extract_features
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.weights.predict import Applied
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.libraries import LibraryError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.results.record.folder import Run
from serbench.sermodels import chance, linear
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.hub.onnx_file import to_onnx

onnx = pytest.importorskip("onnx", exc_type=Exception, reason="onnx can't be loaded")
onnxruntime = pytest.importorskip("onnxruntime", exc_type=Exception, reason="onnxruntime can't be loaded")
FEATURE = {"feature.bands": "40", "feature.fmax": "4000"}


@pytest.fixture(scope="module")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    return toy_corpus(seconds=0.6, classes=4, columns=("emotion", "arousal"), scale="1..7")


@pytest.fixture(scope="module")
def trained(
    corpus_file: Path, tmp_path_factory: pytest.TempPathFactory, tiny_chunked: dict[str, str]
) -> Callable[..., Run]:
    results = tmp_path_factory.mktemp("trained")

    def train(model: str, task: str, **more: Any) -> Run:
        given: dict[str, Any] = {"protocol": Protocol(subsets=2), "results": results, "threads": 1, "trials": 1, **more}
        given |= {"settings": {} if model == "chance" else {**tiny_chunked, **FEATURE}, "save_models": True}
        return run(model, "table", root=corpus_file, task=task, **given)[0]

    return train


def applied(file: Path, corpus_file: Path) -> tuple[Applied, Data]:
    """The weights, and the features of all utterances."""
    one, corpus = Applied.load(file, "cpu", None), load_corpus("table", corpus_file)
    task = one.model.task
    tables = extract_features(corpus, corpus.items(task), one.features, 1, Silent())
    return one, build_data(corpus, task, list(corpus.items(task).index), tables, labelled=False)[0]


def computed(folder: Path, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (name,) = [one.name for one in session.get_inputs()]
    return np.asarray(session.run(["predictions"], {name: inputs})[0])


@pytest.mark.parametrize(
    ("model", "task", "more"),
    [
        ("cnn-regressor", "emotion", {"calibrate": "temperature"}),
        ("cnn-vae", "arousal", {}),
        ("deepemocluster", "arousal", {}),
    ],
)
def test_chunks_come_to_the_predictions_of_the_weights(
    model: str, task: str, more: dict[str, str], trained: Callable[..., Run], corpus_file: Path, tmp_path: Path
) -> None:
    push(trained(model, task, **more), tmp_path / "m", onnx=True, resamples=50)
    onnx.checker.check_model(tmp_path / "m" / "model.onnx", full_check=True)
    one, data = applied(tmp_path / "m", corpus_file)
    chunks = one.model.chunk_set(data)
    inputs = np.asarray(chunks.gather(np.arange(len(chunks))), dtype=np.float32)
    inputs = inputs.reshape(len(data), -1, *inputs.shape[1:])
    expected = np.asarray(one.predict(data))
    assert expected.std(axis=0).min() > 0
    np.testing.assert_allclose(computed(tmp_path / "m", inputs), expected, atol=1e-4)
    np.testing.assert_allclose(computed(tmp_path / "m", inputs[:1]), expected[:1], atol=1e-4)  # one is a number too
    says = json.loads((tmp_path / "m" / "config.json").read_text())["onnx"]
    assert says.startswith(f"chunks (utterance, {inputs.shape[1]}, {inputs.shape[2]}, 40)")
    assert says in (tmp_path / "m" / "README.md").read_text()


def linear_model(task: Task, generator: np.random.Generator) -> tuple[linear.Model, Data]:
    """A trained `linear` with a class that training did not have, and rows with missing and wild values."""
    n, dim = task.n_outputs, 12
    intercept = generator.normal(size=n)
    if task.kind == "classification":
        intercept[1] = -np.inf
    inverse = np.abs(generator.normal(size=dim)) + 0.5
    inverse[3] = 0.0
    model = linear.Model(linear.Config(), task)
    arrays = {"mean": generator.normal(size=dim), "inverse": inverse, "intercept": intercept}
    model.restore({**arrays, "coefficients": generator.normal(size=(dim, n))}, {})
    rows = generator.normal(size=(7, 1, dim)).astype(np.float32)
    rows[0, 0, :3] = np.nan, np.inf, 1e6
    ids = [str(i) for i in range(7)]
    table = FeatureTable.from_arrays(dict(zip(ids, rows, strict=True)), hop_seconds=None, sampling_rate=16000)
    return model, Data(task, pd.DataFrame(index=ids), {"input": table})


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_linear_comes_to_its_own_predictions(kind: str, tmp_path: Path) -> None:
    task = (
        Task("emotion", "classification", ("emotion",), ("anger", "joy", "neutral"))
        if kind == "classification"
        else Task("va", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
    )
    model, data = linear_model(task, np.random.default_rng(3))
    written, says = to_onnx(model)
    (tmp_path / "model.onnx").write_bytes(written)
    rows = np.concatenate([data.array(i) for i in range(len(data))])
    np.testing.assert_allclose(computed(tmp_path, rows), model.predict(data), atol=1e-4)
    assert says.startswith("features (utterance, 12)")


def test_a_model_that_is_no_graph_says_so(trained: Callable[..., Run], tmp_path: Path) -> None:
    task = Task("emotion", "classification", ("emotion",), ("anger", "joy"))
    for model in (chance.Model(chance.Config(), task), linear.Model(linear.Config(normalise="speaker"), task)):
        with pytest.raises(SerbenchError, match=rf"the model '{model.name}' can't be written as an ONNX file"):
            to_onnx(model)
    with pytest.raises(SerbenchError, match="Leave --onnx out"):
        push(trained("chance", "emotion"), tmp_path / "m", onnx=True, resamples=50)
    assert not (tmp_path / "m").exists()


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("emotion", "classification", ("emotion",), ("anger", "joy", "neutral"))
    model, _ = linear_model(task, np.random.default_rng(0))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(LibraryError, match=r"pip install 'serbench\[onnx\]'"):
        to_onnx(model)
