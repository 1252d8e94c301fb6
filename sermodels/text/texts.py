"""Texts of utterances: the corpus's transcripts, or a CSV file such as `serbench words transcribe` writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest


def own_texts(items: pd.DataFrame) -> list[str]:
    """The transcript of each item; empty where there is none."""
    texts = items["text"] if "text" in items else pd.Series(pd.NA, items.index)
    return [str(text).strip() if known else "" for text, known in zip(texts, texts.notna(), strict=True)]


def read_texts(path: str) -> pd.DataFrame:
    """Columns text and source of a CSV file, indexed by item.

    Raises
    ------
    SerbenchError
        When there is no such file, or it lacks a column.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise SerbenchError(f"there is no file {path!r}. Expected a CSV file with the columns item and text.")
    table = pd.read_csv(file, dtype=str, keep_default_na=False)
    if lacking := {"item", "text"} - set(table.columns):
        raise SerbenchError(f"{path!r} lacks the column {sorted(lacking)[0]!r}. Expected the columns item and text.")
    told = table.drop_duplicates("item").set_index("item")
    return told.reindex(columns=["text", "source"])


def file_digest(path: str) -> str:
    """Of the texts in a file; empty where none is named."""
    return digest(read_texts(path).to_csv()) if path else ""
