"""`serbench paper`: numbers against scikit-learn, LaTeX against a small parser, commands run again, bad plans."""

from __future__ import annotations

import re
import shlex
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import recall_score
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.paper import reading
from serbench.benchmarks.paper.checks import files_of
from serbench.benchmarks.paper.commands import run_lines
from serbench.benchmarks.paper.latex import measured
from serbench.benchmarks.paper.plan import texts
from serbench.benchmarks.paper.references import library, parse
from serbench.datasets import registry as datasets
from serbench.datasets.core.config import override
from serbench.datasets.core.errors import SerbenchError
from serbench.features import registry as features
from serbench.results.record.folder import load_runs
from serbench.results.tables.compare import compare
from serbench.results.tables.leaderboard import leaderboard
from serbench.results.tables.pair_tests import further_tests
from serbench.sermodels import registry as models

PLAN = """
title = "Loudness & nothing else"
cite = ["fu2021maec"]
protocol = { trials = 2, subsets = 2 }

[[corpora]]
name = "table"
{root}

[[models]]
name = "Loud_1"
model = "linear"
settings = ["model.feature=level"]

[[models]]
name = "random"
model = "chance:random"

[[experiments]]
train = "table"
tasks = ["emotion", "arousal"]

[[comparisons]]
name = "main"
system = "Loud_1"

[[tables]]
name = "scores"
comparison = "main"

[[tables]]
name = "differences"
kind = "comparisons"
comparison = "main"

[[tables]]
name = "corpora"
kind = "corpora"

[[tables]]
name = "models"
kind = "models"

[[figures]]
name = "scores"

[[figures]]
name = "differences"
kind = "differences"
comparison = "main"

[[figures]]
name = "confusion"
kind = "confusion"
models = ["Loud_1"]
"""


def run(*arguments: str | Path) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, ["paper", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(text: str, folder: Path, *arguments: str) -> str:
    """What is said of a plan of that text."""
    (folder / "bad.toml").write_text(text)
    done = CliRunner().invoke(app, ["paper", str(folder / "bad.toml"), "--results", str(folder / "r"), *arguments])
    assert isinstance(done.exception, SerbenchError), done.output
    assert not (folder / "r").exists()
    return str(done.exception)


@pytest.fixture(scope="module")
def root(toy_corpus: Callable[..., Path]) -> Path:
    return toy_corpus(gain=1.0)


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plan.toml, results r and the paper p."""
    folder = tmp_path_factory.mktemp("paper")
    (folder / "plan.toml").write_text(PLAN.replace("{root}", ""))
    run(folder / "plan.toml", "--results", folder / "r", "--out", folder / "p", "--root", f"table={root}")
    return folder


# LaTeX, read by a small parser of its own


def rows_of(text: str) -> list[list[str]]:
    """Cells of a table's body and headings; checks environments, braces, and that every row has every column."""
    text = re.sub(r"(?<!\\)%.*", "", text)
    open_ones: list[str] = []
    for verb, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if verb == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    bare = re.sub(r"\\[\\{}&%$#_]", "", text)
    assert bare.count("{") == bare.count("}")
    ((columns, body),) = re.findall(r"\\begin\{tabular\}\{(.*)\}\n\\toprule\n(.*)\\bottomrule", text, re.DOTALL)
    width = len(re.findall(r"S\[[^\]]*\]|p\{[^}]*\}+|[lrc]", columns))
    rows = []
    for line in re.sub(r"\\(midrule|cmidrule\(lr\)\{\d+-\d+\})", "", body).split(r"\\" + "\n"):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)&", line)]
        spans = [int(m.group(1)) if (m := re.match(r"\\multicolumn\{(\d+)\}", cell)) else 1 for cell in cells]
        assert sum(spans) == width, line
        rows.append(cells)
    return rows


def number_of(cell: str) -> tuple[float, float]:
    """Mean and standard deviation of a cell as siunitx reads it."""
    ((mean, sd),) = re.findall(r"^(?:\\bfseries )?(-?\d\.\d{3})(?:\((\d+)\))?", cell)
    return float(mean), float(sd or "nan") / 1000


@pytest.mark.parametrize("name", ["scores", "differences", "corpora", "models"])
def test_tables_are_latex(made: Path, name: str):
    text = (made / "p" / "tables" / f"{name}.tex").read_text()
    assert len(rows_of(text)) >= 3
    assert rf"\label{{tab:{name}}}" in text


def test_the_parser_sees_what_is_wrong():
    good = "\\begin{tabular}{lr}\n\\toprule\na & 1 \\\\\n\\bottomrule\n\\end{tabular}"
    assert rows_of(good) == [["a", "1"]]
    for bad in (good.replace("& 1", ""), good.replace("a &", "{a &"), good + "\\begin{table}"):
        with pytest.raises(AssertionError):
            rows_of(bad)


def test_means_are_those_of_scikit_learn(made: Path):
    """UAR of each trial and subset from the stored predictions, by another library."""
    expected = {}
    for one in load_runs(made / "r", task="emotion"):
        every = one.predictions()
        groups = [part for _, part in every.groupby(["trial", "subset"])]
        scores = [
            recall_score(p["gold"], p["predicted"], average="macro", labels=sorted(set(p["gold"]))) for p in groups
        ]
        expected[one.name] = np.mean(scores), np.std(scores, ddof=1)
    rows = {row[0]: row for row in rows_of((made / "p" / "tables" / "scores.tex").read_text())}
    for label, name in (("Loud\\_1", "linear"), ("random", "chance:random")):
        assert number_of(rows[label][1]) == pytest.approx(expected[name], abs=5.1e-4)
    chance = max(expected[name][0] for name in ("chance", "chance:random"))
    assert number_of(rows["chance"][1])[0] == pytest.approx(chance, abs=5.1e-4)


def test_marks_are_those_of_the_leaderboard(made: Path):
    board = leaderboard(load_runs(made / "r"))
    beats = {(row["name"], row["target"]): row["beats_chance"] for row in board.to_dict("records")}
    assert set(beats.values()) > {"yes"}
    rows = {row[0]: row[1:] for row in rows_of((made / "p" / "tables" / "scores.tex").read_text())}
    for at, target in enumerate(("emotion", "arousal")):
        assert (r"\dag" in rows["Loud\\_1"][at]) == (beats["linear", target] == "no")


def test_comparisons_are_tested_as_compare_does(made: Path):
    """The crossed and the paired test against `serbench compare`, adjusted over the planned rows alone."""
    frame = pd.read_csv(made / "p" / "comparisons.csv").set_index("target")
    raw = {}
    for task in ("emotion", "arousal"):
        runs = load_runs(made / "r", task=task)
        pair = [runs.named("linear"), runs.named("chance:random")]
        row = further_tests(compare(pair), pair).iloc[0]
        assert frame.loc[task, "difference"] == pytest.approx(row["difference"])
        assert frame.loc[task, "p"] == pytest.approx(row["p"], nan_ok=True)
        assert frame.loc[task, "p_crossed"] == pytest.approx(row["p_crossed"])
        raw[task] = row["p_crossed"]
    low, high = sorted(raw, key=lambda task: raw[task])
    assert frame.loc[low, "p_crossed_holm"] == pytest.approx(min(1.0, 2 * raw[low]))
    assert frame.loc[high, "p_crossed_holm"] == pytest.approx(max(min(1.0, 2 * raw[low]), raw[high]))


def test_a_measured_cell():
    assert measured(0.6123, 0.0138) == "0.612(14)"
    assert measured(-0.05, float("nan"), best=True, marks=r"\dag") == r"\bfseries -0.050{\textsuperscript{\dag}}"
    assert measured(float("nan"), 0.1) == "{--}"


# Words, references, the document


def test_the_methods_say_what_the_records_say(made: Path):
    text = (made / "p" / "methods.tex").read_text()
    (one,) = (r for r in load_runs(made / "r", task="emotion") if r.name == "linear")
    train, dev, test = one.spec["protocol"]["sizes"]["official"]
    assert f"one fold: {train} utterances are trained on, {dev} selected on and {test} tested" in text
    unit = one.units()[0]
    for name in ("python", "numpy", "torch"):
        assert f"{name} {unit['versions'][name]}" in text
    assert r"2 subsets, the same for every model" in text
    assert r"2 \(\times\) 2 = 4 scores" in text
    assert "2 classes: anger, sadness" in text
    assert r"no chance in it: Loud\_1." in text, "chance:random depends on its seed"
    assert r"of Loud\_1, over 2 planned comparisons (random)" in text


def test_every_citation_has_its_entry(made: Path):
    bibliography = parse((made / "p" / "references.bib").read_text())
    cited = {
        key
        for keys in re.findall(r"\\cite\{([^}]*)\}", (made / "p" / "methods.tex").read_text())
        for key in keys.split(",")
    }
    assert cited <= set(bibliography)
    assert set(bibliography) - cited == {"fu2021maec"}, "what the plan cites beside"
    assert {"hoerl1970ridge", "schuller2009challenge", "lin1989concordance", "holm1979simple", "serbench"} <= cited


def test_the_document_is_whole(made: Path):
    page = (made / "p" / "paper.tex").read_text()
    for name in re.findall(r"\\input\{([^}]*)\}", page):
        assert (made / "p" / f"{name}.tex").is_file()
    pictures = re.findall(r"\\includegraphics\{([^}]*)\}", page)
    assert len(pictures) == 3
    for name in pictures:
        data = (made / "p" / name).read_bytes()
        assert data.startswith(b"%PDF")
        assert (made / "p" / name).with_suffix(".svg").read_bytes().startswith(b"<?xml")
    assert r"Loudness \& nothing else" in page


def test_the_same_records_make_the_same_bytes(made: Path, root: Path):
    before = {p: p.read_bytes() for p in (made / "p").rglob("*") if p.is_file()}
    units = {p: p.stat().st_mtime_ns for p in (made / "r" / "runs").rglob("unit-*")}
    run(made / "plan.toml", "--results", made / "r", "--out", made / "p", "--root", f"table={root}")
    assert {p: p.read_bytes() for p in (made / "p").rglob("*") if p.is_file()} == before
    assert {p: p.stat().st_mtime_ns for p in (made / "r" / "runs").rglob("unit-*")} == units


def test_the_script_repeats_the_very_runs(made: Path, root: Path, monkeypatch: pytest.MonkeyPatch):
    """Each of its lines finds its record, trains nothing and makes no other; the shell reads the script."""
    script = made / "p" / "reproduce.sh"
    assert script.stat().st_mode & stat.S_IXUSR
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    assert str(root) not in script.read_text(), "it names no folder of this machine"
    refusal = subprocess.run(
        ["sh", str(script)], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=False
    )
    assert "SERBENCH_ROOT_TABLE: the folder of the corpus table" in refusal.stderr
    lines = [line for line in script.read_text().splitlines() if line.startswith("serbench run")]
    assert len(lines) == 4
    monkeypatch.setenv("SERBENCH_ROOT_TABLE", str(root))
    before = {p: p.stat().st_mtime_ns for p in (made / "r" / "runs").glob("[!.]*/*")}
    for line in lines:
        words = shlex.split(line.replace("$RESULTS", str(made / "r")))[1:]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        assert done.exit_code == 0
    assert {p: p.stat().st_mtime_ns for p in (made / "r" / "runs").glob("[!.]*/*")} == before


def test_check_starts_nothing(made: Path, root: Path, tmp_path: Path):
    said = run(made / "plan.toml", "--check", "--no-pilot", "--results", tmp_path / "r", "--root", f"table={root}")
    assert "in all: 8 trainings to do, 0 done" in said  # linear and chance are trained once, random ones twice
    assert not (tmp_path / "r").exists()


# Rehearsals and crossing corpora

CROSSING = """
title = "Chance across corpora"
protocol = { trials = 5 }
corpora = [{ name = "iemocap" }, { name = "meld" }]
models = [{ name = "random", model = "chance:random" }, { name = "most frequent", model = "chance" },
          { name = "words", model = "semantic-fusion", settings = ["model.vectors={vectors}"] }]
files = [{ name = "vectors", make = "serbench words word2vec sewa" }]
experiments = [{ train = "iemocap", tasks = ["emotion-4"] },
               { train = "iemocap", test = "meld", tasks = ["emotion-4"] }]
comparisons = [{ name = "main", system = "random" }, { name = "gone", system = "random", rivals = ["words"] }]
tables = [{ name = "scores", comparison = "main" }, { name = "gone", kind = "comparisons", comparison = "gone" },
          { name = "corpora", kind = "corpora" }]
rehearsal = { trials = 1, utterances = 50 }
"""


def test_a_rehearsal_runs_on_miniatures(tmp_path: Path):
    (tmp_path / "crossing.toml").write_text(CROSSING)
    done = CliRunner().invoke(
        app,
        ["paper", str(tmp_path / "crossing.toml"), "--rehearse", "--results", str(tmp_path / "r")],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert "left out of the rehearsal: words: no --file vectors" in done.stderr
    folder = tmp_path / "r" / "rehearsal" / "crossing"
    runs = load_runs(folder)
    assert {one.spec["dataset"]["name"] for one in runs} == {"iemocap", "iemocap>meld"}
    assert (folder / "miniatures" / "iemocap").is_dir()
    paper = folder / "papers" / "crossing"
    assert "Rehearsal: Chance across corpora" in (paper / "paper.tex").read_text()
    groups = rows_of((paper / "tables" / "scores.tex").read_text())[0]
    assert groups[1:] == [r"\multicolumn{1}{c}{iemocap}", r"\multicolumn{1}{c}{iemocap \(\rightarrow\) meld}"]
    assert not (paper / "tables" / "gone.tex").exists()
    assert (
        "trained on iemocap~\\cite{busso2008iemocap}, tested on meld~\\cite{poria2019meld}"
        in (paper / "methods.tex").read_text()
    )


def test_one_line_serves_the_corpora_that_one_training_is_tested_on(tmp_path: Path):
    (tmp_path / "crossing.toml").write_text(CROSSING)
    lines = run_lines(reading.read_plan(str(tmp_path / "crossing.toml")))
    assert lines[0].startswith("serbench run --model chance --dataset iemocap --task emotion-4 --preset random")
    assert lines[0].endswith("--test-dataset iemocap --test-dataset meld")
    assert "model.vectors='\"$FILE_VECTORS\"''" in lines[2]
    assert len(lines) == 3


# The plans that come with serbench, and what components are cited by


@pytest.mark.parametrize("name", sorted(reading.shipped()))
def test_shipped_plans_fit_the_models(name: str):
    plan = reading.read_plan(name)
    assert plan.tables
    assert plan.figures
    for row in plan.models:
        model, _, preset = row.model.partition(":")
        config = models.load(model).PRESETS[preset or "default"]
        both = texts(row.settings, name) | texts(row.rehearsal, name)
        own = {key.removeprefix("model."): value for key, value in both.items() if key.startswith("model.")}
        override(config, {key: value for key, value in own.items() if "{" not in value}, "model.")
    assert set(files_of(plan)) == {one.name for one in plan.files}


def test_the_plan_of_the_documentation_is_one(checkout: Path, tmp_path: Path):
    page = (checkout / "docs" / "papers.md").read_text()
    ((block,),) = [re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    (tmp_path / "plan.toml").write_text(block)
    assert [row.name for row in reading.read_plan(str(tmp_path / "plan.toml")).models] == [
        "loudness",
        "functionals",
        "machine",
    ]


def test_plans_are_listed():
    said = run()
    assert [line.split()[0] for line in said.splitlines()] == ["deepemocluster", "maec", "semantic-fusion"]


def identifiers(entry: str) -> list[str]:
    """DOI and arXiv number of an entry, as texts write them."""
    return [found.lower() for found in re.findall(r"(?:doi|eprint|url) = \{([^}]*)\}", entry)]


def sources() -> dict[str, tuple[str, list[str]]]:
    """Component -> (its source and what it is built of, its keys)."""
    found = {}
    for registry in (datasets, models, features):
        for name in registry.names():
            path = registry._place(name)[1]
            found[f"{registry.kind} {name}"] = path.read_text(encoding="utf-8"), registry.declared(name, "CITES")
    return found


def test_components_are_cited_by_works_that_they_name():
    """Each key is in the library, and the DOI, arXiv number or authors of its entry stand in the component's file."""
    known, without = library(), set()
    for component, (source, keys) in sources().items():
        without |= set() if keys else {component}
        for key in keys:
            names = identifiers(known[key])
            family = re.findall(r"author = \{([\w{}\\\"-]+)", known[key])[0]
            plain = " ".join(source.split()).lower()
            assert any(one in plain for one in names) or family.lower() in plain, (component, key)
    assert without == {
        *(f"dataset {name}" for name in ("audformat", "demo", "hf", "table")),
        *("model chance", "model transformer"),
        *(f"feature {name}" for name in ("level", "spoken-words", "transformers", "waveform", "word-vectors")),
    }


def test_entries_are_those_of_the_page_on_models(checkout: Path):
    """What docs/models.md prints stands in the library, to the letter."""
    page = re.sub(r"^    ", "", (checkout / "docs" / "models.md").read_text(), flags=re.MULTILINE)
    shown = parse(page)
    assert len(shown) == 10
    for key in shown:
        assert library()[key] in page, key


def test_entries_are_whole():
    for key, entry in library().items():
        assert entry.count("{") == entry.count("}"), key
        assert re.search(r"author = .*title = .*year = \{\d{4}\}", entry, re.DOTALL) or key == "haq2010savee", key
        assert entry.isascii(), key


# Bad input


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("title =", "titel ="), "unknown key of the plan 'titel'. Did you mean 'title'?"),
        (('model = "linear"', 'model = "linaer"'), "unknown model 'linaer'. Did you mean 'linear'?"),
        (('model = "chance:random"', 'model = "chance:randm"'), "Did you mean 'random'?"),
        (('name = "table"', 'name = "tabel"'), "unknown dataset 'tabel'. Did you mean 'table'?"),
        (('train = "table"', 'train = "meld"'), "unknown corpus of [[corpora]] 'meld'"),
        (('system = "Loud_1"', 'system = "Loud"'), "Did you mean 'Loud_1'?"),
        (('kind = "comparisons"', 'kind = "comparison"'), "Did you mean 'comparisons'?"),
        (('settings = ["model.feature=level"]', 'settings = ["level"]'), "Expected KEY=VALUE"),
        (("trials = 2", "trials = 0"), "Expected 1 or more trainings"),
        (("trials = 2", 'trials = "two"'), "Expected a whole number"),
        (('name = "random"', 'name = "loud_1"'), "names 'loud_1' twice"),
        (('name = "corpora"\nkind', 'name = "../corpora"\nkind'), "Expected letters, digits, - and _"),
        (("[[figures]]", "[[figures"), "is no TOML file"),
        (("[[models]]", "[models]"), "is no TOML file"),
        (('cite = ["fu2021maec"]', 'cite = ["fu2021mae"]'), "Did you mean 'fu2021maec'?"),
    ],
)
def test_bad_plans_are_refused(tmp_path: Path, change: tuple[str, str], said: str):
    text = PLAN.replace("{root}", "")
    assert change[0] in text
    assert said in refused(text.replace(*change), tmp_path)


def test_what_a_plan_lacks_is_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SERBENCH_ROOT_TABLE", raising=False)
    text = PLAN.replace("{root}", "")
    assert "Type --root table=FOLDER, or set SERBENCH_ROOT_TABLE" in refused(text, tmp_path)
    assert "where there is nothing" in refused(text, tmp_path, "--root", "table=/nowhere")
    assert "unknown corpus of --root 'tabel'" in refused(text, tmp_path, "--root", f"tabel={root}")
    with_file = text.replace("feature=level", "feature={f}") + '\n[[files]]\nname = "f"\nmake = "serbench words"\n'
    lacking = refused(with_file, tmp_path, "--root", f"table={root}")
    assert "Type --file f=PATH. To make it, type: serbench words." in lacking
    assert "unknown plan 'maek'. Did you mean 'maec'?" in str(CliRunner().invoke(app, ["paper", "maek"]).exception)
    both = refused(text, tmp_path, "--rehearse", "--root", f"table={root}")
    assert "Leave --root or --rehearse out" in both


def test_two_rows_of_one_run_are_refused(root: Path, tmp_path: Path):
    text = PLAN.replace("{root}", f'root = "{root}"').replace('model = "linear"', 'model = "chance:random"')
    (tmp_path / "bad.toml").write_text(text.replace('settings = ["model.feature=level"]', ""))
    done = CliRunner().invoke(app, ["paper", str(tmp_path / "bad.toml"), "--results", str(tmp_path / "r")])
    assert "'Loud_1' and 'random' of the plan are one and the same run" in str(done.exception)
