"""`serbench study semantic` on a miniature SEWA, AVEC's moments and parts by the equation written again, bad input."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.corpora.mock import write_mock
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.protocol.protocol import Protocol, assign_subsets, divide
from serbench.benchmarks.protocol.request import Request
from serbench.benchmarks.studies import semantic_fusion
from serbench.benchmarks.studies.study import Row, Study, fitting_preset
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.features.spoken.encoder import WordEncoder, save_encoder
from serbench.features.words.speech2vec import Config as SoundConfig
from serbench.features.words.spoken_words import CutConfig
from serbench.features.words.vectors import read_vectors
from serbench.results.record.folder import Run, load_runs
from serbench.results.scores import metrics


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Miniatures of the packages of 2017 and 2019, and two files of word vectors for the words of the first."""
    base = tmp_path_factory.mktemp("semantic")
    write_mock("sewa", base / "2017", utterances=36)
    write_mock("sewa", base / "2019", release="2019", utterances=60)
    corpus = load_corpus("sewa", base / "2017")
    items = [str(i) for i in corpus.items(corpus.tasks[0]).index]
    spoken = sorted({word.lower().strip(".,!?") for item in items for word in corpus.words(item)["word"]})
    rng = np.random.default_rng(0)
    for name in ("aligned", "word2vec"):
        rows = [f"{word} " + " ".join(f"{x:.4f}" for x in rng.normal(size=4)) for word in spoken]
        (base / f"{name}.vec").write_text("\n".join([f"{len(spoken)} 4", *rows]) + "\n", encoding="utf-8")
    assert read_vectors(base / "aligned.vec").dim == 4
    return base


@pytest.fixture(scope="module")
def sewa(folder: Path) -> Corpus:
    return load_corpus("sewa", folder / "2017")


def files(folder: Path) -> dict[str, str]:
    return {name: str(folder / f"{name}.vec") for name in ("aligned", "word2vec")}


# AVEC's moments


def avec_in_fractions(gold: np.ndarray, predicted: np.ndarray) -> float:
    """The challenge's figure in exact arithmetic: covariance over n, variances over n - 1."""
    x, y = [Fraction(float(v)) for v in gold], [Fraction(float(v)) for v in predicted]
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    shared = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / n
    vx, vy = sum((a - mx) ** 2 for a in x) / (n - 1), sum((b - my) ** 2 for b in y) / (n - 1)
    return float(2 * shared / (vx + vy + (mx - my) ** 2))


@pytest.mark.parametrize(("seed", "n"), [(0, 2), (1, 3), (2, 40), (3, 400)])
def test_avec_moments_are_those_of_the_equation(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    gold = rng.normal(0.1, 0.2, n)
    predicted = 0.5 * gold + rng.normal(0.05, 0.1, n)
    assert metrics.ccc_avec(gold, predicted) == pytest.approx(avec_in_fractions(gold, predicted), abs=1e-12)
    spread = gold.var() + predicted.var()
    factor = 1 + spread / ((n - 1) * (spread + (gold.mean() - predicted.mean()) ** 2))
    assert metrics.ccc(gold, predicted) == pytest.approx(metrics.ccc_avec(gold, predicted) * factor, abs=1e-12)


def test_avec_moments_of_a_challenges_size_differ_in_the_fifth_decimal() -> None:
    """22,727 frames of the German devel recordings: a CCC of 0.628685 is told as 0.628657."""
    rng = np.random.default_rng(4)
    gold = rng.normal(0.138, 0.144, 22_727)
    noise = rng.normal(0.0, 0.115, 22_727)
    standard, avec = metrics.ccc(gold, 0.7 * gold + noise), metrics.ccc_avec(gold, 0.7 * gold + noise)
    assert 1e-5 < standard - avec < 5e-5
    assert avec / standard == pytest.approx(0.628657 / 0.628685, abs=5e-6)


def test_avec_moments_keep_the_conventions_of_ccc() -> None:
    gold = np.array([0.1, np.nan, 0.3, 0.2])
    assert metrics.ccc_avec(gold, [0.2, 9.0, 0.3, 0.1]) == pytest.approx(
        avec_in_fractions(np.array([0.1, 0.3, 0.2]), np.array([0.2, 0.3, 0.1])), abs=1e-12
    )
    assert metrics.ccc_avec([1.0, 1.0], [0.5, 0.5]) == 0
    for undefined in (([1.0], [1.0]), ([], []), ([1.0, 1.0], [1.0, 1.0]), ([1.0, 2.0], [np.nan, 1.0])):
        assert np.isnan(metrics.ccc_avec(*undefined))


# The rows


def test_every_row_differs_in_one_part_from_the_system(folder: Path, sewa: Corpus) -> None:
    study = semantic_fusion.ablations(sewa, files(folder))
    system, *others = study.rows
    assert [row.label for row in study.rows] == [
        "disentangled, aligned",
        "attention, aligned",
        "concat, aligned",
        "disentangled, word2vec",
        "no words",
        "words alone, aligned",
        "words alone, word2vec",
        "chance",
    ]
    named = {row.label: semantic_fusion._what_is_added(system, row) for row in others}
    assert named == {
        "attention, aligned": "disentangled fusion instead of attention",
        "concat, aligned": "disentangled fusion instead of concat",
        "disentangled, word2vec": "aligned vectors instead of word2vec",
        "no words": "words beside the sound",
        "words alone, aligned": "sound beside the words",
        "words alone, word2vec": None,
        "chance": None,
    }
    assert others[3].settings["model.vectors"] == "", "no words is one row, whatever vectors there are"


def test_words_from_elsewhere_are_rows_of_their_own(folder: Path, sewa: Corpus) -> None:
    """Recognised words, the sound of words, none: each row differs from the system in where its words are from."""
    for name in ("heard.csv", "e.encoder.safetensors", "m.map.safetensors"):
        (folder / name).touch()
    given = {"recognised": "heard.csv", "encoder": "e.encoder.safetensors", "map": "m.map.safetensors"}
    files_ = semantic_fusion.WordFiles(**{key: str(folder / name) for key, name in given.items()})
    study = semantic_fusion.ablations(sewa, {"aligned": files(folder)["aligned"]}, [], files_)
    rows = {row.label: row.settings for row in study.rows}
    assert list(rows)[3:6] == ["recognised words", "the words' sound", "no words"]
    system = rows["disentangled, aligned"]
    differs = {label: {k for k in system if own[k] != system[k]} for label, own in rows.items()}
    assert differs["recognised words"] == {"model.word_times"}
    assert differs["the words' sound"] == {"model.word_times", "model.vectors", "model.encoder", "model.map"}
    assert rows["the words' sound"]["model.word_times"] == rows["recognised words"]["model.word_times"]
    assert differs["no words"] == {"model.streams", "model.vectors"}
    added = [semantic_fusion._what_is_added(study.rows[0], row) for row in study.rows[3:6]]
    assert added == [
        "the transcript's words instead of recognised words",
        "the transcript's words instead of the words' sound",
        "words beside the sound",
    ]
    for wrong, said in (
        (replace(files_, recognised="nowhere.csv"), "--recognised nowhere.csv: there is no such file"),
        (replace(files_, encoder=""), "--map was given without --encoder"),
    ):
        with pytest.raises(SerbenchError, match=said):
            semantic_fusion.ablations(sewa, files(folder), [], wrong)
    with pytest.raises(SerbenchError, match="without word vectors"):
        semantic_fusion.ablations(sewa, {}, [], files_)


def test_without_vectors_only_sound_is_compared_and_the_study_says_so(sewa: Corpus) -> None:
    study = semantic_fusion.ablations(sewa, {}, [])
    assert [row.label for row in study.rows] == ["no words, disentangled", "no words, concat"]
    assert "only rows without words" in study.notes[0]


def test_a_corpus_without_words_is_noted(folder: Path, sewa: Corpus) -> None:
    study = semantic_fusion.ablations(replace(sewa, word_source=None), files(folder))
    assert "sewa has no words" in study.notes[0]


def test_bad_input_is_answered_in_words(sewa: Corpus, folder: Path) -> None:
    with pytest.raises(SerbenchError, match=r"--vectors x=nowhere\.vec: there is no such file"):
        semantic_fusion.ablations(sewa, {"x": "nowhere.vec"})
    study = Study("semantic", "S", (Row("a", "semantic-fusion"), Row("chance", "chance")), "others")
    with pytest.raises(SerbenchError, match="unknown preset of semantic-fusion"):
        fitting_preset(study, Request("chance", "sewa", preset="smal"))
    assert fitting_preset(study, Request("chance", "sewa", preset="small")).preset is None
    done = CliRunner().invoke(app, ["study", "semantic", "--root", str(folder / "2017")])
    assert isinstance(done.exception, SerbenchError)
    assert "serbench words word2vec sewa --partition train" in str(done.exception)


# The protocol, and the challenge's scores


def test_subsets_are_of_whole_recordings(sewa: Corpus) -> None:
    task, protocol = sewa.task("traces"), Protocol(subsets=2)
    divisions = divide(sewa, task, protocol)
    subsets = assign_subsets(sewa, task, protocol, divisions)
    assert sorted(subsets) == sorted(divisions[0].test)
    assert all(item.startswith("Devel_") for item in subsets), "one subset per recording, not per frame or turn"
    assert set(subsets.values()) == {0, 1}
    assert all(name.startswith("Train_") for d in divisions for name in (*d.train, *d.dev))


@pytest.fixture(scope="module")
def two_cultures(folder: Path) -> Run:
    """Two trials on the package of 2019, with predictions that are right in German and poor in Hungarian."""
    (one,) = run(
        "chance",
        "sewa",
        root=folder / "2019",
        task="traces",
        trials=2,
        protocol=Protocol(subsets=4),
        results=folder / "cultures",
        threads=1,
        device="cpu",
    )
    rng = np.random.default_rng(0)
    for unit in one.units():
        rows = pd.read_parquet(one.unit_files(unit["trial"], unit["fold"])[1]).sample(frac=1, random_state=1)
        poor = rows["id"].str.contains("_HU_").to_numpy()
        for target in one.task.targets:
            rows[f"pred_{target}"] = rows[f"gold_{target}"] + rng.normal(0.05, np.where(poor, 0.8, 0.1))
        one.write_unit(unit["trial"], unit["fold"], unit, rows)
    return Run.open(one.path)


def test_each_culture_is_scored_over_its_own_frames(folder: Path, two_cultures: Run) -> None:
    corpus = load_corpus("sewa", folder / "2019")
    cultures = corpus.recordings["culture"].to_dict()
    found = semantic_fusion.challenge_scores(two_cultures, cultures)
    found = found.set_index(["recordings of", "trial", "target"]).sort_index()
    rows = two_cultures.predictions()
    for part, wanted in (("DE", "_DE_"), ("HU", "_HU_"), ("all", "_")):
        for trial in (0, 1):
            own = rows[rows["trial"].eq(trial) & rows["id"].str.contains(wanted)]
            values = []
            for target in ("arousal", "valence", "liking"):
                gold, predicted = own[f"gold_{target}"].to_numpy(), own[f"pred_{target}"].to_numpy()
                row = found.loc[(part, trial, target)]
                assert row["CCC by AVEC's moments"] == pytest.approx(avec_in_fractions(gold, predicted), abs=1e-12)
                values.append(row["CCC"])
                assert row["frames"] == len(own)
                assert row["recordings"] == own["id"].nunique()
            assert found.loc[(part, trial, "mean"), "CCC"] == pytest.approx(np.mean(values), abs=1e-12)
    assert (found.loc["DE", "CCC"] > found.loc["HU", "CCC"] + 0.1).all()
    assert found.loc[("all", 0, "mean"), "recordings"] == 8


def test_one_culture_is_not_told_twice(two_cultures: Run) -> None:
    german = semantic_fusion.challenge_scores(two_cultures, dict.fromkeys(two_cultures.predictions()["id"], "DE"))
    assert set(german["recordings of"]) == {"all"}


def test_a_task_without_frames_has_no_challenge_scores(folder: Path, tmp_path: Path) -> None:
    (other,) = run("chance", "sewa", root=folder / "2017", task="arousal", trials=1, results=tmp_path, device="cpu")
    with pytest.raises(SerbenchError, match="not time-continuous"):
        semantic_fusion.challenge_scores(other, {})


def heard_and_encoder(sewa: Corpus, folder: Path) -> tuple[Path, Path]:
    """The transcript's words as a recogniser's, and an encoder that was not trained."""
    items = [str(i) for i in sewa.items(sewa.tasks[0]).index]
    heard = pd.concat([sewa.words(i)[["word", "start", "end"]].assign(item=i, source="asr(base)") for i in items])
    heard.to_csv(folder / "heard.csv", index=False)
    torch.manual_seed(0)
    lstm, cut = torch.nn.LSTM(13, 2, batch_first=True, bidirectional=True), CutConfig(hop=320)
    encoder = WordEncoder(lstm, SoundConfig(dim=4), cut, np.zeros(13), np.full(13, 10.0))
    save_encoder(folder / "s.encoder.safetensors", encoder)
    return folder / "heard.csv", folder / "s.encoder.safetensors"


@pytest.mark.slow
def test_the_study_runs_on_a_miniature(folder: Path, sewa: Corpus, tmp_path: Path, tiny_fusion: dict[str, str]) -> None:
    heard, encoder = heard_and_encoder(sewa, tmp_path)
    tiny = {**tiny_fusion, "model.delay_seconds": "0.2", "train.batch_size": "8"}
    flags = [text for key, value in tiny.items() for text in ("--set", f"{key}={value}")]
    command = ["study", "semantic", "--dataset", "sewa", "--root", str(folder / "2017"), "--preset", "small"]
    command += ["--vectors", f"aligned={folder / 'aligned.vec'}", "--vectors", f"word2vec={folder / 'word2vec.vec'}"]
    command += ["--recognised", str(heard), "--encoder", str(encoder), "--trials", "2", "--subsets", "2"]
    command += ["--threads", "1", "--device", "cpu", "--results", str(tmp_path), *flags]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    studies = tmp_path / "studies"
    table = pd.read_csv(studies / "semantic-claims_sewa.csv")
    assert len(table) == (9 + 2) * 4
    assert {"recognised words beside the sound", "the sound of words, no text"} <= set(table["claim"])
    rows = pd.read_csv(studies / "semantic_sewa.csv").set_index(["row", "target"])["mean"]
    alone = table[table["claim"].eq("the sound of words, no text")].set_index("target")
    for target, row in alone.iterrows():
        assert row["with"] == pytest.approx(rows["the words' sound", target])
        assert row["without"] == pytest.approx(rows["no words", target])
    assert (table["n"] == 4).all()
    np.testing.assert_allclose(table["with"] - table["without"], table["difference"], atol=1e-12)
    runs = {run.run_id: run for run in load_runs(tmp_path)}
    assert len(runs) == 10
    scores = pd.read_csv(studies / "semantic-challenge_sewa.csv")
    assert set(scores["model"]) == set(pd.read_csv(studies / "semantic_sewa.csv")["row"])
    page = (studies / "semantic-challenge_sewa.md").read_text(encoding="utf-8")
    assert "(audio+video+text)" in page
    assert "not ranked with ours" in page
    assert (studies / "semantic_sewa.png").stat().st_size > 10_000
    labels = {label for run in runs.values() for label in run.spec.get("labels") or ()}
    assert any(label.startswith("words:aligned.vec:") for label in labels)
    assert "words:asr(base)" in labels
