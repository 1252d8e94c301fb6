"""The report against scikit-learn and letters worked by hand; its text never becomes markup; bad input."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.display.table import latex
from serbench.results.record.folder import Run, load_runs
from serbench.results.report import parts, writing
from serbench.results.report.data import breakdown, gather
from serbench.results.report.facts import cost
from serbench.results.report.letters import letters
from serbench.results.report.writing import write_report
from serbench.results.tables.references import references

LABELS = ("anger", "joy", "sadness")
EMOTION = Task("emotion", "classification", ("emotion",), LABELS)
VALUES = Task("values", "regression", ("arousal", "valence"), scales={"arousal": (1.0, 7.0), "valence": (1.0, 7.0)})
ITEMS = 60
EVIL = '<img src="http://example.org/x" onerror="alert(1)">&$x_1$'


def predictions(task: Task, right: float, seed: int) -> pd.DataFrame:
    """Item i in subset i % 4; a share `right` of the classes is hit, or values with noise 1 - right."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(0)
    table: dict[str, Any] = {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) % 4}
    if task.kind == "classification":
        gold = truth.choice(LABELS, ITEMS)
        predicted = np.where(rng.random(ITEMS) < right, gold, rng.choice(LABELS, ITEMS))
        return pd.DataFrame(
            {
                **table,
                "gold": gold,
                "predicted": predicted,
                **{f"p_{c}": (predicted == c).astype(float) for c in LABELS},
            }
        )
    for target in task.targets:
        gold = truth.uniform(1, 7, ITEMS)
        table |= {f"gold_{target}": gold, f"pred_{target}": gold + rng.normal(0, 3 * (1 - right), ITEMS)}
    return pd.DataFrame(table)


def make(
    results: Path,
    model: str,
    right: float,
    task: Task = EMOTION,
    *,
    trials: int = 3,
    dataset: str = "demo",
    preset: str = "default",
    seed: int | None = None,
    items: bool = True,
    **facts: Any,
) -> Run:
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": preset, "config": {"right": right, "preset": preset}},
            "features": {},
            "dataset": {"name": dataset, "release": "", "digest": "d" * 16, "licence": "MIT", "citation": EVIL},
            "task": task.to_dict(),
            "labels": [],
            "serbench": "0.1.0",
            "protocol": {"name": "4x5", "subsets": 4, "folds": ["official"], "split": "official", "group": "none"},
            "command": f"serbench run --model {model} --dataset {dataset}",
        },
    )
    for trial in range(trials):
        at = (sum(map(ord, model)) if seed is None else seed) + 1000 * trial
        unit = {
            "status": "done",
            "seconds": 2.0,
            "seconds_predict": 0.5,
            "cpu_seconds": 3.0,
            "parameters": 1000,
            "counts": {"train": 100, "dev": 20, "test": ITEMS},
            **facts,
        }
        run.write_unit(trial, "official", unit, predictions(task, right, at))
    if items:
        run.write_items(
            pd.DataFrame(
                {
                    "id": [f"u{i}" for i in range(ITEMS)],
                    "speaker": [f"S{i // 10}" for i in range(ITEMS)],
                    "gender": ["female" if i // 10 % 2 else "male" for i in range(ITEMS)],
                    "duration_seconds": np.linspace(0.5, 6, ITEMS),
                }
            )
        )
    return run


class Page(HTMLParser):
    """Tags, links and text of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [str(attrs[attribute]) for _, attrs in self.tags if attribute in attrs]


def report(results: Path, bootstrap: int = 0) -> Page:
    done = write_report(load_runs(results), results / "report.html", bootstrap)
    return Page(done.path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models on classes (one with markup in its preset), two on values, with everything that a record can hold."""
    folder = tmp_path_factory.mktemp("results")
    epochs = [{"epoch": float(e), "dev_score": 0.3 + 0.1 * e, "loss": 1 / e} for e in (1, 2, 3)]
    make(folder, "chance", 0.0)
    make(folder, "good", 0.9, epochs=epochs, best_epoch=2, excluded={"u99": EVIL}, device="cpu")
    make(folder, "fair", 0.5, preset=EVIL)
    make(folder, "twin", 0.9, seed=sum(map(ord, "good")))
    make(folder, "good", 0.8, VALUES)
    make(folder, "chance", 0.1, VALUES, items=False)
    return folder


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes the time, where the test is about the words and tables."""
    monkeypatch.setattr("serbench.results.report.writing.drawings", lambda ranking: iter(()))


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    return report(results, 200)


def test_letters_by_hand() -> None:
    # a differs from c and d, b from d: the groups are {a, b}, {b, c}, {c, d}
    found = letters("abcd", [("a", "c"), ("a", "d"), ("b", "d")])
    assert found == {"a": "a", "b": "ab", "c": "bc", "d": "c"}
    assert letters("abc", []) == {"a": "a", "b": "a", "c": "a"}
    assert letters("ab", [("b", "a")]) == {"a": "a", "b": "b"}


@pytest.mark.parametrize("seed", range(20))
def test_letters_are_shared_by_pairs_that_do_not_differ_and_by_no_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = "pqrstuvw"[: rng.integers(2, 9)]
    different = {pair for pair in combinations(names, 2) if rng.random() < 0.4}
    found = letters(names, sorted(different))
    for pair in combinations(names, 2):
        assert bool(set(found[pair[0]]) & set(found[pair[1]])) == (pair not in different)


def test_every_part_is_there(page: Page, results: Path) -> None:
    for words in (
        "95 % interval",
        "letters",
        "Confusion matrix: good",
        "Learning curves: good",
        "Score by speaker",
        "Score by gender",
        "Score by duration",
        "Accuracy against cost",
        "Prediction against gold: good",
        "Differences between models: emotion",
        "Protocol card",
        "real-time factor",
        "1 files, 0 failed units",
        "no critical-difference diagram",
        "serbench run --from-record",
    ):
        assert words in page.text
    tables = {attrs["id"] for tag, attrs in page.tags if tag == "table"}
    assert {"demo-emotion-leaderboard-emotion", "demo-values-leaderboard-valence", "demo-emotion-pairs"} <= tables


def test_ids_are_unique_and_links_lead_to_files_beside_the_page(page: Page, results: Path) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    links = [link for link in page.all("href") if not link.startswith(("data:", "#"))]
    assert links
    assert all((results / unquote(link)).is_file() for link in links)
    assert {Path(link).suffix for link in links} == {".csv", ".md", ".tex", ".png", ".svg"}
    assert all(link[1:] in ids for link in page.all("href") if link.startswith("#"))


def test_text_of_records_never_becomes_markup(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert "img" not in tags
    assert tags.count("script") == 1
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert page.text.count(EVIL) >= 4


def test_the_leaderboard_file_has_the_mean_recall_of_scikit_learn(results: Path, page: Page) -> None:
    board = pd.read_csv(results / "report_files" / "demo-emotion-leaderboard-emotion.csv")
    for run in load_runs(results, task="emotion"):
        found = run.predictions()
        scores = [
            recall_score(part["gold"], part["predicted"], average="macro", labels=sorted(part["gold"].unique()))
            for _, part in found.groupby(["trial", "subset"])
        ]
        assert board.set_index("run_id").loc[run.run_id, "mean"] == pytest.approx(np.mean(scores), abs=1e-12)


def test_identical_predictions_share_letters_and_have_p_1(results: Path, page: Page) -> None:
    board = pd.read_csv(results / "report_files" / "demo-emotion-leaderboard-emotion.csv").set_index("name")
    assert board.loc["good", "letters"] == board.loc["twin", "letters"]
    assert not set(board.loc["good", "letters"]) & set(board.loc["chance", "letters"])
    pairs = pd.read_csv(results / "report_files" / "demo-emotion-pairs.csv").set_index(["a", "b"])
    assert pairs.loc[("good", "twin"), "p_holm"] == 1
    assert pairs.loc[("good", "twin"), "p_crossed_holm"] == 1


def test_letters_and_marks_go_by_the_same_test(results: Path, page: Page) -> None:
    board = pd.read_csv(results / "report_files" / "demo-emotion-leaderboard-emotion.csv").set_index("name")
    pairs = pd.read_csv(results / "report_files" / "demo-emotion-pairs.csv")
    for row in pairs.to_dict("records"):
        shared = set(board.loc[row["a"], "letters"]) & set(board.loc[row["b"], "letters"])
        assert bool(shared) == (row["p_crossed_holm"] >= 0.05)


def test_breakdown_is_the_recall_within_each_group(results: Path) -> None:
    ranking = next(r for r in gather(load_runs(results, model="good", task="emotion")))
    table, note = breakdown(ranking, "gender")
    found = ranking.runs[0].predictions()
    female = found["id"].str[1:].astype(int) // 10 % 2 == 1
    for group, part in (("female", found[female]), ("male", found[~female])):
        wanted = [recall_score(p["gold"], p["predicted"], average="macro") for _, p in part.groupby("trial")]
        row = table.set_index("group").loc[group]
        assert row["mean"] == pytest.approx(np.mean(wanted), abs=1e-12)
        assert (row["items"], row["trials"], note) == (30, 3, "")


def test_costs_are_those_of_the_units(tmp_path: Path) -> None:
    run = make(tmp_path, "a", 0.9, trials=0)
    audio = np.linspace(0.5, 6, ITEMS).sum()
    make(tmp_path, "a", 0.9)
    old = cost(run)
    assert old["real_time_factor"] == pytest.approx(0.5 / audio)  # of prediction from cached features
    assert np.isnan([old["peak_mib"], old["macs_per_second"]]).all()
    measured = {"feature_parameters": 0, "macs_per_second": 2e6, "real_time_factor": 0.02}
    for trial, peak in enumerate((300, 500, 400)):
        facts = {**(run.unit(trial, "official") or {}), "peak_mib": peak, "cost": measured}
        run.write_unit(trial, "official", facts, predictions(EMOTION, 0.9, trial))
    assert cost(run) == {
        "parameters": 1000,
        "macs_per_second": 2e6,
        "real_time_factor": 0.02,
        "seconds": 6.0,
        "cpu_seconds": 9.0,
        "peak_mib": 500,
    }


def test_figures_hold_no_unread_mathematics(results: Path, page: Page) -> None:
    drawn = sorted((results / "report_files").glob("*.svg"))
    assert any(path.name.endswith("-cost.svg") for path in drawn)
    assert not [path.name for path in drawn if "mathdefault" in path.read_text(encoding="utf-8")]


def test_records_without_items_are_named(page: Page) -> None:
    assert re.search(r"The speaker of test items is not recorded for chance", page.text)


def test_the_same_records_give_the_same_files(results: Path, tmp_path: Path) -> None:
    runs = load_runs(results, task="values")
    first, second = (write_report(runs, tmp_path / name / "page.html") for name in "ab")
    assert [p.name for p in first.files] == [p.name for p in second.files]
    for a, b in zip([first.path, *first.files], [second.path, *second.files], strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


def test_latex_escapes_what_it_would_read_as_commands(results: Path, page: Page) -> None:
    assert latex(r"50 % of a_b & {c} \d $ #~^") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{}d \$ \#\textasciitilde{}\textasciicircum{}"
    )
    text = (results / "report_files" / "demo-emotion-leaderboard-emotion.tex").read_text(encoding="utf-8")
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    columns = len(re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1])  # type: ignore[index]
    assert len(body) == 4
    assert all(len(re.findall(r"(?<!\\)&", line)) == columns - 1 for line in body)


def test_many_runs_are_shown_in_part_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs grow with the square of the runs, figures with their number: the best have them, a note names the rest."""
    monkeypatch.setattr(writing, "COMPARED", 3)
    monkeypatch.setattr(parts, "DRAWN", 2)
    for number in range(5):
        make(tmp_path / "r", f"model{number}", 0.1 + 0.15 * number, trials=2)
    text = write_report(load_runs(tmp_path / "r"), tmp_path / "report.html", 0).path.read_text(encoding="utf-8")
    assert "between the best 3 of 5 runs" in text
    assert "those of the best 2 runs; 3 more" in text
    files = {path.name for path in (tmp_path / "report_files").iterdir()}
    assert sum("confusion" in name and name.endswith(".svg") for name in files) == 2
    pairs = pd.read_csv(next((tmp_path / "report_files").glob("*-pairs.csv")))
    assert {*pairs["a"], *pairs["b"]} == {"model4", "model3", "model2"}
    assert len(pairs) == 3


@pytest.mark.usefixtures("no_figures")
def test_missing_trials_are_named_with_the_command_that_fills_them(tmp_path: Path) -> None:
    for model, trials in (("a", 3), ("b", 3), ("c", 2)):
        make(tmp_path, model, 0.7, trials=trials)
    make(tmp_path, "d", 0.7, trials=0)
    text = report(tmp_path).text
    assert f"serbench run --model c --dataset demo --trials 3 --results {tmp_path}" in text
    assert "no trial is complete" in text
    board = pd.read_csv(tmp_path / "report_files" / "demo-emotion-leaderboard-emotion.csv").set_index("name")
    assert list(board.index[board["letters"].isna()]) == ["c"]


@pytest.mark.usefixtures("no_figures")
def test_damaged_records_are_left_out_by_name(tmp_path: Path) -> None:
    make(tmp_path, "sound", 0.7)
    cut, edited = make(tmp_path, "cut", 0.7), make(tmp_path, "edited", 0.7)
    path = cut.unit_files(0, "official")[1]
    path.write_bytes(path.read_bytes()[:200])
    file = edited.path / "run.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"right": 0.7', '"right": 0.8'), encoding="utf-8")
    text = report(tmp_path).text
    assert re.search(rf"Left out, {cut.run_id}: .*is damaged", text)
    assert re.search(rf"Left out, {edited.run_id}: .*is not what was written", text)
    assert "Runs: 1; rankings: 1" in text


@pytest.mark.usefixtures("no_figures")
def test_critical_difference_over_three_datasets(tmp_path: Path) -> None:
    for dataset in ("x", "y", "z"):
        for model, right in (("a", 0.9), ("b", 0.6), ("c", 0.2)):
            make(tmp_path, model, right, dataset=dataset, trials=2)
    done = write_report(load_runs(tmp_path), tmp_path / "report.html", 0)
    assert "across-datasets-critical-difference.svg" in {path.name for path in done.files}


@pytest.mark.usefixtures("no_figures")
def test_published_results_stand_beside_the_ranking_and_not_in_it(tmp_path: Path) -> None:
    known = references("iemocap", "attributes")
    task = Task("attributes", "regression", ("arousal", "valence"), scales=VALUES.scales)
    make(tmp_path, "a", 0.9, task, dataset="iemocap")
    make(tmp_path, "b", 0.2, task, dataset="iemocap")
    page = report(tmp_path)
    folder = tmp_path / "report_files"
    board = pd.read_csv(folder / "iemocap-attributes-leaderboard-arousal.csv")
    shown = pd.read_csv(folder / "iemocap-attributes-references.csv", keep_default_na=False)
    assert list(board["name"]) == ["a", "b"]
    assert set(shown["model"]) <= set(known["model"])
    assert len(shown) == known["target"].isin(["mean", "arousal", "valence"]).sum() > 0
    assert set(shown.loc[shown["place"].ne(""), "distance"]) <= {"same"}
    assert all(reason in page.text for reason in shown["reason"])


@pytest.mark.usefixtures("no_figures")
def test_mixed_versions_are_named(tmp_path: Path) -> None:
    make(tmp_path, "a", 0.9, versions={"serbench": "0.1.0"})
    make(tmp_path, "b", 0.2, versions={"serbench": "0.2.0"})
    text = report(tmp_path).text
    assert "made by serbench 0.1.0, 0.2.0" in text
    assert "different versions of serbench; each" in text


def test_models_keep_their_letters_apart_from_an_untested_one(tmp_path: Path) -> None:
    make(tmp_path, "a", 0.9, trials=2)
    make(tmp_path, "b", 0.2, trials=2)
    make(tmp_path, "a", 0.9, preset="long", trials=3)
    ranking = gather(load_runs(tmp_path))[0]
    letters_of = ranking.frame.set_index("name")["letters"]
    assert letters_of["a:long"] == ""
    assert letters_of["a"] == "a"
    assert any("--trials 3" in note for note in ranking.notes)


def test_one_class_in_a_subset_is_no_obstacle(tmp_path: Path) -> None:
    run = make(tmp_path, "one", 0.7, trials=0)
    table = predictions(EMOTION, 0.7, 1)
    for trial in range(2):
        run.write_unit(
            trial,
            "official",
            {"status": "done"},
            table.assign(gold=np.where(table["subset"] == 0, "joy", table["gold"])),
        )
    assert "demo-emotion-leaderboard-emotion" in report(tmp_path).all("id")


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="there are no runs to report"):
        write_report(load_runs(tmp_path), tmp_path / "report.html")
    make(tmp_path, "a", 0.5, trials=1)
    with pytest.raises(SerbenchError, match=r"expected the name of an HTML file"):
        write_report(load_runs(tmp_path), tmp_path / "report.pdf")
