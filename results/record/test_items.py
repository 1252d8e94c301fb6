"""What a run knows of its test items beside their predictions: speaker, gender, dialogue, duration; no labels, no text.

`items.parquet` lies once in a run folder, one row per test utterance or recording: `id`, and the columns of `COLUMNS`
as far as the corpus has them. `items.json` holds its digest and is written after it. Resampling takes its clusters
from here, and reports their breakdowns by speaker, gender and duration. Records from before there were items lack the
two files; repeating the run's command adds them.

`ratings.parquet` holds what single raters said of them, where the corpus keeps it, a row for each answer: id, rater
(missing where names are not kept), weight, and `answer` (a class of the task; missing for any other) or a column per
target. `ratings.json` holds its digest, and whether the task's own labels say what was intended rather than what raters
heard. These are labels: exports leave them out with the gold labels. Repeating the run's command adds them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...datasets.core.errors import SerbenchError
from .storage import join_parquet, read_json, read_verified, write_parquet, write_record

COLUMNS = ("speaker", "gender", "age", "language", "role", "dialogue", "session", "duration_seconds")
AUTO = ("speaker", "dialogue")
"""Columns that "auto" tries in this order."""
LEAST_CLUSTERS = 5
"""Fewer clusters can't speak for others: "auto" passes them over."""
UTTERANCE = "utterance"


@dataclass(frozen=True)
class Clusters:
    """What is drawn together: `name` of the column (or "utterance"), id -> cluster (None: each id its own), a note."""

    name: str
    of: pd.Series[str] | None
    note: str = ""


def write_items(folder: Path, items: pd.DataFrame) -> None:
    """Write the items of a run folder; `items` has a column id with unique values."""
    if "id" not in items or items["id"].duplicated().any():
        raise SerbenchError("a table of items needs a column 'id' with unique values.")
    (folder / "items.json").unlink(missing_ok=True)
    write_record(folder / "items.json", write_parquet(folder / "items.parquet", items))


def read_items(folder: Path) -> pd.DataFrame | None:
    """The items of a run folder, indexed by id; None when the record has none. Damaged files are a `SerbenchError`."""
    try:
        held = read_json(folder / "items.json")
        table = join_parquet([(read_verified(folder / "items.parquet", held), {})], None)
        assert table is not None
        return table.set_index("id")
    except FileNotFoundError as error:
        if error.filename is None or Path(error.filename).suffix == ".json":
            return None
        raise _damaged_items(folder, error) from error
    except (OSError, ValueError, KeyError) as error:
        raise _damaged_items(folder, error) from error


def _damaged_items(folder: Path, error: Exception) -> SerbenchError:
    return SerbenchError(
        f"{folder / 'items.parquet'} is damaged: {error}. Delete items.json and items.parquet there and repeat the "
        "'serbench run' line of the record, which writes them again and trains nothing."
    )


def choose_clusters(items: pd.DataFrame | None, ids: Sequence[str], by: str = "auto", line: str = "") -> Clusters:
    """Decide what is drawn together.

    Parameters
    ----------
    items : as `read_items` gives them
    ids : ids of the predictions
    by : "auto" (speaker, else dialogue, where known for all ids and at least 5 of them), "utterance", or a column
    line : the command that adds missing items, for the message

    Raises
    ------
    SerbenchError
        When a named column is not there or not known for all ids.
    """
    if by == UTTERANCE:
        return Clusters(UTTERANCE, None)
    wanted = pd.Index(pd.unique(pd.Series(list(ids))))
    if by != "auto":
        return _named(items, wanted, by, line)
    reasons = []
    for column in AUTO:
        values = None if items is None or column not in items else items[column].reindex(wanted)
        if values is None or values.isna().all():
            reasons.append(f"no {column} is known")
        elif values.isna().any():
            reasons.append(f"the {column} of {int(values.isna().sum())} is unknown")
        elif values.nunique() < LEAST_CLUSTERS:
            reasons.append(f"there are only {values.nunique()} {column}s")
        else:
            return Clusters(column, values.astype(str))
    why = "the record holds no items" if items is None else ", ".join(reasons)
    remedy = " (repeating a 'serbench run' line adds them and trains nothing)" if items is None else ""
    return Clusters(
        UTTERANCE,
        None,
        f"utterances are drawn one by one, since {why}{remedy}. This says nothing of "
        "other speakers, and intervals are too narrow where speakers differ.",
    )


def _named(items: pd.DataFrame | None, wanted: pd.Index[str], by: str, line: str) -> Clusters:
    if items is None:
        how = line or "the 'serbench run' line of the record"
        raise SerbenchError(f"--cluster {by}: the record holds no items. To add them, type: {how}")
    there = [column for column in items if items[column].notna().any()]
    if by not in there:
        raise SerbenchError(f"--cluster {by}: expected auto, utterance or one of: {', '.join(map(str, there))}.")
    values = items[by].reindex(wanted)
    if values.isna().any():
        raise SerbenchError(
            f"--cluster {by}: it is unknown for {int(values.isna().sum())} of {len(values)} items. "
            "Type --cluster utterance."
        )
    return Clusters(by, values.astype(str))


RATING_FILES = ("ratings.json", "ratings.parquet")


@dataclass(frozen=True)
class Ratings:
    """Answers, and whether gold labels are what was intended (then raters are not behind them)."""

    table: pd.DataFrame
    intended: bool = False


def has_ratings(folder: Path) -> bool:
    """Whether a record holds answers of single raters."""
    return (folder / RATING_FILES[0]).is_file()


def write_ratings(folder: Path, ratings: Ratings) -> None:
    """Leave the answers in a run folder."""
    facts, data = (folder / name for name in RATING_FILES)
    facts.unlink(missing_ok=True)
    write_record(facts, {**write_parquet(data, ratings.table), "intended": ratings.intended})


def read_ratings(folder: Path) -> Ratings | None:
    """The answers of a record; None where it holds none.

    Raises
    ------
    SerbenchError
        For damaged files.
    """
    if not has_ratings(folder):
        return None
    facts, data = (folder / name for name in RATING_FILES)
    try:
        held = read_json(facts)
        table = join_parquet([(read_verified(data, held), {})], None)
        assert table is not None
        return Ratings(table, bool(held["intended"]))
    except (OSError, ValueError, KeyError) as error:
        raise SerbenchError(
            f"{data} is damaged: {error}. Delete {' and '.join(RATING_FILES)} there and repeat the 'serbench run' line "
            "of the record, which writes them again and trains nothing."
        ) from error


def ratings_of(folders: Iterable[Path]) -> Ratings | None:
    """The answers of the first of some run folders (of one protocol, so of the same items) that holds any."""
    return next((held for folder in folders if (held := read_ratings(folder)) is not None), None)
