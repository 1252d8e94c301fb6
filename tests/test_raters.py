"""Agreement, ceilings, human draws and soft scores, against published tables, other libraries and simulations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pingouin
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import f1_score, log_loss, recall_score

from serbench.datasets.schema.task import Task
from serbench.results.raters import distribution
from serbench.results.raters.agreement import (
    alpha_of_classes,
    alpha_of_values,
    complete_table,
    crossed_reliability,
    reliability,
)
from serbench.results.raters.ceiling import ccc_ceiling, concentration, uar_ceiling
from serbench.results.raters.human import DRAWS, Human, against, human, summary
from serbench.results.raters.run_table import terciles
from serbench.results.raters.votes import Answers, agreement, answers_of, plurality, shares
from serbench.results.record.test_items import Ratings
from serbench.results.scores.metrics import ccc

LABELS = ("anger", "neutral", "sadness")
EMOTION = Task("emotion", "classification", ("emotion",), labels=LABELS)
AROUSAL = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Table 2 of Shrout and Fleiss (1979): six targets by four judges."""


def values(table: np.ndarray) -> Answers:
    """A table (item, rater) of values, NaN where a rater did not answer, as answers."""
    rows = [
        {"id": f"u{i:04d}", "rater": f"r{j}", "weight": 1.0, "arousal": table[i, j]}
        for i, j in np.argwhere(np.isfinite(table))
    ]
    return answers_of(pd.DataFrame(rows), AROUSAL)


def chosen(rows: list[tuple[str, str | None, str | None, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["id", "rater", "answer", "weight"]).astype({"rater": "string"})


def test_alpha_is_that_of_krippendorffs_example() -> None:
    """Three coders, fifteen units, many of them missing (Krippendorff 2011): .691 nominal, .811 interval."""
    n = np.nan
    coders = np.array(
        [
            [n, n, n, n, n, 3, 4, 1, 2, 1, 1, 3, 3, n, 3],
            [1, n, 2, 1, 3, 3, 4, 3, n, n, n, n, n, n, n],
            [n, n, 2, 1, 3, 4, 4, n, 2, 1, 1, 3, 3, n, 4],
        ]
    ).T
    assert alpha_of_values(values(coders), 0) == pytest.approx(0.811, abs=5e-4)
    task = Task("t", "classification", ("t",), labels=("1", "2", "3", "4"))
    rows = [(f"u{i}", f"r{j}", str(int(coders[i, j])), 1.0) for i, j in np.argwhere(np.isfinite(coders))]
    assert alpha_of_classes(answers_of(chosen(rows), task)) == pytest.approx(0.691, abs=5e-4)
    assert np.isnan(alpha_of_values(values(coders[:, :1]), 0)), "one rater does not agree with anybody"


def test_intraclass_correlations_are_those_of_shrout_and_fleiss() -> None:
    answers = values(SHROUT_FLEISS)
    found = reliability(answers.own[:, 0], answers.item)
    table = complete_table(answers, 0)
    assert table is not None
    ours = (found.single, *crossed_reliability(table), found.mean)
    assert ours == pytest.approx((0.17, 0.29, 0.71, 0.44), abs=5e-3)
    long = pd.DataFrame(SHROUT_FLEISS).rename_axis("item").reset_index().melt("item", var_name="rater")
    other = pingouin.intraclass_corr(long, "item", "rater", "value").set_index("Type")["ICC"].tolist()
    assert ours == pytest.approx([other[0], other[1], other[2], other[3]], abs=1e-9)
    assert complete_table(values(np.where(np.eye(6, 4) > 0, np.nan, SHROUT_FLEISS)), 0) is None


def spread_ratings(items: int, most: int, seed: int, between: float = 1.0, within: float = 1.5) -> tuple:
    """True values, and ratings of 2 to `most` raters for each, (item, rater) with NaN."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(4, np.sqrt(between), items)
    table = truth[:, None] + rng.normal(0, np.sqrt(within), (items, most))
    table[np.arange(most) >= rng.integers(2, most + 1, items)[:, None]] = np.nan
    return truth, table


def test_unequal_numbers_of_raters_give_the_planted_reliability() -> None:
    _, table = spread_ratings(20000, 6, 0)
    answers = values(table)
    found = reliability(answers.own[:, 0], answers.item)
    assert (found.between, found.within) == pytest.approx((1.0, 1.5), rel=0.03)
    assert found.single == pytest.approx(1 / 2.5, abs=0.01)
    per = np.isfinite(table).sum(axis=1)
    assert found.raters == pytest.approx(len(per) / (1 / per).sum())
    assert np.isnan(reliability(table[:, 0], np.arange(len(table))).single)


@pytest.mark.parametrize("raters", [2, 5])
def test_the_ceiling_of_ccc_is_reached_and_not_passed(raters: int) -> None:
    rng = np.random.default_rng(raters)
    truth = rng.normal(4, 1, 50000)
    table = truth[:, None] + rng.normal(0, 1.2, (50000, raters))
    found, label = ccc_ceiling(reliability(table.ravel(), np.repeat(np.arange(50000), raters))), table.mean(axis=1)
    assert found.truth == pytest.approx(ccc(label, truth), abs=0.005)
    stretched = [ccc(label, 4 + by * (truth - 4)) for by in np.linspace(0.5, 2.5, 81)]
    assert found.best == pytest.approx(max(stretched), abs=0.005)
    assert found.truth < found.best


def voted(items: int, votes: int, seed: int) -> tuple[np.ndarray, Answers]:
    """What raters would say of items, (item, class), and the votes that were given."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([1.2, 0.9, 0.6], items)
    given = np.array([rng.choice(3, votes, p=row) for row in p])
    rows = [(f"u{i:04d}", None, LABELS[k], 1.0) for i, row in enumerate(given) for k in row]
    return p, answers_of(chosen(rows), EMOTION)


def test_the_ceiling_of_uar_is_what_who_knows_the_distributions_scores() -> None:
    p, answers = voted(3000, 5, 1)
    rng, truth = np.random.default_rng(2), []
    for _ in range(20):
        gold = plurality(rng.multinomial(5, p).astype(float))
        kept = gold >= 0
        truth.append(recall_score(gold[kept], p.argmax(axis=1)[kept], average="macro"))
    ours = uar_ceiling(answers, simulated=20)
    assert ours == pytest.approx(np.mean(truth), abs=0.015)
    plain = [  # shares taken for the distribution: too high
        recall_score(g[g >= 0], shares(answers).argmax(axis=1)[g >= 0], average="macro")
        for g in (plurality(rng.multinomial(5, shares(answers)).astype(float)) for _ in range(20))
    ]
    assert abs(ours - np.mean(truth)) < np.mean(plain) - np.mean(truth)
    assert concentration(answers.total[:, :3]) == pytest.approx(2.7, rel=0.1)


def test_a_human_is_held_against_the_others_and_by_name() -> None:
    """Against the same thing counted by hand: leave a rater out, take the rest's clear plurality."""
    rng = np.random.default_rng(3)
    ids = [f"u{i:03d}" for i in range(120)]
    rows = [
        (i, f"r{j}", str(rng.choice([*LABELS, "other"], p=[0.4, 0.3, 0.2, 0.1])), 1.0) for i in ids for j in range(5)
    ]
    table = chosen(rows)
    table["answer"] = table["answer"].where(table["answer"].ne("other"))
    items = pd.DataFrame({"id": ids, "subset": [k % 2 for k in range(120)]})
    drawn = human(Ratings(table), items, EMOTION)
    assert drawn is not None
    assert drawn.raters == ("r0", "r1", "r2", "r3", "r4")
    scores = drawn.scores().set_index(["trial", "subset"])["value"]
    for k, rater in enumerate(drawn.raters):
        for subset in (0, 1):
            gold, said = [], []
            for item in items.loc[items["subset"].eq(subset), "id"]:
                of = table[table["id"].eq(item)]
                rest = of.loc[of["rater"].ne(rater), "answer"].fillna("other").value_counts()
                if (rest == rest.max()).sum() == 1 and rest.idxmax() != "other":
                    gold.append(rest.idxmax())
                    own = of.loc[of["rater"].eq(rater), "answer"].iloc[0]
                    said.append("none" if pd.isna(own) else own)
            truth = np.mean([np.mean([s == g for s, g in zip(said, gold, strict=True) if g == c]) for c in set(gold)])
            assert scores[k, subset] == pytest.approx(truth)
    assert summary(drawn.scores())["emotion"].n == 10


def test_without_names_raters_are_drawn_for_each_item_and_all_come_up() -> None:
    rng = np.random.default_rng(4)
    table = rng.normal(4, 1, (60, 1)) + rng.normal(0, 1, (60, 4))
    rows = [
        {"id": f"u{i:02d}", "rater": pd.NA, "weight": 1.0, "arousal": table[i, j]} for i in range(60) for j in range(4)
    ]
    items = pd.DataFrame({"id": [f"u{i:02d}" for i in range(60)], "subset": 0})
    drawn = human(Ratings(pd.DataFrame(rows).astype({"rater": "string"})), items, AROUSAL)
    assert drawn is not None
    assert (drawn.raters, drawn.draws) == ((), DRAWS)
    first = drawn.table[drawn.table["id"].eq("u00")]
    assert set(first["pred_arousal"]) == set(table[0])
    rest = (table[0].sum() - first["pred_arousal"]) / 3
    assert np.allclose(first["gold_arousal"], rest)
    assert (drawn.table.groupby("trial").size() == 60).all()


def test_a_drawn_rater_is_right_as_often_as_raters_are() -> None:
    """Of three raters two must agree to be a reference; the one who dissents must not be drawn too often for that."""
    rng = np.random.default_rng(8)
    right = rng.random((4000, 3)) < 0.8
    rows = [(f"u{i}", None, LABELS[0 if r else 1], 1.0) for i, row in enumerate(right) for r in row]
    drawn = human(Ratings(chosen(rows)), pd.DataFrame({"id": [f"u{i}" for i in range(4000)], "subset": 0}), EMOTION)
    assert drawn is not None
    agree = (drawn.table["gold"] == drawn.table["predicted"]).mean()
    both, none = 0.8**3 + 0.2**3, 3 * 0.8 * 0.2 * (0.8 + 0.2)
    assert agree == pytest.approx(both / (both + none / 3), abs=0.02)


def test_one_rater_is_no_second_opinion_but_can_be_held_against_what_was_meant() -> None:
    ids = [f"u{i}" for i in range(30)]
    table = chosen([(i, "r", LABELS[k % 3], 1.0) for k, i in enumerate(ids)])
    items = pd.DataFrame({"id": ids, "subset": 0, "gold": [LABELS[k % 2] for k in range(30)]})
    assert human(Ratings(table), items, EMOTION) is None
    drawn = human(Ratings(table, intended=True), items, EMOTION)
    assert drawn is not None
    truth = recall_score(items["gold"], table["answer"], average="macro", labels=list(LABELS[:2]))
    assert drawn.scores()["value"].tolist() == pytest.approx([truth] * DRAWS)


def test_a_model_is_held_against_the_same_references() -> None:
    """A model that says what the drawn rater says differs by nothing; one that is the mean of all is better."""
    truth, table = spread_ratings(400, 4, 5)
    answers = values(table)
    rows = pd.DataFrame(
        {
            "id": np.array(answers.items)[answers.item],
            "rater": answers.rater,
            "arousal": answers.own[:, 0],
            "weight": 1.0,
        }
    )
    items = pd.DataFrame({"id": answers.items, "subset": np.arange(400) % 4})
    drawn = human(Ratings(rows), items, AROUSAL)
    assert isinstance(drawn, Human)
    copied = drawn.table[["trial", "id", "pred_arousal"]]
    same = against(drawn, copied)["arousal"]
    assert (same.difference, same.p) == (0, 1)
    known = pd.DataFrame({"id": answers.items, "pred_arousal": truth})
    better = against(drawn, pd.concat([known.assign(trial=t) for t in range(3)]))["arousal"]
    assert better.difference > 0.1
    assert better.p < 0.01


def test_votes_of_several_answers_are_shared_and_the_first_is_the_answer() -> None:
    rows = [("a", "r", "neutral", 0.5), ("a", "r", "anger", 0.5), ("a", "s", "anger", 1.0), ("a", "t", None, 1.0)]
    answers = answers_of(chosen(rows), EMOTION)
    assert answers.total.tolist() == [[1.5, 0.5, 0.0, 1.0]]
    assert answers.first.tolist() == [1, 0, 3]
    assert shares(answers).tolist() == [[0.75, 0.25, 0.0]]
    assert agreement(answers, EMOTION).tolist() == [0.5]
    assert plurality(np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 0.0]])).tolist() == [-1, 0, -1]


def test_agreement_of_values_is_the_spread_and_terciles_keep_ties_together() -> None:
    table = np.array([[1.0, 1.0, 1.0], [1.0, 4.0, 7.0], [3.0, 4.0, np.nan], [4.0, np.nan, np.nan]])
    found = agreement(values(table), AROUSAL)
    spread = table[np.isfinite(table)].std()
    assert found[:3] == pytest.approx([0, -3 / spread, -np.sqrt(0.5) / spread])
    assert np.isnan(found[3])
    assert terciles(np.array([0.2, 0.4, 0.6, np.nan])) == ["low", "middle", "high", None]
    assert terciles(np.array([0.4, 0.6, 1.0, 1.0, 1.0])) == ["low", "low", "high", "high", "high"]
    assert set(terciles(np.ones(4))) == {"high"}


def test_soft_scores_are_those_of_other_libraries() -> None:
    rng = np.random.default_rng(6)
    p, q = rng.dirichlet(np.ones(3), 50), rng.dirichlet(np.ones(3), 50)
    assert distribution.soft_cross_entropy(p, q) == pytest.approx(
        sum(log_loss([k], [row], labels=[0, 1, 2]) * w for row, b in zip(p, q, strict=True) for k, w in enumerate(b))
        / 50
    )
    assert distribution.jensen_shannon(p, q) == pytest.approx(np.mean(jensenshannon(p, q, axis=1, base=2) ** 2))
    assert distribution.jensen_shannon(np.eye(3), np.eye(3)[[1, 2, 0]]) == 1
    assert distribution.entropy(q) < distribution.soft_cross_entropy(p, q)
    hard, guess = rng.integers(0, 3, 50), rng.integers(0, 3, 50)
    assert distribution.soft_f1(np.eye(3)[guess], np.eye(3)[hard]) == pytest.approx(
        f1_score(hard, guess, average="macro")
    )
    truth = f1_score(q > 1 / 3, p > 1 / 3, average="macro")
    assert distribution.set_f1(p, q) == pytest.approx(truth)
