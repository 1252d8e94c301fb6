"""Ranks across datasets against scipy, scikit-posthocs, published critical values and Demsar's worked example."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from serbench.datasets.core.errors import SerbenchError
from serbench.results.tables.mean_ranks import (
    across_datasets,
    cliques,
    critical_difference,
    critical_difference_diagram,
    rank_models,
    render_mean_ranks,
)

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning:matplotlib"),  # older ones, of their own parser
]
DEMSAR = -pd.DataFrame(
    {
        "C4.5": [4, 1, 4, 4, 4, 1, 3, 2.5, 4, 2.5, 4, 3, 4, 3],
        "C4.5+m": [3, 2, 1, 1, 2, 2.5, 2, 2.5, 3, 2.5, 2.5, 2, 1, 1],
        "C4.5+cf": [2, 3, 2, 3, 3, 4, 4, 4, 2, 2.5, 1, 4, 2, 4],
        "C4.5+m+cf": [1, 4, 3, 2, 1, 2.5, 1, 1, 1, 2.5, 2.5, 1, 3, 2],
    }
)
"""Scores with the ranks of four classifiers on 14 datasets that Demsar (2006) prints in table 6."""


def scores(seed: int, datasets: int = 8, models: int = 5, spread: float = 0.03) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    values = 0.5 + spread * np.arange(models) + rng.normal(0, 0.05, (datasets, models))
    return pd.DataFrame(values, columns=[f"m{k}" for k in range(models)], index=[f"d{k}" for k in range(datasets)])


def test_demsars_worked_example() -> None:
    """Mean ranks 3.143, 2.000, 2.893, 1.964; chi2 = 9.28; F = 3.69; critical difference 1.25 (section 3.2.2)."""
    found = rank_models(DEMSAR)
    assert found.ranks[DEMSAR.columns].tolist() == pytest.approx([3.143, 2.0, 2.893, 1.964], abs=5e-4)
    untied = found.chi2 * (1 - (3 * 6 + 60) / (14 * 4 * 15))  # the paper's formula does not correct for ties
    assert untied == pytest.approx(9.28, abs=5e-3)
    assert 13 * untied / (14 * 3 - untied) == pytest.approx(3.69, abs=5e-3)
    assert found.critical == pytest.approx(1.25, abs=5e-3)
    assert found.p_f < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_friedman_and_iman_davenport(seed: int) -> None:
    table = scores(seed)
    found = rank_models(table)
    theirs = stats.friedmanchisquare(*(table[c] for c in table))
    n, k = table.shape
    assert (found.chi2, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    ranks = stats.rankdata(-table.to_numpy(), axis=1).mean(axis=0)
    chi2 = 12 * n / (k * (k + 1)) * (np.sum(ranks**2) - k * (k + 1) ** 2 / 4)
    f = (n - 1) * chi2 / (n * (k - 1) - chi2)
    assert found.f == pytest.approx(f)
    assert found.p_f == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (n - 1)))
    assert found.ranks[table.columns].to_numpy() == pytest.approx(ranks)


@pytest.mark.parametrize("seed", range(2))
def test_post_hoc_tests_are_those_of_scikit_posthocs(seed: int) -> None:
    posthocs = pytest.importorskip("scikit_posthocs")
    table = scores(seed, datasets=12)
    nemenyi = posthocs.posthoc_nemenyi_friedman(table.to_numpy())
    order = list(table.columns)
    found = rank_models(table)
    for row in found.pairs.to_dict("records"):
        i, j = order.index(row["a"]), order.index(row["b"])
        assert row["p_nemenyi"] == pytest.approx(nemenyi.iloc[i, j], abs=2e-3)
        significant = abs(row["difference"]) > found.critical
        assert significant == (row["p_nemenyi"] < 0.05)


def test_holms_z_tests_by_hand() -> None:
    table = scores(4, datasets=10, models=4)
    found = rank_models(table)
    error = math.sqrt(4 * 5 / (6 * 10))
    p = {(r["a"], r["b"]): 2 * stats.norm.sf(abs(r["difference"]) / error) for r in found.pairs.to_dict("records")}
    ordered = sorted(p, key=lambda pair: p[pair])
    worst, expected = 0.0, {}
    for step, pair in enumerate(ordered):
        worst = max(worst, min(1.0, (len(p) - step) * p[pair]))
        expected[pair] = worst
    for row in found.pairs.to_dict("records"):
        assert row["p_holm"] == pytest.approx(expected[row["a"], row["b"]])


@pytest.mark.parametrize(("models", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_values_of_nemenyi(models: int, q: float) -> None:
    """Demsar (2006), table 5a, alpha = 0.05."""
    assert critical_difference(models, 7) == pytest.approx(q * math.sqrt(models * (models + 1) / 42), abs=1e-3)


def test_ties_and_models_that_never_differ() -> None:
    same = pd.DataFrame(np.tile([[0.5], [0.7], [0.6]], (1, 4)), columns=list("abcd"))
    found = rank_models(same)
    assert (found.chi2, found.p, found.p_f) == (0, 1, 1)
    assert found.ranks.tolist() == [2.5] * 4
    assert (found.pairs[["p_nemenyi", "p_holm"]] > 0.999).all(axis=None)
    assert cliques(found) == [("a", "b", "c", "d")]
    perfect = rank_models(pd.DataFrame(np.tile([[0.9, 0.5, 0.1]], (9, 1)), columns=list("abc")))
    assert (perfect.f, perfect.p_f) == (math.inf, 0)


def test_lower_can_be_better() -> None:
    table = scores(1)
    best = rank_models(table).ranks.index[0]
    assert rank_models(-table, higher_is_better=False).ranks.index[0] == best


def test_cliques_join_neighbours_only_when_all_their_pairs_agree() -> None:
    values = np.tile([[0.9, 0.8, 0.5, 0.4]], (12, 1))
    values[::2] = values[::2][:, [1, 0, 3, 2]]  # within a half the models win in turn
    found = rank_models(pd.DataFrame(values, columns=list("abcd")))
    assert cliques(found) == [("a", "b"), ("c", "d")]
    assert cliques(found, "holm") == [("a", "b"), ("c", "d")]


@pytest.mark.parametrize("post_hoc", ["nemenyi", "holm"])
def test_the_diagram_names_every_model_with_its_rank(post_hoc: str) -> None:
    found = rank_models(scores(2, models=7))
    figure = critical_difference_diagram(found, post_hoc)
    texts = [text.get_text() for text in figure.axes[0].texts]
    for name, rank in found.ranks.items():
        assert any(str(name) in text and f"{rank:.2f}" in text for text in texts)
    assert any("critical difference" in text for text in texts) == (post_hoc == "nemenyi")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")


def test_too_little_to_rank_is_refused() -> None:
    with pytest.raises(SerbenchError, match="serbench compare"):
        rank_models(scores(0, models=2))
    with pytest.raises(SerbenchError, match="1 datasets of 5 models"):
        rank_models(scores(0, datasets=1))
    holed = scores(0)
    holed.loc["d3", "m2"] = np.nan
    with pytest.raises(SerbenchError, match="no score of m2 on d3"):
        rank_models(holed)


def board(*rows: tuple[str, str, str, str, str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["dataset", "task", "target", "model", "preset", "mean"])
    return frame.assign(chance=frame["model"].eq("chance"))


def test_a_leaderboard_becomes_a_table_without_gaps() -> None:
    datasets, models = ("emodb", "savee", "tess"), ("a", "b", "c", "chance")
    rows = [
        (d, "emotion", "emotion", m, "default", 0.1 * i + 0.01 * j)
        for j, d in enumerate(datasets)
        for i, m in enumerate(models)
    ]
    rows += [("emodb", "attributes", target, "a", "default", 0.9) for target in ("mean", "arousal")]
    rows = [r for r in rows if r[:4] != ("tess", "emotion", "emotion", "b")]
    table, left_out = across_datasets(board(*rows))
    assert list(table.index) == ["emodb, emotion", "savee, emotion"]
    assert list(table.columns) == ["a", "b", "c"]
    assert table.loc["savee, emotion", "b"] == pytest.approx(0.11)
    assert left_out == ["emodb, attributes: one task per dataset counts, emotion does", "tess, emotion: no score of b"]
    assert list(across_datasets(board(*rows), ["a", "c", "chance"])[0].index)[-1] == "tess, emotion"
    with pytest.raises(SerbenchError, match="unknown model of these results 'd'"):
        across_datasets(board(*rows), ["d"])
    twice = [*rows, ("emodb", "emotion", "emotion", "a", "default", 0.3)]
    with pytest.raises(SerbenchError, match="several runs of a on emodb"):
        across_datasets(board(*twice))


def test_presets_are_models_of_their_own() -> None:
    rows = [(d, "emotion", "emotion", "a", p, 0.5) for d in ("x", "y") for p in ("default", "small")]
    assert list(across_datasets(board(*rows))[0].columns) == ["a", "a:small"]


def test_the_screen_holds_the_tests() -> None:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=80).print(render_mean_ranks(rank_models(DEMSAR)))
    text = " ".join(stream.getvalue().split())
    critical = "Critical difference of two mean ranks (Nemenyi, 0.05): 1.254"
    for expected in ("C4.5+m+cf", "1.96", "Friedman: chi2", critical):
        assert expected in text
