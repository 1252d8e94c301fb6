"""Scores of prediction tables, against the same computed by hand from scikit-learn and audmetric."""

from __future__ import annotations

import audmetric
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.results.scores.scoring import confusion_table, dev_score, not_finite, score_predictions

LABELS = ("anger", "neutral", "sadness")
EMOTION = Task("emotion", "classification", ("emotion",), labels=LABELS)
VALUES = Task("attributes", "regression", ("arousal", "valence"), scales={"arousal": (1, 7), "valence": (1, 7)})
VALENCE = Task("valence", "regression", ("valence",), scales={"valence": (1, 7)})
TRACE = Task("trace", "continuous", ("arousal",), scales={"arousal": (-1, 1)}, frame_seconds=0.1)


def class_table(n: int = 120, trials: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    gold = rng.choice(LABELS, n)
    parts = [
        pd.DataFrame(
            {
                "id": [f"u{i}" for i in range(n)],
                "subset": np.arange(n) % 4,
                "gold": gold,
                "trial": trial,
                "predicted": np.where(rng.random(n) < 0.6, gold, rng.choice(LABELS, n)),
            }
        )
        for trial in range(trials)
    ]
    return pd.concat(parts, ignore_index=True)


def value_table(n: int = 80, trials: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    gold = rng.uniform(1, 7, (n, 2))
    parts = []
    for trial in range(trials):
        predicted = 0.5 * gold + rng.normal(2, 1, (n, 2))
        columns = {"id": [f"u{i}" for i in range(n)], "subset": np.arange(n) % 4, "trial": trial}
        for k, target in enumerate(VALUES.targets):
            columns |= {f"gold_{target}": gold[:, k], f"pred_{target}": predicted[:, k]}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def trace_table() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    parts = []
    for number, frames in enumerate((40, 25, 60, 10)):
        gold = rng.normal(number / 5, 0.3, frames)
        predicted = 0.5 * gold + rng.normal(0, 0.1, frames)
        parts.append(
            pd.DataFrame(
                {
                    "id": f"r{number}",
                    "subset": number % 2,
                    "frame": range(frames),
                    "trial": 0,
                    "gold_arousal": gold,
                    "pred_arousal": predicted,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def value(scores: pd.DataFrame, **key: object) -> float:
    found = scores
    for column, wanted in key.items():
        found = found[found[column] == wanted]
    assert len(found) == 1
    return float(found["value"].iloc[0])


def test_classification_scores() -> None:
    table = class_table()
    scores = score_predictions(table, EMOTION)
    assert list(scores.columns) == ["trial", "subset", "target", "metric", "value", "n"]
    assert len(scores) == 2 * 4 * 4
    assert set(scores["n"]) == {30}
    part = table[(table["trial"] == 1) & (table["subset"] == 3)]
    expected = {
        "UAR": sk.balanced_accuracy_score(part["gold"], part["predicted"]),
        "WA": sk.accuracy_score(part["gold"], part["predicted"]),
        "macroF1": sk.f1_score(part["gold"], part["predicted"], average="macro"),
        "weightedF1": sk.f1_score(part["gold"], part["predicted"], average="weighted"),
    }
    for metric, wanted in expected.items():
        got = value(scores, trial=1, subset=3, target="emotion", metric=metric)
        assert got == pytest.approx(wanted, abs=1e-12)


def test_class_indices_and_class_names_score_alike() -> None:
    table = class_table()
    coded = table.assign(**{c: table[c].map(LABELS.index) for c in ("gold", "predicted")})
    pd.testing.assert_frame_equal(score_predictions(coded, EMOTION), score_predictions(table, EMOTION))


def test_regression_scores_and_the_mean_target() -> None:
    table = value_table()
    scores = score_predictions(table, VALUES)
    assert len(scores) == 2 * 4 * 3 * 3
    part = table[(table["trial"] == 0) & (table["subset"] == 2)]
    expected = {"CCC": audmetric.concordance_cc, "PCC": audmetric.pearson_cc, "RMSE": sk.root_mean_squared_error}
    for metric, function in expected.items():
        by_target = {t: function(part[f"gold_{t}"], part[f"pred_{t}"]) for t in VALUES.targets}
        for target, wanted in (*by_target.items(), ("mean", np.mean(list(by_target.values())))):
            got = value(scores, trial=0, subset=2, target=target, metric=metric)
            assert got == pytest.approx(wanted, abs=1e-9)
    assert "mean" not in set(score_predictions(table, VALENCE)["target"])


def test_continuous_scores_are_over_concatenated_frames() -> None:
    table = trace_table()
    scores = score_predictions(table, TRACE)
    part = table[table["subset"] == 1]
    assert value(scores, subset=1, metric="CCC") == pytest.approx(
        audmetric.concordance_cc(part["gold_arousal"], part["pred_arousal"]), abs=1e-9
    )
    each = [audmetric.concordance_cc(g["gold_arousal"], g["pred_arousal"]) for _, g in part.groupby("id")]
    assert abs(value(scores, subset=1, metric="CCC") - np.mean(each)) > 0.01
    assert set(scores[scores["subset"] == 0]["n"]) == {100}


def test_frames_without_a_label_are_not_counted() -> None:
    table = trace_table()
    table.loc[table["id"].eq("r1") & table["frame"].lt(5), "gold_arousal"] = np.nan
    scores = score_predictions(table, TRACE)
    labelled = table[table["subset"].eq(1) & table["gold_arousal"].notna()]
    assert set(scores[scores["subset"] == 1]["n"]) == {30}
    assert value(scores, subset=1, metric="CCC") == pytest.approx(
        audmetric.concordance_cc(labelled["gold_arousal"], labelled["pred_arousal"]), abs=1e-9
    )
    values = value_table()
    values.loc[values["subset"].eq(2) & values["id"].eq("u2"), "gold_valence"] = np.nan
    scores = score_predictions(values, VALUES)
    counts = scores[scores["subset"].eq(2)].groupby("target")["n"].unique().map(list).to_dict()
    assert counts == {"arousal": [20], "valence": [19], "mean": [19]}


def test_row_order_does_not_matter() -> None:
    for table, task in ((class_table(), EMOTION), (value_table(), VALUES)):
        shuffled = table.sample(frac=1, random_state=3)
        pd.testing.assert_frame_equal(score_predictions(shuffled, task), score_predictions(table, task), rtol=1e-12)


@pytest.mark.filterwarnings("error")
def test_one_class_in_a_subset_and_a_prediction_that_is_nan_are_scored_without_warning() -> None:
    table = class_table()
    table.loc[table["subset"].eq(0), "gold"] = "anger"
    scores = score_predictions(table, EMOTION)
    part = table[table["subset"].eq(0) & table["trial"].eq(0)]
    assert value(scores, trial=0, subset=0, metric="UAR") == pytest.approx((part["predicted"] == "anger").mean())
    values = value_table()
    values.loc[0, "pred_valence"] = np.nan
    scores = score_predictions(values, VALUES)
    undefined = scores[scores["value"].isna()]
    assert set(zip(undefined["trial"], undefined["subset"], undefined["target"], strict=True)) == {
        (0, 0, "valence"),
        (0, 0, "mean"),
    }
    assert not_finite(values) == 1


def test_bad_tables_are_refused_in_words() -> None:
    table = class_table()
    with pytest.raises(SerbenchError, match=r"lack the column\(s\) predicted"):
        score_predictions(table.drop(columns="predicted"), EMOTION)
    with pytest.raises(SerbenchError, match="more than once in a trial, such as 'u0'"):
        score_predictions(pd.concat([table, table.head(1)]), EMOTION)
    with pytest.raises(SerbenchError, match=r"'joy'\. Expected a class of 'emotion': anger, neutral, sadness"):
        score_predictions(table.assign(predicted="joy"), EMOTION)
    with pytest.raises(SerbenchError, match="'u4' has no subset"):
        score_predictions(table.assign(subset=table["subset"].astype("Float64").where(table["id"] != "u4")), EMOTION)


def test_confusion_counts_all_trials() -> None:
    table = class_table()
    counts = confusion_table(table, EMOTION)
    assert np.array_equal(counts, sk.confusion_matrix(table["gold"], table["predicted"], labels=list(LABELS)))
    assert (counts.index.name, counts.columns.name) == ("gold", "predicted")
    assert list(counts.index) == list(LABELS)


def test_dev_score_of_classes_is_the_uar_of_the_highest_score() -> None:
    rng = np.random.default_rng(4)
    labels, scores = rng.integers(0, 3, 90), rng.dirichlet(np.ones(3), 90)
    assert dev_score(EMOTION)(labels, scores) == pytest.approx(
        sk.balanced_accuracy_score(labels, scores.argmax(axis=1)), abs=1e-12
    )


def test_dev_score_of_values_is_the_mean_ccc() -> None:
    rng = np.random.default_rng(5)
    gold = rng.normal(size=(50, 2))
    predicted = gold + rng.normal(size=(50, 2))
    expected = np.mean([audmetric.concordance_cc(gold[:, k], predicted[:, k]) for k in range(2)])
    assert dev_score(VALUES)(gold, predicted) == pytest.approx(expected, abs=1e-9)
    flat = np.full((5, 2), 4.0)
    assert dev_score(VALUES)(flat, flat) == 0


def test_dev_score_of_traces_concatenates_recordings_and_masks_unlabelled_frames() -> None:
    rng = np.random.default_rng(6)
    gold = [rng.normal(size=(n, 1)) for n in (20, 35)]
    predicted = [g + rng.normal(size=g.shape) for g in gold]
    gold[0][:4] = np.nan
    flat_gold, flat_predicted = np.concatenate(gold)[4:, 0], np.concatenate(predicted)[4:, 0]
    assert dev_score(TRACE)(gold, predicted) == pytest.approx(
        audmetric.concordance_cc(flat_gold, flat_predicted), abs=1e-9
    )


def test_dev_score_refuses_what_it_can_not_score() -> None:
    labels = np.array([0, 1, 2])
    with pytest.raises(SerbenchError, match="1 of 3 dev predictions are NaN"):
        dev_score(EMOTION)(labels, np.array([[1, 0, 0], [np.nan, 0, 1], [0, 1, 0]]))
    with pytest.raises(SerbenchError, match="3 rows of 3"):
        dev_score(EMOTION)(labels, np.ones((3, 2)))
    with pytest.raises(SerbenchError, match="no dev labels"):
        dev_score(EMOTION)(labels[:0], np.ones((0, 3)))
    with pytest.raises(SerbenchError, match=r"\(4, 1\) and \(5, 1\) at recording 1"):
        dev_score(TRACE)([np.zeros((3, 1)), np.zeros((4, 1))], [np.zeros((3, 1)), np.zeros((5, 1))])
    with pytest.raises(SerbenchError, match="2 and 1 recordings"):
        dev_score(TRACE)([np.zeros((3, 1)), np.zeros((4, 1))], [np.zeros((3, 1))])
