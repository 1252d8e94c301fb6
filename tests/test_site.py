"""The site: its numbers against scikit-learn and `leaderboard --verify`, links that lead somewhere, text that never
becomes markup, no paths and no labels that were not asked for, and its three worst inputs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix, recall_score
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.record.folder import Run, load_runs
from serbench.results.record.packing import export_run
from serbench.results.site.chart import Series, chart
from serbench.results.site.writing import COMPARED, SHOWN, write_site
from serbench.results.tables.verify import verify_leaderboard

EVIL = '<img src="http://example.org/x" onerror="alert(1)">&'
LABELS = ("anger", EVIL)
EMOTION = Task("emotion", "classification", ("emotion",), LABELS)
VALUES = Task("values", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
TRACES = Task("traces", "continuous", ("arousal",), scales={"arousal": (-1.0, 1.0)}, frame_seconds=0.1)
ITEMS = 24


def predictions(task: Task, right: float, seed: int) -> pd.DataFrame:
    """Item i in subset i % 4; the same gold for every seed."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(0)
    table: dict[str, Any] = {"id": [f"u{i}" for i in range(ITEMS)], "subset": np.arange(ITEMS) % 4}
    if task.kind == "classification":
        gold = np.array(LABELS)[np.arange(ITEMS) // 4 % 2]
        return pd.DataFrame(
            table | {"gold": gold, "predicted": np.where(rng.random(ITEMS) < right, gold, rng.choice(LABELS, ITEMS))}
        )
    if task.kind == "continuous":
        table = {
            "id": np.repeat(["a", "b", "c", "d"], 6),
            "subset": np.repeat(range(4), 6),
            "frame": np.tile(range(6), 4),
        }
    gold = truth.uniform(-1, 1, ITEMS)
    return pd.DataFrame(table | {"gold_arousal": gold, "pred_arousal": gold + rng.normal(0, 1 - right, ITEMS)})


def make(results: Path, model: str, right: float, task: Task = EMOTION, *, trials: int = 2, **facts: Any) -> Run:
    run = Run.create(
        results,
        {
            "model": {"name": model, "preset": "default", "config": {"right": right, "text": EVIL}},
            "features": {},
            "dataset": {"name": "demo", "release": "", "digest": "d" * 16, "licence": "MIT", "citation": EVIL},
            "task": task.to_dict(),
            "labels": [],
            "serbench": "0.1.0",
            "protocol": {"name": "4x5", "subsets": 4, "folds": ["official"], "split": "official", "group": "none"},
            "command": f"serbench run --model {model} --dataset demo",
        },
    )
    for trial in range(trials):
        unit = {"status": "done", "seconds": 2.0, "parameters": 9, **facts}
        run.write_unit(trial, "official", unit, predictions(task, right, 100 * trial + len(model)))
    return run


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.tags, self.text = path, list[tuple[str, dict[str, str | None]]](), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        named = [str(attrs[key]) for _, attrs in self.tags for key in ("href", "src") if key in attrs]
        return [link for link in named if not link.startswith("data:")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes, values and traces, on three days, with markup wherever a record holds text."""
    folder = tmp_path_factory.mktemp("results")
    epochs = [{"epoch": float(e), "dev_score": 0.3 + 0.1 * e, "loss": 1 / e} for e in (1, 2, 3)]
    make(folder, "chance", 0.0, finished="2026-01-01T10:00:00+00:00")
    make(
        folder, "good", 0.9, epochs=epochs, excluded={"u99": f"{folder}/x {EVIL}"}, finished="2026-01-02T10:00:00+00:00"
    )
    make(folder, "fair", 0.6, finished="2026-02-03T10:00:00+00:00")
    make(folder, "good", 0.8, VALUES)
    make(folder, "good", 0.8, TRACES)
    return folder


@pytest.fixture(scope="module")
def site(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "site"
    write_site([results], out)
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> list[Page]:
    return [Page(path) for path in sorted(site.rglob("*.html"))]


def page_of(site: Path, run: Run) -> Page:
    return Page(site / "runs" / f"{run.run_id}.html")


def test_there_is_a_page_for_each_ranking_and_run(site: Path, results: Path, pages: list[Page]) -> None:
    assert len(pages) == 1 + 3 + 5
    assert {path.stem for path in (site / "runs").glob("*.html")} == {run.run_id for run in load_runs(results)}


def test_every_link_leads_to_a_file_or_a_part_of_the_page(pages: list[Page]) -> None:
    for page in pages:
        ids = [str(attrs["id"]) for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len(set(ids)), page.path
        assert len(page.links()) > 3
        for link in page.links():
            if link.startswith("#"):
                assert link[1:] in ids
            else:
                assert (page.path.parent / unquote(link)).is_file(), f"{page.path}: {link}"


def test_text_of_records_never_becomes_markup(pages: list[Page]) -> None:
    for page in pages:
        assert not [tag for tag, _ in page.tags if tag == "img"]
        assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert sum(page.text.count(EVIL) for page in pages) > 10


def test_numbers_are_those_that_verification_computes(site: Path, results: Path) -> None:
    for csv in (site / "rankings").glob("*.csv"):
        checked = verify_leaderboard(results, csv)
        assert checked.rows >= 1
        assert not checked.problems


def test_a_number_that_was_changed_does_not_verify(site: Path, results: Path, tmp_path: Path) -> None:
    board = pd.read_csv(site / "rankings" / sorted(p.name for p in (site / "rankings").glob("demo-emotion-*.csv"))[0])
    board.assign(mean=board["mean"] + 0.01).to_csv(tmp_path / "changed.csv", index=False)
    assert verify_leaderboard(results, tmp_path / "changed.csv").problems


def test_score_and_confusion_of_a_page_are_those_of_scikit_learn(site: Path, results: Path) -> None:
    (run,) = (one for one in load_runs(results, task="emotion") if one.name == "good")
    found = run.predictions()
    recalls = [recall_score(p["gold"], p["predicted"], average="macro") for _, p in found.groupby(["trial", "subset"])]
    page = page_of(site, run)
    kept = [str(attrs["data-v"]) for tag, attrs in page.tags if tag == "td"]
    values = [float(v) for v in kept if re.fullmatch(r"\d+\.?\d*", v)]
    assert any(value == pytest.approx(np.mean(recalls), abs=1e-12) for value in values)
    counts = confusion_matrix(found["gold"], found["predicted"], labels=list(LABELS))
    for count, total in zip(counts.ravel(), np.repeat(counts.sum(axis=1), 2), strict=True):
        assert f"{100 * count / total:.0f} % ({count})" in page.text


def test_traces_scatter_and_learning_curves_are_drawn(pages: list[Page]) -> None:
    drawn = {str(attrs.get("aria-label")) for page in pages for tag, attrs in page.tags if tag == "svg"}
    wanted = {"Trace: arousal", "Prediction against gold: arousal", "Learning curves: dev score", "UAR over time"}
    assert wanted <= drawn


def test_no_page_and_no_download_has_a_path_or_a_label(site: Path, results: Path) -> None:
    for path in (p for p in site.rglob("*") if p.is_file()):
        data = path.read_bytes()
        assert str(results).encode() not in data, path
        if path.suffix == ".parquet":
            assert not [c for c in pd.read_parquet(path) if c.startswith("gold")]
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                assert not any(str(results).encode() in archive.read(name) for name in archive.namelist())


def test_exports_make_a_site_and_labels_come_where_they_are_asked_for(results: Path, tmp_path: Path) -> None:
    runs = load_runs(results, task="emotion")
    files = [export_run(run, tmp_path / f"{run.name}.zip", labels=True) for run in runs]
    done = write_site(files, tmp_path / "site", labels=True)
    assert (done.runs, done.rankings) == (3, 1)
    held = pd.read_parquet(next((tmp_path / "site" / "runs").rglob("*.parquet")))
    assert "gold" in held
    unlabelled = [export_run(run, tmp_path / f"{run.name}.zip") for run in runs]
    alone = write_site(unlabelled, tmp_path / "alone")
    assert (alone.runs, alone.rankings) == (0, 1)
    assert "without gold labels" in Page(alone.index).text


def test_a_changed_record_is_left_out_by_name(results: Path, tmp_path: Path) -> None:
    make(tmp_path / "r", "chance", 0.0)
    broken = make(tmp_path / "r", "good", 0.9)
    file = broken.unit_files(1, "official")[1]
    predictions(EMOTION, 1.0, 0).to_parquet(file)
    done = write_site([tmp_path / "r"], tmp_path / "site")
    assert done.runs == 1
    text = Page(done.index).text
    assert f"Left out, {broken.run_id}" in text
    assert str(tmp_path) not in text


def test_a_second_site_loses_the_pages_of_runs_that_are_gone(tmp_path: Path) -> None:
    make(tmp_path / "one", "chance", 0.0, trials=1)
    gone = make(tmp_path / "one", "good", 0.9, trials=1)
    make(tmp_path / "two", "chance", 0.0, trials=1)
    write_site([tmp_path / "one"], tmp_path / "site")
    assert (tmp_path / "site" / "runs" / f"{gone.run_id}.html").is_file()
    write_site([tmp_path / "two"], tmp_path / "site")
    assert not (tmp_path / "site" / "runs" / f"{gone.run_id}.html").exists()
    listed = json.loads((tmp_path / "site" / "site.json").read_text())["files"]
    there = {p.relative_to(tmp_path / "site").as_posix() for p in (tmp_path / "site").rglob("*") if p.is_file()}
    assert there == {*listed, "site.json"}


def test_a_site_that_was_interrupted_goes_on_and_ends_as_one_that_was_not(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second of three rankings; the downloads of the first are not written again."""
    from serbench.results.site import run_page, writing

    def stop(entry: run_page.Entry, files: str) -> list[Any]:
        if entry.ranking.task.name == "values":
            raise KeyboardInterrupt
        return pages_of(entry, files)

    pages_of = run_page.sections
    monkeypatch.setattr(run_page, "sections", stop)
    with pytest.raises(KeyboardInterrupt):
        write_site([results], tmp_path / "site")
    monkeypatch.setattr(run_page, "sections", pages_of)
    written: list[str] = []
    write = writing.write_downloads
    monkeypatch.setattr(
        writing, "write_downloads", lambda one, *a, **k: written.append(one.run.name) or write(one, *a, **k)
    )
    write_site([results], tmp_path / "site")
    assert len(written) == 1
    write_site([results], tmp_path / "whole")
    files = [p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file()]
    assert all((tmp_path / "site" / p).read_bytes() == (tmp_path / "whole" / p).read_bytes() for p in files)


def test_the_first_page_shows_the_best_and_differences_are_those_of_the_best(tmp_path: Path) -> None:
    for i in range(COMPARED + 2):
        make(tmp_path / "r", f"model{i}", 0.5 + 0.03 * i, trials=2)
    done = write_site([tmp_path / "r"], tmp_path / "site")
    shown = [a for t, a in Page(done.index).tags if t == "a" and str(a["href"]).startswith("runs/")]
    assert len(shown) == SHOWN
    (ranking,) = (tmp_path / "site" / "rankings").glob("*.html")
    page = Page(ranking)
    assert len([a for t, a in page.tags if t == "a" and str(a["href"]).startswith("../runs/")]) == COMPARED + 2
    assert f"between the best {COMPARED} of {COMPARED + 2} runs" in page.text


def test_a_chart_places_numbers_between_its_ticks() -> None:
    drawn = chart([Series("a", [0, 10], [0, 1], dots=True)], "t & t", "x", "y")
    assert "t &amp; t" in drawn
    assert 'cx="58' in drawn
    assert 'cy="26' in drawn
    assert chart([Series("a", [], [])], "t", "x", "y") == ""
    assert chart([Series("a", [1.0], [float("nan")])], "t", "x", "y") == ""


SELF_TEST = """
addEventListener("load", () => {
  const table = document.querySelector("table"), field = document.getElementById("search");
  const names = () => [...table.tBodies[0].rows].filter(r => !r.hidden).map(r => r.cells[1].textContent.split(" ")[0]);
  const type = (element, text) => { element.value = text; element.dispatchEvent(new Event("input")); };
  const sections = () => [...document.querySelectorAll("section")].filter(s => !s.hidden).length;
  const found = {style: getComputedStyle(document.body).maxWidth, all: sections(), start: names()};
  const head = table.querySelectorAll("th button")[1];
  head.focus(); found.focused = document.activeElement === head;
  head.click(); found.sorted = names();
  type(field, "goo"); found.searched = names(); type(field, "");
  type(document.getElementById("task"), "emotion"); found.chosen = sections();
  found.tabs = [...document.querySelectorAll("button, a, input, select, summary")].every(e => e.tabIndex === 0);
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
});
"""


def test_the_site_works_from_the_disk_in_a_browser(site: Path, tmp_path: Path) -> None:
    """Under its own policy: style and script are read, sorting, search and choices work, and the console is silent."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("there is no chromium on this machine")
    shutil.copytree(site, tmp_path / "site")
    with (tmp_path / "site" / "script.js").open("a") as script:
        script.write(SELF_TEST)
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'p'}",
    ]
    page = (tmp_path / "site" / "index.html").as_uri()
    done = subprocess.run(
        [chromium, *flags, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(done.stdout.split("FOUND")[1].split("END")[0])
    assert found["style"] == "1248px"
    assert (found["all"], found["chosen"]) == (3, 1)
    assert (found["start"], found["sorted"]) == (["good", "fair", "chance"], ["chance", "fair", "good"])
    assert found["searched"] == ["good"]
    assert found["focused"]
    assert found["tabs"]
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_the_command_and_its_worst_inputs(results: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["site", str(results), "--out", str(tmp_path / "s"), "--title", EVIL, "--json"])
    assert done.exit_code == 0, done.output
    assert "rankings: 3, runs: 5" in json.loads(done.stdout)["lines"][0]
    assert EVIL in Page(tmp_path / "s" / "index.html").text
    (tmp_path / "nothing").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("text")
    for given, out, message in (
        (tmp_path / "nothing", tmp_path / "t", "there are no runs in"),
        (results, tmp_path / "other", "is not empty and no site"),
        (tmp_path / "nowhere", tmp_path / "t", "neither a results folder nor an exported zip"),
    ):
        with pytest.raises(SerbenchError, match=message):
            runner.invoke(app, ["site", str(given), "--out", str(out)], catch_exceptions=False)
    assert (tmp_path / "other" / "thesis.tex").read_text() == "text"
