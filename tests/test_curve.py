"""Learning curves: shares by speaker, the power law against planted ones and scipy, the command, bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.protocol.protocol import Protocol, divide
from serbench.benchmarks.studies.curve import shares_of
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.reading.load import load_corpus
from serbench.results.curves.power_law import extrapolated, fit
from serbench.results.record.folder import load_runs

SIZES = np.array([30.0, 60.0, 150.0, 300.0])


def test_a_planted_power_law_is_found_and_carried_on() -> None:
    scores = 0.8 - 2.0 * SIZES**-0.5
    law = fit(SIZES, scores)
    assert law is not None
    assert (law.limit, law.scale, law.exponent) == pytest.approx((0.8, 2.0, 0.5), abs=1e-3)
    assert law.error == pytest.approx(0, abs=1e-6)
    assert law.at(1500) == pytest.approx(0.8 - 2.0 * 1500**-0.5, abs=1e-4)


def test_noisy_scores_have_the_least_squares_of_scipys_curve_fit() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 8)
    sizes = np.geomspace(20, 2000, 8)
    scores = 0.75 - 1.5 * sizes**-0.6 + noise
    law = fit(sizes, scores)
    assert law is not None
    truth, _ = curve_fit(lambda n, a, b, c: a - b * n**-c, sizes, scores, p0=(0.8, 1.0, 0.5))
    assert law.at(sizes) == pytest.approx(truth[0] - truth[1] * sizes ** -truth[2], abs=1e-4)


def test_falling_scores_are_a_flat_line_and_none_passes_one() -> None:
    falling = fit(SIZES, [0.6, 0.55, 0.5, 0.45])
    assert falling is not None
    assert falling.at([10, 1e6]) == pytest.approx([0.525, 0.525])
    steep = fit(SIZES, [0.2, 0.5, 0.8, 0.99])
    assert steep is not None
    assert steep.limit <= 1
    assert float(steep.at(1e9)) <= 1
    assert fit(SIZES[:2], [0.1, 0.2]) is None
    assert fit(SIZES, [0.1, 0.2, np.nan, 0.3]) is None


def test_the_interval_of_what_is_extrapolated_holds_the_truth_and_is_wider_the_farther() -> None:
    rng = np.random.default_rng(1)
    tables = (0.8 - 2.0 * SIZES**-0.5)[:, None, None] + rng.normal(0, 0.02, (4, 5, 4))
    near, far = (extrapolated(SIZES, tables, at) for at in (600, 3000))
    for (low, high), at in ((near, 600), (far, 3000)):
        assert low < 0.8 - 2.0 * at**-0.5 < high
    assert far[1] - far[0] > near[1] - near[0]


@pytest.fixture(scope="module")
def root(toy_corpus: Callable[..., Path]) -> Path:
    return toy_corpus(count=60, seconds=0.1, classes=4, columns=("arousal", "valence", "emotion"))


def test_shares_are_nested_and_grow_speaker_by_speaker(root: Path) -> None:
    corpus = load_corpus("table", root)
    task = corpus.task("arousal")
    speakers = corpus.utterances["speaker"]
    whole = divide(corpus, task, Protocol())[0]
    before: set[str] = set()
    for share in ("0.2", "0.5", "0.9"):
        (part,) = divide(corpus, task, Protocol(share=share))
        assert (part.dev, part.test) == (whole.dev, whole.test)
        assert len(part.train) == round(float(share) * len(whole.train))
        assert before < set(part.train) < set(whole.train)
        assert list(part.train) == [i for i in whole.train if i in set(part.train)], "in the table's order"
        before = set(part.train)
        held = speakers.loc[list(part.train)].value_counts()
        full = speakers.loc[list(whole.train)].value_counts().reindex(held.index)
        assert (held < full).sum() <= 1, "one speaker at most is taken in part"
    assert divide(corpus, task, Protocol(share="0.5")) == divide(corpus, task, Protocol(share="0.5"))
    others = {divide(corpus, task, Protocol(share="0.25", seed=s))[0].train for s in range(6)}
    assert len(others) > 1, "another seed draws other speakers"


def test_a_share_without_a_class_says_which_and_what_would_do(root: Path) -> None:
    corpus = load_corpus("table", root)
    task = corpus.task("emotion")
    with pytest.raises(
        SerbenchError, match=r"the share 0\.05 of the 24 training .* leaves 1 items, no item of"
    ) as said:
        divide(corpus, task, Protocol(share="0.05"))
    least = str(said.value).split("Expected ")[1].split(" ")[0]
    assert set(task.encode(corpus.items(task).loc[list(divide(corpus, task, Protocol(share=least))[0].train)])) == {
        0,
        1,
        2,
        3,
    }
    with pytest.raises(SerbenchError, match="leaves 0 items, nothing"):
        divide(corpus, corpus.task("arousal"), Protocol(share="0.001"))


@pytest.mark.parametrize("text", ["0", "1.5", "some", "nan"])
def test_a_share_is_above_0_and_up_to_1(root: Path, text: str) -> None:
    with pytest.raises(SerbenchError, match="expected a share of the training items above 0 and up to 1"):
        divide(load_corpus("table", root), load_corpus("table", root).task("arousal"), Protocol(share=text))


def test_shares_are_two_or_more() -> None:
    assert shares_of("1, 0.2,0.5,0.2") == [0.2, 0.5, 1.0]
    for text in ("1", "0.5,0.5"):
        with pytest.raises(SerbenchError, match="a curve takes two or more shares"):
            shares_of(text)
    with pytest.raises(SerbenchError, match="expected a share"):
        shares_of("0.1,,1")


def test_the_command_leaves_tables_a_figure_and_a_section(root: Path, tmp_path: Path) -> None:
    line = ["curve", "--model", "linear", "--model", "chance", "--dataset", "table", "--root", str(root)]
    line += ["--task", "arousal", "--set", "model.feature=mel", "--trials", "2", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, [*line, "--shares", "0.25,0.5,1"])
    assert done.exit_code == 0, done.output + str(done.exception)
    points = pd.read_csv(tmp_path / "studies" / "curve_table_arousal.csv")
    assert points.groupby("model")["items"].apply(list).to_dict() == {"chance": [6, 12, 24], "linear": [6, 12, 24]}
    assert "EXTRAPOLATED" in done.output
    assert {p.suffix for p in (tmp_path / "studies").glob("curve_table_arousal.*")} == {
        ".csv",
        ".md",
        ".tex",
        ".svg",
        ".png",
    }
    here, apart = (load_runs(folder, model="linear") for folder in (tmp_path, tmp_path / "curve"))
    assert (len(here), len(apart)) == (1, 2), "less than all of the training set is another protocol, kept apart"
    assert {run.signature.split("share:")[1].split("|")[0] for run in apart} == {"0.25", "0.5"}
    assert here[0].spec["protocol"].get("share") is None
    mean = here[0].scores().query("metric == 'CCC'")["value"].mean()
    assert points.query("model == 'linear' and share == 1")["mean"].item() == pytest.approx(mean)
    report = CliRunner().invoke(app, ["report", "--results", str(tmp_path), "--bootstrap", "0"])
    assert report.exit_code == 0, report.output
    assert "Score by amount of training data" in (tmp_path / "report.html").read_text(encoding="utf-8")
    for bad in (["--share", "0.5"], ["--dataset", "demo"]):
        failed = CliRunner().invoke(app, [*line, *bad])
        assert isinstance(failed.exception, SerbenchError)
