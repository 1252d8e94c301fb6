"""Which turns a model hears beside an item: none, its two context turns, or its whole dialogue (`uses_context`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...datasets.schema.corpus import Corpus
from .sermodel import DIALOGUE, SERModel


def context_turns(corpus: Corpus, ids: Sequence[str], context: bool | str) -> list[str]:
    """Ids of the context turns of some utterances, or of all turns of their dialogues; one may occur several times."""
    table = corpus.utterances
    if context == DIALOGUE:
        names = table.loc[list(ids), "dialogue"].dropna().unique()
        return [str(i) for i in table.index[table["dialogue"].isin(list(names))]]
    turns = table.loc[list(ids), ["previous", "interlocutor"]]
    return [str(i) for column in turns for i in turns[column].dropna()]


def widest(models: Iterable[type[SERModel]]) -> bool | str:
    """What several models together hear beside an item."""
    wanted = [model.uses_context for model in models]
    return DIALOGUE if DIALOGUE in wanted else any(wanted)
