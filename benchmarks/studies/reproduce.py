"""Published rows made again: which can be run here, and how far ours lie from the printed numbers.

A row of `results/tables/references.csv` can be run where it holds a recipe: the fields of a `Grid` as JSON, with those
of its protocol under "protocol", and {folds} and {weights} for the folder of published fold files and for the
checkpoint that the row takes. What lies here is said by the user (`Places`); nothing is downloaded.

A published number is one training. It is inside the spread of ours where one more training of ours would lie with 95 %
confidence: mean ± t(n - 1) sd sqrt(1 + 1/n) over n trials, and never less than the rounding of the print. The spread is
that of seeds alone; it says whether the two differ by more than luck in training, not whether one is better.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ...datasets.core.config import from_dict
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.reading.load import needs_root, root_variable
from ...features.encoders.checkpoint import locate
from ...results.display.numbers import interval, number
from ...results.display.table import Table, records
from ...results.record.folder import Run
from ...results.scores.scoring import score_predictions
from ...results.tables.over_folds import over_folds
from ...results.tables.references import OVER_FOLDS, references
from ..grid.execution import Execution
from ..grid.grid import run_grid
from ..protocol.protocol import Protocol
from ..protocol.request import Grid

FOLDS, WEIGHTS = "SERBENCH_FOLDS", "SERBENCH_WEIGHTS"
"""Environment: the folder of published fold files, and one that holds checkpoints by the last part of their name."""
ROUNDING = 5e-5
"""Half of the last digit of percentages with two decimals."""
KEY = ["dataset", "task", "model", "source"]
COLUMNS = ("metric", "target", "published", "ours", "sd", "trials", "low", "high", "difference", "verdict")


@dataclass(frozen=True)
class Places:
    """Where things lie here.

    Attributes
    ----------
    roots : dataset -> folder; else the variable of `root_variable`
    folds : folder of published fold files; else the variable SERBENCH_FOLDS
    weights : checkpoint -> folder; else a folder of its last name in SERBENCH_WEIGHTS, else the Hugging Face cache
    """

    roots: Mapping[str, str] = field(default_factory=dict)
    folds: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)

    def root(self, dataset: str) -> str | None:
        """The corpus's folder, or None."""
        return self.roots.get(dataset) or os.environ.get(root_variable(dataset))

    def fold_files(self) -> str | None:
        """The folder of fold files, or None."""
        return self.folds or os.environ.get(FOLDS)

    def checkpoint(self, name: str) -> str | None:
        """A checkpoint as `model.encoder` takes it, or None where it does not lie here."""
        shelf = os.environ.get(WEIGHTS)
        on_shelf = Path(shelf).expanduser() / name.rpartition("/")[2] if shelf else None
        given = self.weights.get(name) or (str(on_shelf) if on_shelf and on_shelf.is_dir() else name)
        try:
            locate(given)
        except SerbenchError:
            return None
        return given


def reproducible(places: Places | None = None, dataset: str | None = None) -> pd.DataFrame:
    """The published rows with a recipe: name, dataset, task, model, split, average, recipe, weights, source, `missing`
    (what does not lie here, in words; empty where the row can be run), and `published` (the printed rows)."""
    places = places or Places()
    table = references(dataset)
    found, rows = dict[str, str | None](), []
    for key, group in table[table["recipe"].ne("")].groupby(KEY, sort=False):
        first = group.iloc[0]
        about = {column: str(first[column]) for column in ("split", "average", "recipe", "weights")}
        if about["weights"] and about["weights"] not in found:
            found[about["weights"]] = places.checkpoint(about["weights"])
        missing = "; ".join(_missing(str(first["dataset"]), about, places, found))
        name = f"{first['dataset']}/{str(first['model']).partition(' frozen')[0]}"
        rows.append({"name": name, **dict(zip(KEY, key, strict=True)), **about, "missing": missing, "published": group})
    columns = ["name", *KEY, "split", "average", "recipe", "weights", "missing", "published"]
    return pd.DataFrame(rows, columns=columns)


def reproduce(name: str, places: Places, how: Execution, trials: int = 5) -> pd.DataFrame:
    """Run a published row and compare: one row per metric in the columns of `COLUMNS`; `attrs` hold the run and names.

    Raises
    ------
    SerbenchError
        For a name that is no row's, and where something that the row needs does not lie here.
    """
    rows = reproducible(places)
    chosen = rows[rows["name"].str.casefold().eq(name.casefold())]
    if chosen.empty:
        raise unknown("published row that can be run", name, rows["name"].tolist())
    row = records(chosen)[0]
    if row["missing"]:
        raise SerbenchError(f"{row['name']} can't be run here; it lacks {row['missing']}.")
    (run,) = run_grid(grid_of(row, places, trials), how)
    frame = compared(row["published"], scores_of(run, str(row["average"])))
    frame.attrs |= {"name": row["name"], "source": row["source"], "run": run.path, "signature": run.signature}
    return frame


def grid_of(row: Mapping[str, Any], places: Places, trials: int) -> Grid:
    """The grid of a row's recipe, with what lies here put into its texts."""
    put = {"folds": places.fold_files(), "weights": places.checkpoint(row["weights"]) if row["weights"] else ""}
    fields = _filled(json.loads(row["recipe"]), {key: text or "" for key, text in put.items()})
    protocol = from_dict(Protocol, fields.pop("protocol", {}))
    grid = Grid(dataset=row["dataset"], task=row["task"], trials=trials, protocol=protocol, **fields)
    root = places.root(row["dataset"])
    return grid if root is None else replace(grid, root=root)


def scores_of(run: Run, average: str) -> pd.DataFrame:
    """Scores of the complete trials as a published row averages them: trial, target, metric, value."""
    if average == OVER_FOLDS:
        return over_folds(run)
    pooled = score_predictions(run.scored_predictions().assign(subset=0), run.task)
    return pooled[["trial", "target", "metric", "value"]]


def compared(published: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Printed values beside the spread of ours; verdict "inside", "outside", or "one trial has no spread"."""
    rows = []
    for target, metric, value in published[["target", "metric", "value"]].itertuples(index=False):
        mine = scores.loc[scores["target"].eq(target) & scores["metric"].eq(metric), "value"].to_numpy(dtype=np.float64)
        if not len(mine):
            continue
        n, mean = len(mine), float(np.mean(mine))
        sd = float(np.std(mine, ddof=1)) if n > 1 else float("nan")
        half = max(float(stats.t.ppf(0.975, n - 1)) * sd * (1 + 1 / n) ** 0.5, ROUNDING) if n > 1 else float("nan")
        inside = "inside" if abs(value - mean) <= half else "outside"
        verdict = inside if n > 1 else "one trial has no spread"
        rows.append((metric, target, value, mean, sd, n, mean - half, mean + half, mean - value, verdict))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def lines(rows: pd.DataFrame) -> Iterator[str]:
    """The rows that can be run, two lines each: name, split and printed values; what is lacking."""
    for row in rows.to_dict("records"):
        printed = ", ".join(f"{p['metric']} {number(p['value'], '.4f')}" for p in row["published"].to_dict("records"))
        yield f"{row['name']}: {printed} ({row['split']})"
        yield f"  lacks {row['missing']}" if row["missing"] else "  can be run here"


def comparison(frame: pd.DataFrame) -> Table:
    """What `reproduce` found, as a table."""
    rows = [
        {
            "metric": row["metric"],
            "published": number(row["published"], ".4f"),
            "ours": number(row["ours"], ".4f"),
            "sd": number(row["sd"], ".4f"),
            "trials": str(row["trials"]),
            "ours - published": number(row["difference"], "+.4f"),
            "one more training": interval(row["low"], row["high"], ".4f"),
            "published is": row["verdict"],
        }
        for row in frame.to_dict("records")
    ]
    note = "one more training: where it would lie with 95 % confidence, by the spread of our trials' seeds."
    return Table(f"{frame.attrs['name']}: {frame.attrs['source']}", rows, note)


def _missing(dataset: str, about: Mapping[str, str], places: Places, found: Mapping[str, str | None]) -> list[str]:
    """What a row needs and does not lie here, with what to type."""
    lacks = []
    root, folds = places.root(dataset), places.fold_files()
    if needs_root(dataset) and not (root and Path(root).expanduser().exists()):
        lacks.append(f"the corpus (--root {dataset}=FOLDER)")
    if "{folds}" in about["recipe"] and not (folds and Path(folds).expanduser().is_dir()):
        lacks.append("the fold files (--folds FOLDER)")
    if about["weights"] and found[about["weights"]] is None:
        lacks.append(f"the weights (--weights {about['weights']}=FOLDER)")
    return lacks


def _filled(value: Any, texts: Mapping[str, str]) -> Any:
    """Nested values with {folds} and {weights} replaced."""
    if isinstance(value, str):
        for key, text in texts.items():
            value = value.replace(f"{{{key}}}", text)
        return value
    if isinstance(value, Mapping):
        return {key: _filled(item, texts) for key, item in value.items()}
    return value
