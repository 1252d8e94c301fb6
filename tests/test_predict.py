"""Importing the authors' networks and scoring them, and predicting with any weights on files, folders and corpora."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile
import torch
from torch import nn
from typer.testing import CliRunner

from serbench.benchmarks import run
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.weights.predict import AUDIO, audio_files, predict, to_csv
from serbench.benchmarks.weights.submission import submission
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus, make_table
from serbench.datasets.schema.task import Task
from serbench.features.core.feature_extractor import FeatureRequest, build
from serbench.features.core.feature_table import FeatureTable
from serbench.results.record.folder import load_runs
from serbench.results.tables.leaderboard import leaderboard
from serbench.sermodels import cnn_regressor, linear
from serbench.sermodels.core.persist import describe, load_model, save_model, trained_on
from serbench.sermodels.core.sermodel import Data, Resources, SERModel
from serbench.sermodels.deepemocluster import model as deepemocluster
from serbench.sermodels.deepemocluster.importer import convert
from serbench.sermodels.deepemocluster.matlab import read_numbers

SINGLE = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
JOINT = Task("both", "regression", ("dominance", "valence"), scales={"dominance": (1, 7), "valence": (1, 7)})
CLASSES = Task("emotion", "classification", ("emotion",), labels=("anger", "neutral"))
OFFICIAL = "deepemoclusters_official"


def speech(seconds: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    time = np.arange(int(16000 * seconds)) / 16000
    tone = 0.3 * np.sin(2 * np.pi * (100 + 20 * seed) * time)
    return (tone + 0.05 * generator.standard_normal(len(time))).astype("f4")


@pytest.fixture
def wavs(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    (folder / "deep" / "er").mkdir(parents=True)
    for k, name in enumerate(("a.wav", "b.flac", "deep/c.wav", "deep/er/d.WAV")):
        kind = "FLAC" if name.endswith("flac") else "WAV"
        soundfile.write(folder / name, speech(0.8 + 0.4 * k, k), 16000, format=kind)
    (folder / "notes.txt").write_text("no audio")
    return folder


def trained(module: Any, task: Task, folder: Path, name: str) -> tuple[SERModel, Path]:
    """A tiny model trained on generated mel features, and its file."""
    model = module.Model(module.TINY, task, Resources(seed=1))
    generator = np.random.default_rng(0)
    arrays = {f"t{i}": generator.random((60 + i, 128)).astype("f4") for i in range(12)}
    items = pd.DataFrame({"path": list(arrays)}, index=pd.Index(list(arrays), name="id"))
    labels: Any = generator.uniform(1, 7, (12, len(task.targets)))
    labels = np.arange(12) % 2 if task.kind == "classification" else labels
    data = Data(task, items, {"input": FeatureTable.from_arrays(arrays, 0.016)}, labels)
    model.fit(data, data, lambda gold, predicted: 0.0)
    return model, save_model(model, folder / f"{name}.safetensors")


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    short = replace(cnn_regressor.TINY, train=replace(cnn_regressor.TINY.train, epochs=1))
    monkeypatch.setattr(cnn_regressor, "TINY", short)
    tiny = replace(deepemocluster.TINY, train=replace(deepemocluster.TINY.train, epochs=1))
    monkeypatch.setattr(deepemocluster, "TINY", tiny)
    return {
        name: trained(module, task, tmp_path, name)[1]
        for name, module, task in (
            ("arousal", deepemocluster, SINGLE),
            ("both", cnn_regressor, JOINT),
            ("classes", cnn_regressor, CLASSES),
        )
    }


def by_hand(path: Path, file: Path) -> np.ndarray:
    """The prediction for one file, through the extractor and the model directly."""
    signal, _ = soundfile.read(file, dtype="float32")
    table = FeatureTable.from_arrays({"x": build("mel").extract(signal)}, 0.016)
    model = load_model(path)
    data = Data(model.task, pd.DataFrame(index=pd.Index(["x"], name="id")), {"input": table})
    return np.asarray(model.predict(data))[0]


# Predicting


def test_several_weights_on_a_folder(wavs: Path, weights: dict[str, Path]) -> None:
    found = predict([weights["arousal"], weights["both"], weights["classes"]], [wavs])
    assert list(found.table.columns) == ["file", "arousal", "dominance", "valence", "emotion", "p_anger", "p_neutral"]
    assert found.table["file"].tolist() == ["a.wav", "b.flac", "deep/c.wav", "deep/er/d.WAV"]
    for row in found.table.to_dict("records"):
        assert row["arousal"] == pytest.approx(by_hand(weights["arousal"], wavs / row["file"])[0], abs=1e-4)
        both = by_hand(weights["both"], wavs / row["file"])
        assert (row["dominance"], row["valence"]) == pytest.approx(tuple(both), abs=1e-4)
        scores = by_hand(weights["classes"], wavs / row["file"])
        assert (row["p_anger"], row["p_neutral"]) == pytest.approx(tuple(scores), abs=1e-4)
        assert row["emotion"] == CLASSES.labels[int(scores.argmax())]
    assert not found.failed


def test_files_are_named_as_given_and_taken_once(wavs: Path, weights: dict[str, Path], monkeypatch: Any) -> None:
    monkeypatch.chdir(wavs)
    found = predict([weights["arousal"]], ["deep/c.wav", wavs / "a.wav", "deep", "a.wav"])
    assert found.table["file"].tolist() == ["deep/c.wav", (wavs / "a.wav").as_posix(), "deep/er/d.WAV"]
    assert [p.name for p in audio_files(wavs)] == ["a.wav", "b.flac", "c.wav", "d.WAV"]
    assert ".wav" in AUDIO


def test_a_corpus_with_segments_is_named_by_utterance(wavs: Path, weights: dict[str, Path]) -> None:
    first, second = {"id": "x1", "start": 0.0, "end": 0.7}, {"id": "x2", "start": 0.7}
    rows = [{"path": "deep/c.wav", **row} for row in (first, second)]
    corpus = Corpus("c", "", wavs, make_table(rows), tasks=(), splits={})
    assert predict([weights["arousal"]], corpus).table["file"].tolist() == ["x1", "x2"]
    whole = Corpus("c", "", wavs, make_table(rows[:1]).assign(start=np.nan, end=np.nan), tasks=(), splits={})
    assert predict([weights["arousal"]], whole).table["file"].tolist() == ["deep/c.wav"]


def test_a_bad_file_is_named_and_the_others_are_predicted(wavs: Path, weights: dict[str, Path]) -> None:
    (wavs / "empty.wav").touch()
    (wavs / "torn.wav").write_bytes(b"RIFF0000")
    found = predict([weights["arousal"]], [wavs])
    assert len(found.table) == 4
    assert set(found.failed) == {"empty.wav", "torn.wav"}
    assert "empty" in found.failed["empty.wav"]
    with pytest.raises(SerbenchError, match="none of the 1 files can be used"):
        predict([weights["arousal"]], [wavs / "empty.wav"])


def test_slices_change_nothing(wavs: Path, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = predict([weights["arousal"], weights["both"]], [wavs]).table
    monkeypatch.setattr("serbench.benchmarks.weights.predict.SLICE", 3)
    pd.testing.assert_frame_equal(predict([weights["arousal"], weights["both"]], [wavs]).table, whole, atol=1e-5)


def test_weights_that_do_not_go_together(wavs: Path, weights: dict[str, Path]) -> None:
    with pytest.raises(SerbenchError, match="both predict 'arousal'"):
        predict([weights["arousal"], weights["arousal"]], [wavs])
    with pytest.raises(SerbenchError, match=r"holds weights of 'deepemocluster', but --model linear"):
        predict([weights["arousal"]], [wavs], model="linear")
    with pytest.raises(SerbenchError, match="--weights FILE"):
        predict([], [wavs])
    with pytest.raises(SerbenchError, match="there is no audio in"):
        predict([weights["arousal"]], [_empty(wavs)])
    with pytest.raises(SerbenchError, match="there is no file or folder"):
        predict([weights["arousal"]], [wavs / "nothing"])


def _empty(folder: Path) -> Path:
    (folder / "void").mkdir()
    return folder / "void"


def test_recorded_features_are_those_of_the_training(tmp_path: Path, weights: dict[str, Path]) -> None:
    """Weights trained on other settings of a feature say so, and prediction follows them."""
    model = load_model(weights["arousal"])
    other = {"input": FeatureRequest("mel", (("power", "1"),))}
    path = save_model(model, tmp_path / "other.safetensors", other, {"from": "here"})
    assert trained_on(describe(path)) == other
    assert describe(path)["notes"] == {"from": "here"}
    assert trained_on(describe(weights["arousal"])) == {"input": FeatureRequest("mel")}
    soundfile.write(tmp_path / "x.wav", speech(1.0, 3), 16000)
    plain, changed = (predict([p], [tmp_path / "x.wav"]).table["arousal"][0] for p in (weights["arousal"], path))
    assert plain != changed


def test_the_command_writes_csv_and_names_what_is_left_out(
    wavs: Path, weights: dict[str, Path], tmp_path: Path
) -> None:
    (wavs / "empty.wav").touch()
    out = tmp_path / "new" / "p.csv"
    arguments = ["predict", "--model", "deepemocluster", "--weights", str(weights["arousal"]), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, str(wavs)])
    assert done.exit_code == 0, done.output
    assert "1 files are left out" in done.output
    written = pd.read_csv(out)
    assert list(written.columns) == ["file", "arousal"]
    expected = predict([weights["arousal"]], [wavs]).table
    np.testing.assert_allclose(written["arousal"], expected["arousal"], atol=1e-6)
    assert to_csv(predict([weights["arousal"]], [wavs])) == out.read_text()
    both = CliRunner().invoke(app, [*arguments, str(wavs), "--dataset", "demo"])
    assert isinstance(both.exception, SerbenchError)
    assert "one of the two" in str(both.exception)


def test_any_model_predicts(tmp_path: Path, wavs: Path) -> None:
    """A model on functionals, and one without features."""
    request = linear.Model.requests(linear.PRESETS["default"], SINGLE)["input"]
    dim = build(request).dim
    generator = np.random.default_rng(0)
    arrays = {f"t{i}": generator.random((1, dim)).astype("f4") for i in range(12)}
    items = pd.DataFrame({"path": list(arrays), "speaker": "s"}, index=pd.Index(list(arrays), name="id"))
    data = Data(SINGLE, items, {"input": FeatureTable.from_arrays(arrays)}, generator.uniform(1, 7, (12, 1)))
    model = linear.Model(linear.PRESETS["default"], SINGLE, Resources(seed=1))
    model.fit(data, data, lambda gold, predicted: float(-np.abs(gold - predicted).mean()))
    found = predict([save_model(model, tmp_path / "linear.safetensors")], [wavs])
    assert np.isfinite(found.table["arousal"]).all()
    assert len(found.table) == 4


# Importing


class Reference(nn.Module):
    """The released layout, with its names."""

    def __init__(self, clusters: int, width: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 1
        for outside, stride in zip((32, 32, 64, 64, 128, 128, 128), (1, 1, 2, 2, 2, 2, 2), strict=True):
            layers += [nn.Conv2d(inside, outside, 3, stride, 1), nn.BatchNorm2d(outside), nn.ReLU()]
            inside = outside
        self.cnn_features = nn.Sequential(*layers)
        self.cnn_out = nn.Sequential(nn.Linear(1024, width), nn.ReLU(), nn.Dropout(0.5))
        self.classifier = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.emo_regressor = nn.Sequential(nn.Linear(width, width), nn.ReLU())
        self.top_layer_class, self.top_layer_attri = nn.Linear(width, clusters), nn.Linear(width, 1)

    def forward(self, chunks: torch.Tensor) -> torch.Tensor:
        hidden = self.cnn_out(self.cnn_features(chunks[:, None]).flatten(1))
        return self.top_layer_attri(self.emo_regressor(hidden))


def checkpoint(folder: Path, name: str = "x_12clusters_Act.pth.tar", clusters: int = 12, width: int = 256) -> Path:
    torch.manual_seed(5)
    network = Reference(clusters, width)
    state = {
        k.replace("cnn_features.", "cnn_features.module.").replace("cnn_out.", "cnn_out.module."): v
        for k, v in network.state_dict().items()
    }
    folder.mkdir(exist_ok=True)
    torch.save({"arch": "Vgg16", "state_dict": state}, folder / name)
    return folder / name


def constants(folder: Path) -> Path:
    generator = np.random.default_rng(2)
    folder.mkdir(exist_ok=True)
    for name, size in (("feat", 128), ("act", 1), ("dom", 1), ("val", 1)):
        for kind in ("means", "stds"):
            values = {"normal_para": generator.uniform(0.5, 2, (1, size))}
            scipy.io.savemat(folder / f"{name}_norm_{kind}.mat", values)
    return folder


def test_an_imported_network_predicts_what_the_original_predicts(tmp_path: Path) -> None:
    file, norm = checkpoint(tmp_path / "w"), constants(tmp_path / "norm")
    model, notes = convert(file, norm)
    assert (model.task.name, model.config.clusters, model.parameters) == ("arousal", 12, 832_493)
    assert notes["imported_from"] == file.name
    mel = np.random.default_rng(1).gamma(0.5, 2.0, (150, 128)).astype("f4")
    torch.manual_seed(5)
    network = Reference(12).eval()
    held = {p.stem: scipy.io.loadmat(p)["normal_para"].ravel() for p in norm.glob("*.mat")}
    normed = np.clip((mel - held["feat_norm_means"]) / held["feat_norm_stds"], -3, 3).astype("f4")
    chunks = np.stack([normed[8 * k : 8 * k + 62] for k in range(11)])
    with torch.no_grad():
        expected = network(torch.from_numpy(chunks)).mean() * held["act_norm_stds"][0] + held["act_norm_means"][0]
    items = pd.DataFrame(index=pd.Index(["x"], name="id"))
    data = Data(SINGLE, items, {"input": FeatureTable.from_arrays({"x": mel}, 0.016)})
    assert np.asarray(model.predict(data))[0, 0] == pytest.approx(float(expected), abs=1e-5)


@pytest.mark.parametrize("compressed", [True, False])
def test_normalisation_constants_are_what_scipy_writes_and_damage_is_refused(tmp_path: Path, compressed: bool) -> None:
    file, values = tmp_path / "x.mat", np.random.default_rng(3).normal(size=(1, 20))
    held = {"other": np.ones((2, 2)), "normal_para": values, "whole": np.arange(3)}
    scipy.io.savemat(file, held, do_compression=compressed)
    np.testing.assert_array_equal(read_numbers(file, "normal_para"), values.ravel())
    np.testing.assert_array_equal(read_numbers(file, "whole"), np.arange(3))
    data, seen = file.read_bytes(), 0
    for at in range(0, len(data), 3):
        for spoilt in (data[:at], data[:at] + b"\xff" + data[at + 1 :]):
            file.write_bytes(spoilt)
            try:
                read_numbers(file, "normal_para")
            except ValueError as error:
                seen += bool(str(error))
    assert seen > 50


def test_the_import_command(tmp_path: Path) -> None:
    file, norm = checkpoint(tmp_path / "w", "net_9clusters.pth.tar", 9), constants(tmp_path / "norm")
    arguments = ["import", "deepemocluster", str(file), "--norm", str(norm), "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, arguments)
    assert "--target arousal, dominance or valence" in str(refused.exception)
    done = CliRunner().invoke(app, [*arguments, "--target", "valence"])
    assert done.exit_code == 0, done.output
    head = describe(tmp_path / "out")
    assert head["task"]["targets"] == ["valence"]
    assert head["notes"]["imported_from"] == "net_9clusters.pth.tar"
    assert trained_on(head) == {"input": FeatureRequest("mel")}
    wrong = CliRunner().invoke(app, ["import", "deepemo", *arguments[2:]])
    assert "Did you mean 'deepemocluster'?" in str(wrong.exception)


class Evil:
    """What unpickling would run."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("owned"),))


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": Evil()}}, tmp_path / "e_Act.pth.tar")
    (tmp_path / "p_Act.pth.tar").write_bytes(pickle.dumps({"state_dict": Evil()}))
    for name in ("e_Act.pth.tar", "p_Act.pth.tar"):
        with pytest.raises(SerbenchError, match="can't be read as tensors alone"):
            convert(tmp_path / name, constants(tmp_path / "norm"))
    assert not (tmp_path / "owned").exists()


def test_a_damaged_checkpoint_and_one_that_unpacks_to_more_than_it_holds_are_refused(tmp_path: Path) -> None:
    file, norm = checkpoint(tmp_path / "w"), constants(tmp_path / "norm")
    whole = file.read_bytes()
    held = torch.load(file, weights_only=True)["state_dict"]["top_layer_class.weight"].numpy().tobytes()
    at = whole.index(held) + 100
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    assert torch.load(file, weights_only=True)  # in silence
    with pytest.raises(SerbenchError, match="is damaged; copy the file again"):
        convert(file, norm)
    file.write_bytes(whole)
    packed = tmp_path / "packed_Act.pth.tar"
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(SerbenchError, match="is compressed, which torch never does"):
        convert(packed, norm)
    torch.save(
        {"state_dict": torch.load(file, weights_only=True)["state_dict"]}, file, _use_new_zipfile_serialization=False
    )
    assert convert(file, norm)


def test_checkpoints_of_another_shape_or_kind_are_refused_in_words(tmp_path: Path) -> None:
    norm, folder = constants(tmp_path / "norm"), tmp_path / "w"
    with pytest.raises(SerbenchError, match=r"no checkpoint of the DeepEmoCluster release: size mismatch"):
        convert(checkpoint(folder, "w_Act.pth.tar", width=64), norm)
    state = torch.load(checkpoint(folder, "d_Dom.pth.tar"), weights_only=True)["state_dict"]
    variants = {
        "missing": {k: v for k, v in state.items() if "top_layer_attri" not in k},
        "no cluster": {k: v for k, v in state.items() if "top_layer_class" not in k},
        "more": state | {"attention.weight": torch.zeros(3)},
    }
    for text, changed in variants.items():
        torch.save({"state_dict": changed}, folder / "v_Dom.pth.tar")
        with pytest.raises(SerbenchError, match="no checkpoint of the DeepEmoCluster release"):
            convert(folder / "v_Dom.pth.tar", norm)
        assert text
    torch.save([1, 2], folder / "l_Dom.pth.tar")
    with pytest.raises(SerbenchError, match="no entry state_dict"):
        convert(folder / "l_Dom.pth.tar", norm)
    (folder / "torn_Dom.pth.tar").write_bytes((folder / "d_Dom.pth.tar").read_bytes()[:5000])
    with pytest.raises(SerbenchError, match="can't be read"):
        convert(folder / "torn_Dom.pth.tar", norm)
    with pytest.raises(SerbenchError, match="there is no file"):
        convert(folder / "none_Dom.pth.tar", norm)


def test_normalisation_constants_are_checked(tmp_path: Path) -> None:
    file, norm = checkpoint(tmp_path / "w"), constants(tmp_path / "norm")
    scipy.io.savemat(norm / "feat_norm_stds.mat", {"normal_para": np.zeros((1, 128))})
    with pytest.raises(SerbenchError, match=r"feat_norm_stds.*spreads above 0"):
        convert(file, norm)
    scipy.io.savemat(norm / "feat_norm_stds.mat", {"normal_para": np.ones((1, 40))})
    with pytest.raises(SerbenchError, match=r"holds 40 numbers\. Expected 128"):
        convert(file, norm)
    scipy.io.savemat(norm / "feat_norm_stds.mat", {"other": np.ones((1, 128))})
    with pytest.raises(SerbenchError, match="variable 'normal_para'"):
        convert(file, norm)
    with pytest.raises(SerbenchError, match=r"--norm"):
        convert(file, tmp_path)


# The authors' own networks on real speech


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory, test_data: Path) -> list[Path]:
    folder, out = test_data / OFFICIAL, tmp_path_factory.mktemp("official")
    found = []
    for file in sorted((folder / "weights").glob("*.pth.tar")):
        model, notes = convert(file, folder / "norm")
        found.append(save_model(model, out / f"{model.task.name}.safetensors", None, notes))
    assert [p.stem for p in found] == ["arousal", "dominance", "valence"]
    return found


def compare_with_authors(official: list[Path], test_data: Path, audio: list[Path]) -> None:
    expected = pd.read_csv(test_data / OFFICIAL / "expected_emodb.csv", index_col=0)
    table = predict(official, audio).table
    table.index = pd.Index([Path(str(name)).name for name in table["file"]])
    targets = ["arousal", "dominance", "valence"]
    assert list(table.columns) == ["file", *targets]
    np.testing.assert_allclose(table[targets], expected.loc[table.index, targets], rtol=0, atol=1e-3)
    assert len(table) == len(audio)
    assert len(expected) == 535


def test_a_third_of_emodb_is_predicted_as_by_the_authors(official: list[Path], test_data: Path) -> None:
    """Every third of the 535 files: all speakers, sentences and emotions."""
    compare_with_authors(official, test_data, sorted((test_data / "emodb").rglob("*.wav"))[::3])


def test_official_networks_need_attributes(official: list[Path], test_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"predicts arousal \(regression\), and emodb has no such task.*arousal"):
        run(dataset="emodb", weights=[official[0]], root=test_data / "emodb", results=tmp_path)


@pytest.mark.slow
def test_official_networks_give_ccc_rows_on_demo(official: list[Path], tmp_path: Path) -> None:
    done = run(dataset="demo", weights=official, results=tmp_path, device="cpu", threads=1)
    table = predict(official[:1], load_corpus("demo"), partition="test", device="cpu").table
    assert [one.task.name for one in done] == ["arousal", "dominance", "valence"]
    for one in done:
        assert one.spec["labels"] == ["no-training", "imported-weights"]
        assert one.scores().query("metric == 'CCC'")["value"].notna().sum() == 20
        if (name := one.task.name) in table:  # the others' networks are the same program
            predicted = one.predictions(0)[f"pred_{name}"]
            np.testing.assert_allclose(sorted(predicted), sorted(table[name]), atol=1e-4)
    board = leaderboard(load_runs(tmp_path))
    assert board.query("model == 'deepemocluster'")["name"].tolist() == ["deepemocluster:weights"] * 3


# ---- hidden labels --------------------------------------------------------------------------------------------------


def test_hidden_test_sets_are_predicted_for_a_submission(tmp_path: Path, weights: dict[str, Path]) -> None:
    """MSP-Podcast's Test3: the columns of its label file, each filled by its name whatever order models predict in."""
    from serbench.datasets.mocks import msp_podcast as mock_msp_podcast
    from serbench.datasets.msp_podcast import reader as msp_podcast

    root, out = tmp_path / "msp", tmp_path / "test3.csv"
    mock_msp_podcast.write(root, release="1.11")
    corpus = msp_podcast.load(root)
    hidden = corpus.utterances[corpus.utterances["partition"].eq("test3")]
    more = [text for name in ("both", "arousal", "classes") for text in ("--weights", str(weights[name]))]
    where = ["predict", "--dataset", "msp-podcast", "--root", str(root), "--partition", "test3", "--out", str(out)]
    done = CliRunner().invoke(app, [*where, *more, "--submission"])
    assert done.exit_code == 0, done.output
    written = pd.read_csv(out)
    assert list(written.columns) == ["FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom"]
    assert sorted(written["FileName"]) == sorted(path.rsplit("/", 1)[1] for path in hidden["path"])
    assert set(written["EmoClass"]) <= {"A", "N"}
    plain = predict([weights[name] for name in ("both", "arousal", "classes")], corpus, partition="test3").table
    for column, name in (("EmoAct", "arousal"), ("EmoVal", "valence"), ("EmoDom", "dominance")):
        np.testing.assert_allclose(written[column], plain[name], atol=1e-6)
    assert len(predict([weights["arousal"]], corpus).table) == len(corpus.utterances)
    with pytest.raises(SerbenchError, match="partition of msp-podcast"):
        predict([weights["arousal"]], corpus, partition="test4")


def test_what_no_submission_can_be_made_of() -> None:
    table = pd.DataFrame({"file": ["a.wav"], "emotion": ["calm"], "p_calm": [1.0]})
    with pytest.raises(SerbenchError, match="class of msp-podcast"):
        submission(table, "msp-podcast")
    with pytest.raises(SerbenchError, match="dataset with hidden labels"):
        submission(table, "emodb")
    with pytest.raises(SerbenchError, match="predictions of frames"):
        submission(table.assign(time=0.0), "msp-podcast")
    with pytest.raises(SerbenchError, match="several sets of classes"):
        submission(table.assign(sentiment="positive"), "msp-podcast")
