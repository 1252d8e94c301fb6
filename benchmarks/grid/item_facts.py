"""What a record keeps of its test items beside the predictions: speaker, dialogue, duration; no labels, no text."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import inside
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.task import Task
from ...results.record.test_items import COLUMNS


def item_table(corpus: Corpus, task: Task, ids: Sequence[str]) -> pd.DataFrame:
    """One row per item: id and the columns of `results._items.COLUMNS` that the corpus has; durations in seconds."""
    rows = corpus.items(task).loc[list(ids)]
    table = pd.DataFrame({"id": [str(i) for i in rows.index]})
    for column in COLUMNS:
        if column in rows:
            table[column] = rows[column].to_numpy()
    return table.assign(duration_seconds=durations(corpus, rows))


def durations(corpus: Corpus, rows: pd.DataFrame) -> list[float]:
    """Seconds of each row: from its segment, its place in the dialogue, or its file's header; NaN where unknown.

    No audio is decoded: of clips that the corpus converts first (`audio_source`) no header is read.
    """
    known = (rows["end"] - rows["start"]).fillna(rows["dialogue_end"] - rows["dialogue_start"])
    return [
        float(seconds) if seconds == seconds else _header_seconds(corpus, str(path))
        for path, seconds in zip(rows["path"], known, strict=True)
    ]


def _header_seconds(corpus: Corpus, path: str) -> float:
    if corpus.audio_source is not None:
        return float("nan")
    import soundfile

    try:
        return float(soundfile.info(inside(corpus.root, path)).duration)
    except (OSError, RuntimeError, SerbenchError):
        return float("nan")
