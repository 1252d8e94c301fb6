"""docs/results.md, made from the records under docs/results: every number on the page is computed from predictions.

    python tests/results_page.py                     write the page
    python tests/results_page.py --check             status 1 unless the page is what would be written
    python tests/results_page.py --take NAME FOLDER  make docs/results/NAME of the runs of results folders first

Records are taken as `serbench export` packs them: without sound, paths of a machine and class scores.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from serbench.benchmarks.studies.curve import FOLDER as CURVE
from serbench.datasets.core.files import canonical_json, checksum, write_text
from serbench.results.calibration.table import calibration, table as calibration_table
from serbench.results.curves.table import LAW_NOTE, NOTE, Point, learning_curve
from serbench.results.display.numbers import interval, number
from serbench.results.display.table import Table, to_markdown
from serbench.results.groups.gaps import Resamples
from serbench.results.groups.table import fairness, tables as fairness_tables
from serbench.results.record.folder import Run, load_runs
from serbench.results.record.identity import short_names
from serbench.results.record.sharing import export_run, merge
from serbench.results.record.storage import read_json
from serbench.results.record.stressed import folder as stress_folder, stressed
from serbench.results.report.board import leaderboard_table, pair_table
from serbench.results.report.data import Ranking, gather
from serbench.results.stress.robustness import between
from serbench.results.stress.table import AREA_NOTE, Robustness, between_table, robustness
from serbench.results.tables import references
from serbench.results.tables.leaderboard import leaderboard, write_leaderboard
from serbench.results.tables.matrix import matrix, stars

ROOT = Path(__file__).parents[1]
RECORDS, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "results.md"
HEAD = """# Results

Every number on this page is computed from the predictions under `docs/results/` by `python tests/results_page.py`; a
test makes the page again and compares. `serbench leaderboard --verify --results docs/results/NAME` says whether the
leaderboard of a folder there follows from its predictions. The commands above a table make its records.

`linear` and `svm` take eGeMAPS functionals and are deterministic: they are trained once a fold, and their other trials
are copies that say so. `probe` stands on the encoder of Whisper base, fed in windows of ten seconds
(`docs/transformers.md`). Letters, intervals and p are explained below each table, and in `docs/statistics.md`.

Speech is real but for the demo corpus, whose voices are synthetic. The records hold names and labels of utterances and
no sound. RAVDESS is CC BY-NC-SA 4.0, EMO-DB CC0.
"""
PARTS = {
    "emodb-pairs": (
        "EMO-DB, leave one speaker pair out",
        "535 utterances, 10 speakers, 7 emotions; the corpus's default split: 5 folds, one of a man and a woman each. "
        "The ensemble is one trial, the mean of five; the fusion's weights are chosen on dev in each training.",
    ),
    "emodb-relatives": (
        "EMO-DB, leave one speaker pair out: the systems that the papers stand on",
        "The same folds and items. `docs/models.md` describes these models; here they are trained once, in their "
        "presets for processors. `text` is refused, since the same sentences stand in training and in test.",
    ),
    "demo-relatives": (
        "Demo corpus: the systems that the papers stand on",
        "Synthetic utterances in dialogues, 4 emotions: the table shows that the path works, not which model is "
        "better on speech. `docs/models.md` says what each takes. `late-fusion` weighs two runs on dev.",
    ),
    "emodb-beyond": (
        "EMO-DB, leave one speaker pair out: what the score hides",
        "The same folds and items, one training of each model, its weights kept (`--save-models`). "
        "`docs/beyond_the_mean.md` says how each table is read, and when not to. Figures of perturbed audio "
        "come from records that lie beside those of clean audio.",
    ),
    "emodb-speakers": (
        "EMO-DB, leave one speaker out",
        "The split that most papers take: 10 folds. There is more to train on than with pairs.",
    ),
    "emodb-emobox": (
        "EMO-DB, the folds of EmoBox",
        "5 folds of which each holds all ten speakers in training and in test: the label `leak:speaker` says so. How "
        "much that flatters is the distance to the tables above: same models, same utterances. Published rows of the "
        "same folds stand with ours below the ranking, averaged over the folds as they are. `probe:emobox` is the "
        "recipe of those rows to the letter (`docs/transformers.md` says why it gets nowhere here).",
    ),
    "ravdess": (
        "RAVDESS, leave four actors out",
        "1,440 utterances, 24 actors, 8 emotions; the corpus's default split: 6 folds of two men and two women each.",
    ),
    "ravdess-emobox": (
        "RAVDESS, the folds of EmoBox",
        "6 folds by actor too, with other actors together. Published rows of the same folds stand with ours.",
    ),
    "cross": (
        "Across corpora: EMO-DB and RAVDESS",
        "Four emotions that both have. Trained by the folds of the row's corpus, tested on all of the column's.",
    ),
}
BEYOND = "emodb-beyond"
HOW = Resamples(1000)
STRESS_NOTE = (
    "95 % intervals by bootstrap over speakers and trials, 1,000 resamples. *: the drop has p < .05, as the bootstrap "
    f"implies, Holm-adjusted over the levels and kinds of a model. {AREA_NOTE}"
)
PLACES = {"emodb": "<EMO-DB>", "ravdess": "<RAVDESS>"}


def take(name: str, sources: list[Path]) -> None:
    """Bring the runs of results folders into docs/results/NAME, and write its leaderboard."""
    if name not in PARTS:
        raise SystemExit(f"{name!r} is no part of the page. Expected one of {', '.join(PARTS)}.")
    shutil.rmtree(RECORDS / name, ignore_errors=True)
    for part in ("", CURVE) if name == BEYOND else ("",):
        bring(RECORDS / name / part, [source / part for source in sources], class_scores=name == BEYOND and not part)
    write_leaderboard(leaderboard(load_runs(RECORDS / name)), RECORDS / name)


def bring(into: Path, sources: list[Path], class_scores: bool) -> None:
    """Pack the runs of some folders, and unpack them in another."""
    with tempfile.TemporaryDirectory() as folder:
        packed = [
            export_run(run, Path(folder) / f"{run.run_id}.zip", labels=True, class_scores=class_scores)
            for results in sources
            for run in load_runs(results)
            if run.complete_trials() and run.name != "chance:random"  # one chance row will do here
        ]
        merge(packed, into)
        if heard := [one for results in sources for run in load_runs(results) for one in stressed(run)]:
            shutil.rmtree(stress_folder(into))  # without class scores, which nothing here asks of perturbed audio
            small = [
                export_run(one, Path(folder) / f"{one.run_id}.zip", labels=True, class_scores=False) for one in heard
            ]
            merge(small, into)
    for run in load_runs(into):
        for one in (run, *stressed(run)):
            settle(one)


def settle(run: Run) -> None:
    """Leave out what a split's file lists, which is for others to pass on, curves and grids of training, which the page
    does not show, and where a checkpoint lay: the last name of its folder stands for it, as if it had been typed beside
    it, and the run's id follows. Units are one line each."""
    config = json.dumps(run.spec["model"]["config"])
    folders = {path: Path(path).name for path in re.findall(r"(?<![\w.])/[^\s\"]+", config)}

    def clean(value: str) -> Any:
        for path, last in folders.items():
            value = value.replace(path, last)
        return json.loads(value)

    spec = clean(json.dumps(run.spec))
    if "protocol" in spec["arguments"]:  # runs that are made of others have none of their own
        spec["arguments"]["protocol"]["listed"] = ""
    units = {file.name: clean(json.dumps(read_json(file))) for file in run.path.glob("unit-*.json")}
    kept = {file.name: file.read_bytes() for file in run.path.iterdir() if file.name not in {*units, "run.json"}}
    shutil.rmtree(run.path)
    made = Run.create(run.results, spec)
    for file, data in kept.items():
        (made.path / file).write_bytes(data)
    for file, facts in units.items():
        facts.pop("epochs", None)
        facts.get("facts", {}).pop("grid", None)
        write_text(made.path / file, canonical_json({**facts, "checksum": checksum(facts, {})}))


def page() -> str:
    """The page as the records say it."""
    parts = [HEAD]
    for name, (title, about) in PARTS.items():
        runs = load_runs(RECORDS / name) if (RECORDS / name / "runs").is_dir() else []
        if runs:
            parts += [f"## {title}", about, commands(runs)]
            special = {"cross": crossing, BEYOND: beyond}.get(name)
            parts += list(special(runs) if special else within(runs, name))
    return re.sub(r"\n{3,}", "\n\n", "\n\n".join(part.strip("\n") for part in parts)) + "\n"


def commands(runs: list[Run]) -> str:
    """The commands that make the records; chance rows come with each of them."""
    lines = list(dict.fromkeys(command(run) for run in runs if run.spec["model"]["name"] != "chance"))
    return "\n".join(f"    {line}" for line in lines)


def command(run: Run) -> str:
    """The command of a run with its folders named by what is in them."""
    text = str(run.spec["command"])
    for flag, key in (("--root", "dataset"), ("--test-root", "test-dataset")):
        if (found := re.search(rf"--{key} (\S+)", text)) and found[1] in PLACES:
            text = re.sub(rf"{flag} \S+", f"{flag} {PLACES[found[1]]}", text)
    text = re.sub(r"(model\.encoder=(?:random:)?)(\S+)", r"\1<\2>", text).replace("<PATH/", "<")
    trials = len(run.complete_trials())
    if text.startswith("serbench run "):
        text = re.sub(r" --trials \d+", "", text) + ("" if trials == 5 else f" --trials {trials}")
    return re.sub(r"emobox:\S+", "emobox:<EMOBOX>", text)


def within(runs: list[Run], name: str) -> Iterator[str]:
    """Ranking, published rows of the same folds, differences, signatures."""
    for ranking in gather(runs):
        yield from (to_markdown(board(ranking, target, name)) for target in ranking.targets)
        yield published(ranking)
        if pairs := pair_table(ranking, name):
            yield to_markdown(pairs, "####")
        yield "\n".join(f"- {ranking.names[run.run_id]}: `{run.signature}`" for run in ranking.ranked)


def board(ranking: Ranking, target: str, name: str) -> Table:
    """The leaderboard without wall times, which say more about the machine's other work than about a model."""
    table = leaderboard_table(ranking, target, name)
    rows = [{head: cell for head, cell in row.items() if head != "time"} for row in table.rows]
    return replace(
        table, rows=rows, note=re.sub(r" (Grey rows are chance|time: wall time of all trials)\.", "", table.note)
    )


def published(ranking: Ranking) -> str:
    """Published rows of the ranking's own folds with ours among them; nothing where there is none."""
    rows = references.beside(ranking.frame, ranking.runs)
    same = rows[rows["distance"].isin(["same", references.OURS])].copy()
    same.loc[same["distance"].eq(references.OURS), "source"] = "this page"
    return references.to_markdown(same)


def beyond(runs: list[Run]) -> Iterator[str]:
    """Perturbed audio by kind and who is more robust, groups, calibration, signatures."""
    trained = [run for run in runs if run.spec["model"]["name"] != "chance"]
    names = short_names([run.spec for run in trained])
    kept = {name: done for name, run in zip(names, trained, strict=True) if (done := robustness(run, HOW))}
    kinds = list(dict.fromkeys(kind for done in kept.values() for kind in done.areas["kind"]))
    yield f"    serbench stress {' '.join(names)} --dataset emodb --with {','.join(kinds)}"
    yield from (to_markdown(under(kind, kept)) for kind in kinds)
    if (pairs := between_table(between(trained, Resamples(2000)), "")) is not None:
        yield to_markdown(pairs)
    of = f"{' '.join(names)} --dataset emodb"
    yield f"    serbench fairness {of} --by gender\n    serbench calibration {of}"
    gaps = [fairness_tables(fairness(run, ["gender"]))[0] for run in trained]
    surer = [calibration_table(calibration(run)) for run in trained]
    for title, made in (("women and men", gaps), ("calibration", surer)):
        rows = [{"model": name} | row for name, one in zip(names, made, strict=True) for row in one.rows]
        yield to_markdown(replace(made[0], title=f"emodb, emotion: {title}", rows=rows))
    if smaller := load_runs(runs[0].results / CURVE) if (runs[0].results / CURVE).is_dir() else []:
        yield "    serbench curve --model MODEL --dataset emodb --root <EMO-DB> --shares 0.1,0.2,0.5,1 --trials 1"
        yield to_markdown(learning([*smaller, *trained]))
    yield "\n".join(f"- {name}: `{run.signature}`" for name, run in zip(names, trained, strict=True))


def learning(runs: list[Run]) -> Table:
    """Scores over the share of the training set, a row for each model and a column for each share."""
    points = [Point(run, run.name, float(run.spec["protocol"].get("share") or 1), taught(run), 0) for run in runs]
    done = learning_curve([one for one in points if one.run.spec["model"]["name"] != "chance"])
    laws = done.laws.set_index("model")
    rows = []
    for model, part in done.points.sort_values("share").groupby("model", sort=False):
        cells = {
            f"{row['share']:g}": f"{number(row['mean'])}, {interval(row['low'], row['high'])}"
            for row in part.to_dict("records")
        }
        law = laws.loc[model] if model in laws.index else {}
        rows.append({"model": str(model)} | cells | {"EXTRAPOLATED x2": number(law.get("x2", float("nan")))})
    return Table("emodb, emotion: UAR over the share of the training set", rows, f"{NOTE} {LAW_NOTE}")


def taught(run: Run) -> float:
    """Training items of the folds, on average."""
    return float(np.mean([unit["counts"]["train"] for unit in run.units()]))


def under(kind: str, models: dict[str, Robustness]) -> Table:
    """Scores of models under one kind of perturbation, a column for each level."""
    rows = []
    for name, done in models.items():
        levels = done.levels[done.levels["kind"].eq(kind)].to_dict("records")
        area = done.areas[done.areas["kind"].eq(kind)].iloc[0]
        cells = {
            str(row["level"] if row["level"] == "clean" else f"{row['level']} {row['unit']}"): number(row["score"])
            + ("" if row["level"] == "clean" else stars(row["p_bootstrap_holm"]))
            + f", {interval(row['low'], row['high'])}"
            for row in levels
        }
        rows.append(
            {"model": name} | cells | {"area": f"{number(area['area'])}, {interval(area['low'], area['high'])}"}
        )
    return Table(f"emodb, emotion: UAR under {kind}", rows, STRESS_NOTE)


def crossing(runs: list[Run]) -> Iterator[str]:
    """A matrix for each model: rows trained on, columns tested on."""
    frame = matrix(runs)
    for (model, metric), part in frame.groupby(["model", "metric"], sort=False):
        part = part.sort_values(["trained_on", "tested_on"])
        cells = [
            {"trained on": trained} | {f"tested on {row['tested_on']}": cell(row) for row in group.to_dict("records")}
            for trained, group in part.groupby("trained_on")
        ]
        note = (
            "95 % intervals. Drop against training on the tested corpus itself: * p < .05, ** p < .01, *** p < .001 "
            "(crossed t-test, Holm-adjusted)."
        )
        yield to_markdown(Table(f"{model}, {part['task'].iloc[0]}: {metric}", cells, note))
        rows = part.to_dict("records")
        yield "\n".join(f"- {row['trained_on']} > {row['tested_on']}: `{row['signature']}`" for row in rows)


def cell(row: dict[str, float]) -> str:
    """Mean, interval and drop of one cell."""
    text = f"{number(row['mean'])} ({number(row['low'])}..{number(row['high'])})"
    return text if pd.isna(row["drop"]) else f"{text}, drop {number(row['drop'])}{stars(row['p_holm'])}"


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--take", nargs="+", metavar=("NAME", "FOLDER"))
    asked = parser.parse_args()
    if asked.take:
        take(asked.take[0], [Path(folder) for folder in asked.take[1:]])
    text = page()
    if asked.check and PAGE.read_text(encoding="utf-8") != text:
        sys.exit("docs/results.md is not what the records say. Type: python tests/results_page.py")
    if not asked.check:
        write_text(PAGE, text)


if __name__ == "__main__":
    main()
