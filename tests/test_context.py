"""Context turns against the definition written as plain loops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from serbench.datasets.schema.context import add_context


def by_definition(table: pd.DataFrame, ended_before: bool, order: list[str]) -> pd.DataFrame:
    """For every turn: walk back through its dialogue until its own and another speaker's turn is met."""
    result = pd.DataFrame(pd.NA, index=table.index, columns=["previous", "interlocutor"], dtype="string")
    for _, dialogue in table.groupby("dialogue"):
        rows = list(dialogue.sort_values(order, kind="stable").itertuples())
        for i, now in enumerate(rows):
            for past in rows[:i]:
                if ended_before and past.dialogue_end > now.dialogue_start:
                    continue
                result.loc[now.Index, "previous" if past.speaker == now.speaker else "interlocutor"] = past.Index
    return result


def dialogues(seed: int, speakers: int, unknown_times: bool) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    start = rng.integers(0, 20, n) / 2
    end = start + rng.integers(0, 6, n) / 2
    if unknown_times:
        start[rng.random(n) < 0.2], end[rng.random(n) < 0.2] = np.nan, np.nan
    return pd.DataFrame(
        {
            "dialogue": pd.array([f"d{x}" for x in rng.integers(0, 3, n)], dtype="string"),
            "speaker": pd.array([f"s{x}" for x in rng.integers(0, speakers, n)], dtype="string"),
            "dialogue_start": start,
            "dialogue_end": end,
            "turn": rng.permutation(n).astype(float),
        },
        index=[f"u{i}" for i in range(n)],
    )


@pytest.mark.parametrize("ended_before", [False, True])
@pytest.mark.parametrize("order", [["dialogue_start", "dialogue_end", "turn"], ["turn"]])
@pytest.mark.parametrize("seed", range(12))
def test_context_is_what_the_definition_says(seed: int, order: list[str], ended_before: bool) -> None:
    table = dialogues(seed, speakers=1 + seed % 4, unknown_times=seed % 2 == 1)
    got = add_context(table, ended_before=ended_before, order=order)[["previous", "interlocutor"]]
    assert got.notna().any(axis=None) or len(table) < 6
    pd.testing.assert_frame_equal(got, by_definition(table, ended_before, order))


def test_turns_without_a_speaker_or_a_dialogue_have_and_are_no_context() -> None:
    table = pd.DataFrame(
        {
            "dialogue": pd.array(["d", "d", "d", None], dtype="string"),
            "speaker": pd.array(["a", None, "a", "a"], dtype="string"),
            "dialogue_start": [0.0, 1.0, 2.0, 3.0],
            "dialogue_end": [0.5, 1.5, 2.5, 3.5],
            "turn": [0.0, 1.0, 2.0, 3.0],
        },
        index=list("wxyz"),
    )
    got = add_context(table)
    assert got["previous"].fillna("-").tolist() == ["-", "-", "w", "-"]
    assert got["interlocutor"].isna().all()
    assert add_context(table.iloc[:0])["previous"].empty
