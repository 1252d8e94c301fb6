"""Context of a turn: the speaker's previous turn and the interlocutor's last one, from the dialogue's own clock.

Built from all turns, labelled or not, since a turn that no task uses still is what the other person answered to. With
more than two speakers, the interlocutor's last turn is the last one by anybody else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

Positions = npt.NDArray[np.int64]
Times = npt.NDArray[np.float64]
ORDER = ("dialogue_start", "dialogue_end", "turn")


def add_context(table: pd.DataFrame, *, ended_before: bool = False, order: Sequence[str] = ORDER) -> pd.DataFrame:
    """Fill `previous` and `interlocutor` from all turns of each dialogue, before any label filtering.

    Turns are ordered by (dialogue_start, dialogue_end) where known, else by `turn`; `order=("turn",)` is for corpora
    whose times can't be trusted. By default a context turn is one that comes before the current one in that order (it
    started before); with `ended_before` (safe for online use) one that also ended by the time the current one starts.
    Turns whose speaker is unknown neither have nor are context.
    """
    table = table.copy()
    known = table[table["dialogue"].notna() & table["speaker"].notna()]
    known = known.assign(_dialogue=pd.factorize(known["dialogue"])[0])
    ordered = known.sort_values(["_dialogue", *order], kind="stable")
    dialogue, speaker = ordered["_dialogue"].to_numpy(), pd.factorize(ordered["speaker"])[0]
    if ended_before:
        start, end = ordered["dialogue_start"].to_numpy(), ordered["dialogue_end"].to_numpy()
        own, other = _last_ended(dialogue, speaker, start, end)
    else:
        own, other = _last_started(dialogue, speaker)
    for column, position in (("previous", own), ("interlocutor", other)):
        there = position >= 0
        ids = pd.Series(ordered.index[position[there]], ordered.index[there], dtype="string")
        table[column] = ids.reindex(table.index)
    return table


def _last_started(dialogue: Positions, speaker: Positions) -> tuple[Positions, Positions]:
    """Positions of the last earlier row of the dialogue by the same speaker, and by another one (-1: none)."""
    rows = np.arange(len(dialogue))
    own = pd.Series(rows).groupby([dialogue, speaker]).shift(1, fill_value=-1).to_numpy()
    opens = np.ones(len(rows), dtype=bool)  # first row of a dialogue
    opens[1:] = dialogue[1:] != dialogue[:-1]
    turns = opens.copy()  # first row of an unbroken run of one speaker: the row before it is the other's
    turns[1:] |= speaker[1:] != speaker[:-1]
    run = np.maximum.accumulate(np.where(turns, rows, 0)) if len(rows) else rows
    return own, np.where(opens[run], -1, run - 1)


def _last_ended(dialogue: Positions, speaker: Positions, start: Times, end: Times) -> tuple[Positions, Positions]:
    """The same among rows that ended by the current row's start; an unknown time excludes nothing."""
    own, other = np.full(len(dialogue), -1), np.full(len(dialogue), -1)
    starts = np.where(np.isnan(start), np.inf, start).tolist()
    ends = np.where(np.isnan(end), -np.inf, end).tolist()
    said: dict[int, list[int]] = {}  # speaker -> rows of the dialogue so far
    for row, (begun, who) in enumerate(zip(dialogue.tolist(), speaker.tolist(), strict=True)):
        if row == 0 or begun != dialogue[row - 1]:
            said = {}
        heard = {name: next((r for r in reversed(rows) if ends[r] <= starts[row]), -1) for name, rows in said.items()}
        own[row] = heard.pop(who, -1)
        other[row] = max(heard.values(), default=-1)
        said.setdefault(who, []).append(row)
    return own, other
