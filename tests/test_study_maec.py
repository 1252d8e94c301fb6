"""The MAEC commands on miniature corpora: the study in and across corpora, salience, benchmarks, and bad input."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from serbench.benchmarks.analyses.salience import density, find_salience
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.grid.grid import run
from serbench.benchmarks.performance.parts import maec as bench_maec
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.studies import maec as study_maec
from serbench.benchmarks.studies.claims import render
from serbench.benchmarks.studies.study import Findings, Row, Study
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.results.record.folder import Run, load_runs
from serbench.sermodels.maec import model as maec

TINY = {
    "model.widths": "8,8,4",
    "model.width": "8",
    "model.instances": "8",
    "model.discriminator_width": "8",
    "train.epochs": "1",
    "train.batch_size": "16",
}
FLAGS = [text for key, value in TINY.items() for text in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def folders(miniature: Callable[..., Path]) -> dict[str, Path]:
    return {"iemocap": miniature("iemocap", utterances=100), "meld": miniature("meld")}


@pytest.fixture(scope="module")
def iemocap(folders: dict[str, Path]) -> Corpus:
    return load_corpus("iemocap", folders["iemocap"])


@pytest.fixture(scope="module")
def trained(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One trial of MAEC on the first session's fold, with weights: by the training fold's moments, and by speaker."""
    results = tmp_path_factory.mktemp("trained")
    found = {}
    for mode in ("train", "speaker"):
        (found[mode],) = run(
            "maec",
            "iemocap",
            root=folders["iemocap"],
            task="emotion-4",
            trials=1,
            protocol=Protocol(subsets=2),
            settings={**TINY, "model.normalise": mode},
            results=results,
            threads=1,
            device="cpu",
            save_models=True,
        )
    return found


# The study


def test_the_rows_leave_one_part_out_each(iemocap: Corpus) -> None:
    study = study_maec.ablations(iemocap)
    labels = ["maec", "without regularisation", "without context", "without gender", "without instances", "svm"]
    assert [row.label for row in study.rows] == labels
    whole = maec.PRESETS["default"]
    for row in study.rows[1:-1]:
        ((key, text),) = row.settings.items()
        assert str(getattr(whole, key.removeprefix("model."))).lower() != text
    assert [row.label for row in study_maec.ablations(iemocap, ["context"], []).rows] == ["maec", "without context"]


def test_parts_that_a_corpus_does_not_have_are_left_out_and_named(iemocap: Corpus) -> None:
    table = iemocap.utterances.assign(previous=pd.NA, interlocutor=pd.NA, gender="male")
    study = study_maec.ablations(replace(iemocap, utterances=table))
    assert [row.label for row in study.rows] == ["maec", "without regularisation", "without instances", "svm"]
    assert "no dialogues" in study.notes[0]
    assert "genders" in study.notes[1]


@pytest.mark.slow
def test_the_study_runs_in_and_across_corpora(folders: dict[str, Path], tmp_path: Path) -> None:
    command = [
        "study",
        "maec",
        "--dataset",
        "iemocap",
        "--root",
        str(folders["iemocap"]),
        "--test-dataset",
        "meld",
        "--test-root",
        str(folders["meld"]),
        "--without",
        "regularisation",
        "--without",
        "context",
        "--baseline",
        "none",
        "--trials",
        "2",
        "--subsets",
        "2",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--results",
        str(tmp_path),
        "--preset",
        "small",
        *FLAGS,
    ]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "studies" / "maec-claims_iemocap-to-meld.csv")
    assert list(table["tested on"]) == ["iemocap", "iemocap", "iemocap>meld", "iemocap>meld"]
    assert set(table["claim"]) == {"adversarial regularisation", "the dialogue's context"}
    assert (table["n"] == 4).all()
    np.testing.assert_allclose(table["with"] - table["without"], table["difference"], atol=1e-12)
    runs = [r for r in load_runs(tmp_path) if r.spec["model"]["name"] == "maec"]
    assert len(runs) == 6
    crossing = [r for r in runs if r.spec["dataset"]["name"] == "iemocap>meld"]
    assert len(crossing) == 3
    for unit in crossing[0].units():
        assert len(unit["trained_for"]) == 2, "one training serves both tested corpora"
    written = {p.name for p in (tmp_path / "studies").iterdir()}
    assert {"maec_iemocap.md", "maec_iemocap-to-meld.png", "maec-training_iemocap.png"} <= written
    before = {p: p.stat().st_mtime_ns for r in runs for p in r.path.glob("unit-*")}
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before


def outcome(values: dict[str, np.ndarray], name: str = "a") -> study_maec.Tested:
    """What `compare` says of the first row against the others, by scipy; 5 trials of 4 subsets."""
    labels = list(values)
    rows = []
    for other in labels[1:]:
        d = values[labels[0]] - values[other]
        low, high = stats.t.interval(0.95, 19, d.mean(), stats.sem(d))
        p, p_trials = (stats.ttest_1samp(x, 0).pvalue for x in (d, d.reshape(5, 4).mean(1)))
        rows.append(
            {
                "a": labels[0],
                "b": other,
                "target": "emotion",
                "metric": "UAR",
                "mean_a": values[labels[0]].mean(),
                "mean_b": values[other].mean(),
                "difference": d.mean(),
                "low": low,
                "high": high,
                "p": p,
                "p_trials": p_trials,
                "dz": d.mean() / d.std(ddof=1),
                "n": 20,
            }
        )
    study = Study("maec", "M", tuple(Row(label, "maec") for label in labels), "others", notes=("A note.",))
    return study_maec.Tested(name, Findings(study, pd.DataFrame(), pd.DataFrame(rows), pd.DataFrame(), ()))


def test_claims_are_judged_by_both_tests() -> None:
    rng = np.random.default_rng(0)
    base, noise = 0.5 + 0.02 * rng.normal(size=20), lambda: 0.01 * rng.normal(size=20)
    unsure = np.repeat([0.06, -0.02, 0.06, -0.02, 0.03], 4)
    values = {
        "maec": base,
        "without context": base - 0.1 + noise(),
        "without gender": base + 0.1 + noise(),
        "without instances": base - unsure + 0.1 * noise(),
        "svm": base + noise(),
    }
    frame = study_maec.claims([outcome(values)])
    assert list(frame["verdict"]) == ["supported", "contradicted", "hinted at", "not shown"]
    wide = Console(width=80, file=io.StringIO())
    wide.print(render(frame, study_maec.TITLE))
    lines = wide.file.getvalue().splitlines()
    assert any("the dialogue's context" in line and "supported" in line for line in lines), "each row on one line"
    assert max(map(len, lines)) <= 80
    assert list(frame["claim"])[0::3] == ["the dialogue's context", "MAEC instead of svm"]
    two = study_maec.claims([outcome(values), outcome(values, "a>b")])
    assert (two["p_holm"].to_numpy()[:4] >= frame["p_holm"].to_numpy()).all(), "adjusted over the whole table"
    page = study_maec.markdown(frame, outcome(values).findings.study)
    assert "| what is said to help | tested on |" in page
    assert "A note." in page


def test_two_equal_differences_are_too_few_to_judge() -> None:
    two = outcome({"maec": np.full(20, 0.5), "svm": np.full(20, 0.5) + 0.01 * np.random.default_rng(0).normal(size=20)})
    equal = two.findings.tests.assign(difference=0.1, p=0.0, p_trials=math.nan, dz=math.inf, n=2)
    (row,) = study_maec.claims([replace(two, findings=replace(two.findings, tests=equal))]).to_dict("records")
    assert row["verdict"] == "too few to judge"
    assert math.isnan(row["p"])
    twins = two.findings.tests.assign(difference=0.1, p=0.001, p_trials=0.0)
    (row,) = study_maec.claims([replace(two, findings=replace(two.findings, tests=twins))]).to_dict("records")
    assert row["verdict"] == "hinted at", "two trials with equal means support nothing"


def test_where_the_encoder_never_meets_the_discriminator_there_is_nothing_to_leave_out(iemocap: Corpus) -> None:
    study = study_maec.ablations(iemocap, preset="released")
    assert "without regularisation" not in [row.label for row in study.rows]
    assert "maec:released has no regularisation" in study.notes[0]
    assert "three train" in study.notes[-1]


def test_bad_input_of_the_study_is_answered_in_words(iemocap: Corpus) -> None:
    with pytest.raises(SerbenchError, match=r"no such part\. Expected: regularisation"):
        study_maec.ablations(iemocap, ["attention"])
    table = iemocap.utterances.assign(previous=pd.NA, interlocutor=pd.NA)
    with pytest.raises(SerbenchError, match=r"nothing to compare.*no dialogues"):
        study_maec.ablations(replace(iemocap, utterances=table), ["context"], [])


# Salience


def test_an_even_attention_has_density_one() -> None:
    segments = pd.DataFrame({"start": [0.0, 0.1, 0.2], "end": [0.5, 0.6, 0.7], "weight": [1 / 3] * 3})
    times = np.array([0.0, 0.05, 0.3, 0.55, 0.69, 0.8])
    np.testing.assert_allclose(density(segments, times), [1, 1, 1, 1, 1, 0])
    skewed = segments.assign(weight=[0.8, 0.1, 0.1])
    np.testing.assert_allclose(density(skewed, times), [2.4, 2.4, 1, 0.3, 0.3, 0])


@pytest.mark.parametrize("mode", ["train", "speaker"])
def test_salience_of_a_test_utterance(trained: dict[str, Run], mode: str, tmp_path: Path) -> None:
    one = trained[mode]
    rows = one.predictions().set_index("id")
    item = str(rows.index[0])
    found = find_salience(one, item)
    assert found.fold == rows.loc[item, "fold"]
    assert found.segments["weight"].sum() == pytest.approx(1, abs=1e-5)
    assert found.segments["end"].max() <= found.seconds + 0.011
    gold, predicted = rows.loc[item, "gold"], rows.loc[item, "predicted"]
    assert found.said.startswith(f"emotion-4 {gold}, predicted {predicted} (")
    share = rows.loc[item, f"p_{predicted}"]
    assert f"({share:.0%})" in found.said, "the same prediction as in the record"
    command = ["salience", str(one.path), item, "--out", str(tmp_path), "--device", "cpu"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "of the attention" in done.output
    written = sorted(p.suffix for p in tmp_path.iterdir())
    assert written == [".csv", ".png"]
    (csv,) = tmp_path.glob("*.csv")
    np.testing.assert_allclose(pd.read_csv(csv)["weight"], found.segments["weight"])


def test_bad_input_of_salience_is_answered_in_words(trained: dict[str, Run], folders: dict, tmp_path: Path) -> None:
    one = trained["train"]
    with pytest.raises(SerbenchError, match="unknown utterance"):
        find_salience(one, "nobody")
    item = str(one.predictions()["id"].iloc[0])
    with pytest.raises(SerbenchError, match="has no weights of trial 3"):
        find_salience(one, item, trial=3)
    (other,) = run("chance", "iemocap", root=folders["iemocap"], task="emotion-4", trials=1, results=tmp_path)
    with pytest.raises(SerbenchError, match="no attention over instances"):
        find_salience(other, item)


# Labels, benchmarks


def test_a_transductive_normalisation_stands_in_the_signature(trained: dict[str, Run]) -> None:
    assert "transductive: features z-normalised by speaker" in trained["speaker"].signature
    assert "transductive" not in trained["train"].signature
    assert trained["train"].protocol_digest == trained["speaker"].protocol_digest, "they can be compared"
    assert trained["train"].run_id != trained["speaker"].run_id


def plain_products(config: maec.Config) -> int:
    """Multiplications of one forward pass of an item with three full bags, every window by itself."""
    first, second, last = config.widths
    frames, kernel = config.instances * config.window, bench_maec.KERNEL
    total = 0
    for channels, positions in ((bench_maec.DIM, frames), (last, frames // 2)):
        weights = channels * first + kernel * first * second + config.dilated_kernel * second * last + channels * last
        total += positions * weights
    return bench_maec.TURNS * (total + bench_maec.dense_products(config))


def test_the_count_of_products_is_the_networks() -> None:
    """One window of one channel by hand; and 15.6 G multiplications for an item of the released network."""
    one = replace(maec.PRESETS["released"], instances=1)
    block0, block1 = 880_768 * 50, 933_888 * 25
    dense = 3200 * 512 + 3 * 512 * 3200 + 3 * 512 * 256 + 2 * 512
    assert plain_products(one) == 3 * (block0 + block1 + dense)
    assert plain_products(maec.PRESETS["released"]) == pytest.approx(15.6e9, rel=0.003)
    for preset in ("released", "fixed", "small"):
        config = maec.PRESETS[preset]
        assert plain_products(config) > 2.5 * bench_maec.shared_products(config)


def test_the_benchmarks_measure_what_they_say() -> None:
    """Both paths on the same weights and items have the same loss; the card's function runs on the CPU too."""
    facts = [bench_maec.run_step("small", "iemocap", sharing, "3") for sharing in ("0", "1")]
    assert facts[0]["loss"] == pytest.approx(facts[1]["loss"], rel=1e-4)
    assert all(f["cpu_seconds"] > 0 for f in facts)
    speed = bench_maec.card_speed("small", "cpu", amp=False, batch=2, steps=1)
    assert speed["items_per_second"] > 0
    assert speed["epoch_seconds"] == pytest.approx(2 * 4400 / speed["items_per_second"])
    assert bench_maec.run_passes("small", "2")["cpu_seconds"] > 0
    counts = bench_maec.generated(maec.PRESETS["fixed"], 8, "iemocap")[0][1]
    assert counts.tolist() == list(bench_maec.IEMOCAP_BAGS)


@pytest.mark.slow
def test_both_paths_of_a_step_at_the_papers_size_have_one_loss() -> None:
    """The benchmark's two sides do the same work; what they cost is measured, not asserted."""
    plain, shared = (bench_maec.run_step("released", "full", sharing, "1") for sharing in ("0", "1"))
    assert plain["loss"] == pytest.approx(shared["loss"], rel=1e-3)
