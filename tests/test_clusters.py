"""The cluster analysis: its numbers against closed forms and scikit-learn, what it reads and writes, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score
from typer.testing import CliRunner

from serbench.benchmarks.analyses.cluster_contents import contents, verdict
from serbench.benchmarks.analyses.cluster_files import write
from serbench.benchmarks.analyses.cluster_measures import class_nmi, in_order, measure, project, variance_ratio
from serbench.benchmarks.analyses.clusters import Choices, Clustered, analyse, find_baseline
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.datasets.core.errors import SerbenchError
from serbench.results.record.folder import Run
from serbench.sermodels.core.persist import load_model


@pytest.fixture(scope="module")
def trained(toy_corpus: Callable[..., Path], tiny_chunked: dict[str, str]) -> tuple[Run, Run]:
    """One trial of deepemocluster and of cnn-regressor on 40 babbles, with their weights."""
    file = toy_corpus(seconds=0.6, columns=("arousal", "valence", "emotion"))
    found = []
    for model, more in (("deepemocluster", {"model.clusters": "3"}), ("cnn-regressor", {})):
        found += run(
            model,
            "table",
            root=file,
            task="arousal",
            settings={**tiny_chunked, "train.epochs": "2", **more},
            trials=1,
            protocol=Protocol(subsets=2),
            results=file.parent / "results",
            threads=1,
            device="cpu",
            save_models=True,
        )
    return found[0], found[1]


# Numbers


def test_the_variance_ratio_is_that_of_the_analysis_of_variance() -> None:
    values, labels = np.array([1.0, 3.0, 5.0, 7.0, np.nan]), np.array([0, 0, 1, 1, 1])
    assert variance_ratio(values, labels) == pytest.approx((2 * 4 + 2 * 4) / (4 * 1))
    numbers = np.random.default_rng(0)
    labels = numbers.integers(0, 5, 400)
    values = numbers.normal(size=400) + 0.3 * labels
    from scipy.stats import f_oneway

    f = f_oneway(*(values[labels == k] for k in range(5))).statistic
    assert variance_ratio(values, labels) == pytest.approx(f * (5 - 1) / (400 - 5))
    assert variance_ratio(np.array([1.0, 1.0, 2.0]), np.array([0, 0, 1])) == np.inf
    assert np.isnan(variance_ratio(np.ones(3), np.array([0, 0, 1])))
    assert np.isnan(variance_ratio(np.full(3, np.nan), np.array([0, 0, 1])))


def test_nmi_is_scikit_learn_s_over_known_classes() -> None:
    numbers = np.random.default_rng(0)
    labels = numbers.integers(0, 4, 300)
    classes = np.array(["anger", "joy", "fear"], dtype=object)[(labels + numbers.integers(0, 2, 300)) % 3]
    assert class_nmi(classes, labels) == pytest.approx(normalized_mutual_info_score(classes, labels))
    holes = classes.copy()
    holes[::3] = None
    known = np.arange(300) % 3 != 0
    assert class_nmi(holes, labels) == pytest.approx(normalized_mutual_info_score(classes[known], labels[known]))
    assert np.isnan(class_nmi(np.array(["joy"] * 5, dtype=object), np.arange(5)))


def test_chance_keeps_a_sentence_s_chunks_together() -> None:
    """Clusters that are the speaker, say, go with any label that is constant within a sentence, by chance alone."""
    numbers, sentences, count = np.random.default_rng(1), 40, 30
    label = numbers.normal(size=sentences)
    ids = np.repeat([f"u{i}" for i in range(sentences)], count)
    chunks = pd.DataFrame({"id": ids, "arousal": np.repeat(label, count), "emotion": np.repeat(label > 0, count)})
    chunks["emotion"] = chunks["emotion"].map({True: "joy", False: "fear"})
    constant = chunks.assign(cluster=np.repeat(numbers.integers(0, 10, sentences), count))
    free = chunks.assign(cluster=numbers.integers(0, 10, len(chunks)))
    within, without = (measure(c, ["arousal"], 0).set_index("target") for c in (constant, free))
    # sentences are the independent units: E[SSB] / E[SSW] is (k - 1) / (n - k)
    assert within["chance"]["arousal"] == pytest.approx(9 / 30, rel=0.35)
    assert without["chance"]["arousal"] < 0.02
    assert within["value"]["arousal"] == variance_ratio(np.repeat(label, count), constant["cluster"].to_numpy())
    assert list(within["measure"]) == ["ratio", "NMI"]
    assert (within["n"] == 1200).all()


def test_clusters_are_numbered_by_the_mean_of_an_attribute() -> None:
    labels = np.array([0, 0, 1, 1, 2, 3])
    values = np.array([5.0, 7.0, 1.0, 1.0, 3.0, np.nan])
    assert in_order(labels, values).tolist() == [2, 2, 0, 0, 1, 3]


def test_the_projection_holds_the_principal_components() -> None:
    points = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32) * np.arange(1, 7)
    plane = project(points, "pca", 0)
    expected = PCA(2).fit_transform(points.astype(np.float64))
    np.testing.assert_allclose(np.abs(plane), np.abs(expected), atol=1e-6)
    assert project(points[:, :1], "pca", 0).shape == (50, 2)
    assert project(points, "tsne", 0).shape == (50, 2)


# What else is in the clusters


def spoken(seed: int = 0) -> pd.DataFrame:
    """48 sentences of 3 chunks by 6 speakers, each speaker with all of 4 emotions; arousal goes with the emotion."""
    sentence = np.arange(48)
    emotion = np.array(["anger", "fear", "joy", "neutral"], dtype=object)[sentence % 4]
    arousal = sentence % 4 + 0.1 * np.random.default_rng(seed).normal(size=48)
    columns = {
        "id": [f"u{i:02d}" for i in sentence],
        "speaker": [f"s{i // 8}" for i in sentence],
        "emotion": emotion,
        "arousal": arousal,
    }
    chunks = pd.DataFrame({name: np.repeat(values, 3) for name, values in columns.items()})
    return chunks.assign(chunk=np.tile(np.arange(3), 48), recording=chunks["id"])


@pytest.mark.parametrize("what", ["speaker", "emotion", "chunk"])
def test_clusters_are_told_by_what_they_hold(what: str) -> None:
    chunks = spoken()
    chunks["cluster"] = pd.factorize(chunks[what])[0]
    table = contents(chunks, ["arousal"], chunks["cluster"].to_numpy()[::-1].astype(np.int64), 0)
    nmi = table[table["measure"].eq("NMI")].set_index("target")
    name = "position" if what == "chunk" else what
    assert nmi["value"][name] == pytest.approx(1.0)
    assert nmi["excess"].idxmax() == name
    assert "recording" not in nmi.index, "each sentence is a file of its own"
    assert ("more emotion than" if what == "emotion" else f"clusters of {name} rather") in verdict(table)
    codes = [pd.factorize(chunks[c])[0] for c in ("emotion", "speaker")]
    expected = normalized_mutual_info_score(codes[0], chunks["cluster"])
    assert nmi["value"]["emotion"] == pytest.approx(expected)


def test_shuffles_within_speakers_leave_what_the_speaker_tells() -> None:
    """Half the speakers are always angry, half never: clusters of speakers then hold emotion, but not within them."""
    chunks = spoken()
    chunks["emotion"] = np.where(chunks["speaker"].isin(["s0", "s1", "s2"]), "anger", "joy")
    chunks["cluster"] = pd.factorize(chunks["speaker"])[0]
    row = contents(chunks, [], None, 0).set_index("target").loc["emotion"]
    assert row["excess"] > 0.3
    assert row["within_speakers"] == pytest.approx(row["value"])
    assert np.isnan(row["untrained"])


def test_the_level_and_the_untrained_network_are_looked_at(trained: tuple[Run, Run]) -> None:
    found = analyse(*trained, Choices())[0]
    model = load_model(trained[0].path / "unit-0-official.safetensors")
    fresh = model.untrained()
    assert sorted(model.network.state_dict()) == sorted(fresh.network.state_dict())
    for name, value in model.network.normaliser.state_dict().items():
        assert torch.equal(value, fresh.network.normaliser.state_dict()[name])
    weights = [one.network.encoder.latent.weight for one in (model, fresh)]
    assert not torch.allclose(*weights)
    nmi = found.contents[found.contents["measure"].eq("NMI")].set_index("target")
    assert {"emotion", "arousal", "valence", "sentence", "position", "level"} <= set(nmi.index)
    assert nmi["untrained"].notna().all()
    assert found.chunks["level"].notna().all()


# The whole analysis


def test_what_is_clustered_are_the_features_of_the_test_items(trained: tuple[Run, Run]) -> None:
    found = analyse(*trained, Choices())
    assert [one.name for one in found] == ["deepemocluster", "cnn-regressor"]
    for one, run_ in zip(found, trained, strict=True):
        tested = run_.predictions(0)["id"]
        assert set(one.chunks["id"]) == set(tested)
        assert len(one.chunks) == 2 * len(tested)
        assert one.attributes == ("arousal", "valence")
        assert set(one.chunks["cluster"]) <= {0, 1, 2}, "as many clusters as deepemocluster has, for both"
        gold = run_.predictions(0).set_index("id")["gold_arousal"]
        np.testing.assert_allclose(one.chunks["arousal"], gold[one.chunks["id"]].to_numpy())
        means = one.chunks.groupby("cluster")["arousal"].mean()
        assert means.is_monotonic_increasing
        row = one.measures.set_index("target")
        clusters = one.chunks["cluster"].to_numpy()
        assert row["value"]["emotion"] == pytest.approx(normalized_mutual_info_score(one.chunks["emotion"], clusters))
        assert row["value"]["arousal"] == variance_ratio(one.chunks["arousal"].to_numpy(), clusters)
    again = analyse(*trained, Choices())
    pd.testing.assert_frame_equal(found[0].chunks, again[0].chunks)


def test_layers_are_those_of_the_network(trained: tuple[Run, Run]) -> None:
    h, own = (analyse(trained[0], None, Choices(layer=layer))[0].chunks for layer in ("h", "auto"))
    assert not np.allclose(h["x"], own["x"])
    model = load_model(trained[0].path / "unit-0-official.safetensors")
    assert model.config.cluster_input == "classifier"


@pytest.mark.parametrize("plot", ["box", "violin"])
def test_files(trained: tuple[Run, Run], tmp_path: Path, plot: str) -> None:
    paths = write(analyse(*trained, Choices()), tmp_path, plot)
    stem = f"clusters_{trained[0].run_id}"
    assert {p.name for p in paths} == {
        f"{stem}{end}"
        for end in (".csv", "_chunks.csv", "_contents.csv", ".md", "_distribution.png", "_projection.png")
    }
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths if p.suffix == ".png")
    table = pd.read_csv(tmp_path / f"{stem}.csv")
    assert sorted(table["target"].unique()) == ["arousal", "emotion", "valence"]
    text = (tmp_path / f"{stem}.md").read_text(encoding="utf-8")
    assert "| measure | deepemocluster | deepemocluster, by chance | cnn-regressor |" in text


def test_labels_may_be_missing(tmp_path: Path) -> None:
    """A corpus without emotion classes or without attributes still gives the rest."""
    numbers = np.random.default_rng(0)
    chunks = pd.DataFrame(
        {
            "id": [f"u{i // 2}" for i in range(40)],
            "chunk": [0, 1] * 20,
            "x": numbers.normal(size=40),
            "y": numbers.normal(size=40),
            "cluster": numbers.integers(0, 3, 40),
            "emotion": pd.Series([None] * 40, dtype=object),
        }
    )
    chunks["emotion"] = np.repeat(np.where(np.arange(20) % 2, "joy", "fear"), 2)
    one = Clustered("m", "no-attributes", chunks, (), measure(chunks, (), 0))
    assert not any(p.name.endswith("_distribution.png") for p in write([one], tmp_path))
    bare = chunks.assign(emotion=None, arousal=1.0 + np.arange(40) // 2)
    one = Clustered("m", "no-classes", bare, ("arousal",), measure(bare, ["arousal"], 0))
    assert one.measures["value"].isna().tolist() == [False, True]
    assert len(write([one], tmp_path, "violin")) == 5


def test_the_command_finds_the_baseline(trained: tuple[Run, Run], tmp_path: Path) -> None:
    assert find_baseline(trained[0]).run_id == trained[1].run_id
    command = ["clusters", "deepemocluster", "--results", str(trained[0].results), "--threads", "1", "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert len(list(tmp_path.iterdir())) == 6


# Bad input


def test_missing_weights_are_answered_with_what_to_type(trained: tuple[Run, Run], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(trained[0].results, tmp_path / "results")
    bare = Run.open(tmp_path / "results" / "runs" / trained[0].run_id)
    with pytest.raises(SerbenchError, match=r"There are: unit-0-official.safetensors. Choose one with --trial"):
        analyse(bare, None, Choices(trial=3))
    (bare.path / "unit-0-official.safetensors").unlink()
    with pytest.raises(SerbenchError, match=r"serbench run --from-record .*--save-models --results .*-models") as found:
        analyse(bare, None, Choices())
    assert f"serbench clusters {bare.run_id} --results" in str(found.value)
    with pytest.raises(SerbenchError, match=r"serbench run --model deepemocluster.*--trials 3.*--save-models"):
        analyse(bare, None, Choices(trial=2))
    shutil.rmtree(tmp_path / "results" / "runs" / trained[1].run_id)
    with pytest.raises(SerbenchError, match=r"serbench run --model cnn-regressor .*--save-models") as found:
        find_baseline(bare)
    assert "model.clusters" not in str(found.value)
    assert "--against none" in str(found.value)


def test_bad_input(trained: tuple[Run, Run]) -> None:
    with pytest.raises(SerbenchError, match="chunks for 500 clusters"):
        analyse(trained[0], None, Choices(clusters=500))
    with pytest.raises(SerbenchError, match=r"has no such fold\. Expected one of: official"):
        analyse(trained[0], None, Choices(fold="x"))
    command = ["clusters", "deepemocluster", "--results", str(trained[0].results), "--plot", "pie"]
    assert "--plot pie: expected one of: box, violin" in str(CliRunner().invoke(app, command).exception)
