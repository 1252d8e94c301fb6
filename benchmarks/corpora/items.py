"""Which items of a corpus a step of `serbench words` works on, and the language that is told beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.corpus import Corpus

KINDS = ("utterances", "recordings", "all")


def chosen_items(corpus: Corpus, kind: str, partitions: Sequence[str] | None = None) -> list[str]:
    """Ids of utterances, recordings or both, of some partitions (None = all)."""
    if kind not in KINDS:
        raise unknown("kind of items", kind, KINDS)
    tables = [corpus.utterances] if kind != "recordings" else []
    if corpus.recordings is not None and kind != "utterances":
        tables.append(corpus.recordings)
    if not tables:
        raise SerbenchError(f"{corpus.name} has no recordings. Type --items utterances.")
    return [str(i) for table in tables for i in _of_partitions(corpus, table, partitions).index]


def _of_partitions(corpus: Corpus, table: pd.DataFrame, partitions: Iterable[str] | None) -> pd.DataFrame:
    if partitions is None:
        return table
    there = sorted(set(table["partition"].dropna()))
    for name in partitions:
        if name not in there:
            raise unknown(f"partition of {corpus.name}", name, there)
    return table[table["partition"].isin(list(partitions)).fillna(False)]


def training_items(corpus: Corpus, partitions: Sequence[str]) -> list[str]:
    """Ids of the utterances that vectors are made from: of the named partitions, else of all but the test ones."""
    table = corpus.utterances
    if partitions:
        return [str(i) for i in _of_partitions(corpus, table, partitions).index]
    tested = table["partition"].str.startswith("test").fillna(False)
    return [str(i) for i in table.index[~tested.to_numpy(dtype=bool)]]


def test_items(corpus: Corpus, partitions: Sequence[str]) -> list[str]:
    """Ids of the utterances that vectors are judged on: of the named partitions, else of the test ones, else all."""
    if partitions:
        return [str(i) for i in _of_partitions(corpus, corpus.utterances, partitions).index]
    left = set(training_items(corpus, ()))
    return [str(i) for i in corpus.utterances.index if str(i) not in left] or sorted(left)


def needed_language(corpus: Corpus, items: Sequence[str], language: str | None) -> str | None:
    """The language that is told of items, which is that of those whose own the corpus does not say.

    Raises
    ------
    SerbenchError
        If the corpus says it of all of them, so that what is told would go unheard.
    """
    if language is None or not items:
        return language
    own = [corpus.row(item).get("language") for item in items]
    if any(pd.isna(one) for one in own):
        return language
    said = ", ".join(sorted({str(one) for one in own}))
    raise SerbenchError(
        f"--language {language} was given, but {corpus.name} says the language of all {len(items)} items ({said}). "
        "Expected it for items without one alone; leave it out."
    )
