"""The paper's tables as studies: rows and settings, significance marks, files, bad input, and one run of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from serbench.benchmarks import Execution, Grid
from serbench.benchmarks.cli.app import app
from serbench.benchmarks.protocol.protocol import Protocol
from serbench.benchmarks.studies import deepemocluster
from serbench.benchmarks.studies.deepemocluster import fitted_sizes, run_study, table2, table3, table4
from serbench.benchmarks.studies.study import Findings, Row, Study, default_tasks, summarise
from serbench.benchmarks.studies.writing import markdown, write
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.datasets.schema.corpus import Corpus
from serbench.results.record.folder import load_runs

SPEAKERS = {"train": "abcd", "dev": "ef", "test": "ghij", "unlabelled": "kl"}


@pytest.fixture(scope="session")
def corpus_file(toy_corpus: Callable[..., Path]) -> Path:
    """A `table` corpus of 48 babbles, eight of them without labels."""
    return toy_corpus(count=48, seconds=0.6, columns=("arousal", "valence"), speakers=SPEAKERS)


@pytest.fixture(scope="session")
def corpus(corpus_file: Path) -> Corpus:
    return load_corpus("table", corpus_file)


@pytest.fixture
def asked(corpus_file: Path, tiny_chunked: dict[str, str]) -> Grid:
    """A grid on that corpus, of small networks."""
    settings = {**tiny_chunked, "model.cluster_weight": "0.5"}  # which only deepemocluster has
    return Grid(
        dataset="table", root=corpus_file, task="arousal", settings=settings, trials=2, protocol=Protocol(subsets=2)
    )


# What is compared


def test_table_2_has_the_four_models_without_unlabelled_data() -> None:
    study = table2()
    assert [row.model for row in study.rows] == ["cnn-regressor", "cnn-ae", "cnn-vae", "deepemocluster"]
    assert all(row.settings["model.unlabelled"] == "0" for row in study.rows[1:])
    assert study.rows[-1].settings["model.clusters"] == "10"
    assert study.rivals == "others"


def test_tables_3_and_4_vary_one_thing(corpus: Corpus) -> None:
    pool = len(corpus.unlabelled())
    assert pool == 8
    sizes = [row.settings["model.unlabelled"] for row in table3(corpus).rows]
    assert sizes == ["0", "3", "8"], "the paper's shares 0, 15/40 and 40/40"
    assert {row.settings["model.clusters"] for row in table3(corpus).rows} == {"10"}
    assert "model.clusters" not in table3(corpus, model="cnn-ae").rows[0].settings
    assert [row.settings["model.unlabelled"] for row in table3(corpus, [0, 5]).rows] == ["0", "5"]
    four = table4(corpus)
    assert [row.settings["model.clusters"] for row in four.rows] == ["10", "20", "30"]
    assert {row.settings["model.unlabelled"] for row in four.rows} == {"8"}
    assert "8 unlabelled sentences. The paper has 40,000." in four.notes
    assert fitted_sizes(500_000) == ((0, 15_000, 40_000), ())


def test_attributes_are_predicted_one_at_a_time(corpus: Corpus) -> None:
    assert default_tasks(corpus) == ["arousal", "valence"]
    assert default_tasks(corpus, ["attributes"]) == ["attributes"]
    with pytest.raises(SerbenchError, match="arousal"):
        default_tasks(corpus, ["arrousal"])


# Marks


def rows_of(values: dict[str, np.ndarray], target: str = "arousal") -> pd.DataFrame:
    keys = [(t, s) for t in range(5) for s in range(4)]
    return pd.DataFrame(
        [
            {"row": name, "task": target, "target": target, "metric": "CCC", "trial": t, "subset": s, "value": v}
            for name, numbers in values.items()
            for (t, s), v in zip(keys, numbers, strict=True)
        ]
    )


def paired(values: dict[str, np.ndarray], target: str = "arousal") -> pd.DataFrame:
    """What `compare` says of a pair, by scipy."""
    names, rows = list(values), []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            d = values[a] - values[b]
            means = d.reshape(5, 4).mean(1)
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "target": target,
                    "difference": d.mean(),
                    "p": stats.ttest_rel(values[a], values[b]).pvalue,
                    "p_trials_holm": stats.ttest_1samp(means, 0).pvalue,
                }
            )
    return pd.DataFrame(rows)


def marks(values: dict[str, np.ndarray], rivals: str) -> dict[str, str]:
    study = Study("s", "S", tuple(Row(name, "x") for name in values), rivals)
    found = summarise(study, rows_of(values), paired(values))
    return dict(zip(found["row"], found["mark"], strict=True))


def test_marks_say_who_beats_whom() -> None:
    numbers = np.random.default_rng(0)
    base = 0.4 + 0.02 * numbers.normal(size=20)
    noise = lambda: 0.01 * numbers.normal(size=20)  # noqa: E731
    few = np.repeat([0.05, -0.02, 0.05, -0.02, 0.02], 4)  # by trials: a mean of 0.016, far from sure
    values = {"a": base, "b": base + 0.3 * noise(), "c": base + 0.1 + noise(), "d": base + few + 0.1 * noise()}
    assert stats.ttest_rel(values["d"], values["a"]).pvalue < 0.05
    assert stats.ttest_1samp((values["d"] - values["a"]).reshape(5, 4).mean(1), 0).pvalue > 0.05
    assert marks(values, "others") == {"a": "", "b": "", "c": "**", "d": ""}
    assert marks(values, "first") == {"a": "", "b": "", "c": "**", "d": "*"}
    worse = {"a": base, "b": base - 0.1 + noise()}
    assert marks(worse, "first") == {"a": "", "b": ""}


def test_the_table_shows_means_marks_and_the_best(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    values = {"a": 0.4 + 0.02 * numbers.normal(size=20), "b": 0.5 + 0.02 * numbers.normal(size=20)}
    study = Study("s", "S", (Row("a", "x"), Row("b", "x")), "others", notes=("A note.",))
    full = paired(values).assign(low=0.0, high=0.0, dz=0.0, p_holm=0.01)
    scores = rows_of(values)
    findings = Findings(study, summarise(study, scores, full), full, scores, ())
    lines = markdown(findings).splitlines()
    a, b = values["a"], values["b"]
    assert "| model | arousal (CCC) |" in lines
    assert f"| a | {a.mean():.3f} ± {a.std(ddof=1):.3f} |" in lines
    assert f"| b | **{b.mean():.3f}** ± {b.std(ddof=1):.3f}\\*\\* |" in lines
    assert "A note." in lines


# Whole studies


@pytest.mark.parametrize("name", ["table2", "table3", "table4"])
def test_a_study_runs_and_leaves_its_files(name: str, corpus: Corpus, asked: Grid, tmp_path: Path) -> None:
    study = {
        "table2": lambda: table2(3),
        "table3": lambda: table3(corpus, [0, 8], 3),
        "table4": lambda: table4(corpus, [2, 3]),
    }[name]()
    findings = run_study(study, asked, Execution(tmp_path, "cpu", threads=1))
    assert list(findings.summary["row"]) == [row.label for row in study.rows]
    assert (findings.summary["n"] == 4).all()
    pairs = len(study.rows) * (len(study.rows) - 1) // 2
    assert len(findings.tests) == pairs
    for row, run in zip(study.rows, findings.runs, strict=True):
        assert run.spec["model"]["name"] == row.model
        config = run.spec["model"]["config"]
        assert config["width"] == 8
        assert all(str(config[key.removeprefix("model.")]) == value for key, value in row.settings.items())
        (unit, _) = run.units()
        if row.model != "cnn-regressor":
            assert unit["facts"]["unlabelled_sentences"] == int(row.settings["model.unlabelled"])
        ours = findings.scores[findings.scores["row"].eq(row.label)]
        theirs = run.scores().query("metric == 'CCC' and target == 'arousal'")
        np.testing.assert_array_equal(ours["value"], theirs["value"])
    paths = write(findings, tmp_path / "out", "toy")
    assert [p.name for p in paths] == [
        f"{study.name}_toy{end}" for end in (".csv", "_scores.csv", "_tests.csv", ".md", ".png")
    ]
    assert paths[-1].read_bytes().startswith(b"\x89PNG")
    back = pd.read_csv(paths[0])
    np.testing.assert_allclose(back["mean"], findings.summary["mean"])
    assert study.title in paths[3].read_text(encoding="utf-8")


def test_the_command_runs_all_attributes_and_a_second_time_trains_nothing(
    corpus_file: Path, tmp_path: Path, tiny_chunked: dict[str, str]
) -> None:
    command = [
        "study",
        "deepemocluster-table4",
        "--dataset",
        "table",
        "--root",
        str(corpus_file),
        "--clusters",
        "2",
        "--clusters",
        "3",
        "--unlabelled",
        "0",
        "--trials",
        "1",
        "--subsets",
        "2",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--results",
        str(tmp_path),
    ]
    command += [text for key, value in tiny_chunked.items() for text in ("--set", f"{key}={value}")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "studies" / "deepemocluster-table4_table.csv")
    assert set(table["target"]) == {"arousal", "valence"}
    before = {p: p.stat().st_mtime_ns for run in load_runs(tmp_path) for p in run.path.glob("unit-*")}
    assert before
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.slow
def test_the_studies_run_on_demo_in_a_reduced_form(tmp_path: Path, tiny_chunked: dict[str, str]) -> None:
    demo = load_corpus("demo")
    settings = {**tiny_chunked, "model.chunk_seconds": "1.0", "model.max_seconds": "2.0"}
    base = Grid(dataset="demo", task="arousal", settings=settings, trials=2)
    for study in (table2(4), table3(demo, clusters=4), table4(demo, [4, 6])):
        findings = run_study(study, base, Execution(tmp_path, "cpu", threads=1))
        assert (findings.summary["n"] == 8).all()
        assert findings.summary["mean"].between(-1, 1).all()
        assert len(write(findings, tmp_path / "studies", "demo")) == 5


# Bad input


def test_bad_input_is_answered_in_words(corpus: Corpus, asked: Grid, tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match=r"--size 9 is out of range. Expected 0 .. 8"):
        table3(corpus, [0, 9])
    with pytest.raises(SerbenchError, match="names a value twice"):
        table4(corpus, [4, 4])
    with pytest.raises(SerbenchError, match=r"--clusters 1 is out of range"):
        table4(corpus, [1])
    labelled = Corpus(**{**vars(corpus), "utterances": corpus.utterances.query("partition != 'unlabelled'")})
    with pytest.raises(SerbenchError, match="no unlabelled utterances"):
        deepemocluster.table3(labelled)
    how = Execution(tmp_path, "cpu", threads=1)
    for key, match in (("model.clusters", "decides this setting itself"), ("model.clutters", "model.clusters")):
        wrong = replace(asked, settings={key: "4"})
        with pytest.raises(SerbenchError, match=match):
            run_study(table2(), wrong, how)
