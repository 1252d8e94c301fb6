"""Single raters' answers about the test items of a run, where their corpus keeps them.

`ratings.parquet` lies once in a run folder, a row for each answer: id, rater (missing where names are not kept),
weight, and `answer` (a class of the task; missing for any other) or a column per target. `ratings.json` holds its
digest, and whether the task's own labels say what was intended rather than what raters heard. These are labels:
exports leave them out with the gold labels. Records from before there were ratings lack the files; repeating the
run's command adds them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_json
from .run import Run
from .storage import join_parquet, read_json, read_verified, write_parquet

FILES = ("ratings.json", "ratings.parquet")


@dataclass(frozen=True)
class Ratings:
    """Answers, and whether gold labels are what was intended (then raters are not behind them)."""

    table: pd.DataFrame
    intended: bool = False


def has_ratings(run: Run) -> bool:
    """Whether a record holds answers of single raters."""
    return (run.path / FILES[0]).is_file()


def write_ratings(run: Run, ratings: Ratings) -> None:
    """Leave the answers in a run folder."""
    facts, data = (run.path / name for name in FILES)
    facts.unlink(missing_ok=True)
    write_json(facts, {**write_parquet(data, ratings.table), "intended": ratings.intended})


def read_ratings(run: Run) -> Ratings | None:
    """The answers of a record; None where it holds none.

    Raises
    ------
    SerbenchError
        For damaged files.
    """
    if not has_ratings(run):
        return None
    facts, data = (run.path / name for name in FILES)
    try:
        held = read_json(facts)
        table = join_parquet([(read_verified(data, held), {})], None)
        assert table is not None
        return Ratings(table, bool(held["intended"]))
    except (OSError, ValueError, KeyError) as error:
        raise SerbenchError(
            f"{data} is damaged: {error}. Delete {' and '.join(FILES)} there and repeat the 'serbench run' line of the "
            "record, which writes them again and trains nothing."
        ) from error


def ratings_of(runs: Iterable[Run]) -> Ratings | None:
    """The answers of the first of some runs (of one protocol, so of the same items) that holds any."""
    return next((held for run in runs if (held := read_ratings(run)) is not None), None)
