"""Every further test of a pair of runs in one row: what `compare` prints beside its paired t-test when it is asked to.

`further_tests` takes the runs of a comparison and adds, per pair and target, the tests for dependent scores
(`dependence`), effect sizes, the smallest detectable difference (`power`), and on request the bootstrap (`bootstrap`)
and approximate randomisation (`randomisation`) over the stored predictions. p-values of each test are adjusted over
all rows, by Holm (any false finding) or Benjamini and Hochberg (share of false findings). docs/statistics.md says
which to trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import track
from ..display.numbers import interval, number, p_value
from ..display.table import on_screen, per_target
from ..record.folder import Run
from ..record.pairing import Scored, load_scored, pair
from ..record.test_items import Clusters, choose_clusters
from ..scores.scoring import scored_targets
from ..statistics import power
from ..statistics.bootstrap import Interval, bootstrap_difference, bootstrap_scores
from ..statistics.dependence import benjamini_hochberg, components, corrected_t, crossed_t, effect_sizes, two_way
from ..statistics.randomisation import approximate_randomisation
from ..statistics.significance import NAN, holm

if TYPE_CHECKING:
    from rich.console import Group

ADJUST = {"holm": holm, "bh": benjamini_hochberg}
Adjust = Literal["holm", "bh"]
HEADERS = {"p_crossed": "crossed", "p_corrected": "corrected", "p_bootstrap": "bootstrap", "p_random": "random"}
"""Column of the p-value -> its header on the screen."""
PRINTED = (("bootstrap", "random"), ("crossed", "corrected"))
"""Tests that share a column of the screen."""
NOTE = (
    "bootstrap: over {cluster}s ({clusters}) and trials, with its interval. random: approximate randomisation of the "
    "predictions by {cluster}. crossed: t-test with trials and subsets as crossed random samples. corrected: Nadeau "
    "and Bengio's corrected t-test. d: over the average standard deviation of the two. mdd: smallest difference found "
    "with 80 % power on these test items. {adjust}"
)
ADJUSTED = {
    "holm": "p are adjusted by Holm over this table.",
    "bh": "p are adjusted by Benjamini and Hochberg over this table: the share of false findings.",
}


@dataclass(frozen=True)
class Resampling:
    """What `further_tests` does: numbers of resamples and swaps (0 = not asked for), clusters, level and seed."""

    bootstrap: int = 0
    swaps: int = 0
    cluster: str = "auto"
    seed: int = 0
    level: float = 0.95


def further_tests(frame: pd.DataFrame, runs: Sequence[Run], options: Resampling | None = None) -> pd.DataFrame:
    """The frame of `compare` with further columns.

    Parameters
    ----------
    frame : what `compare` returned for `runs`

    Returns
    -------
    the frame with: p_crossed, crossed_low, crossed_high, p_corrected, gz, dav, superiority, mdd; with a bootstrap
    p_bootstrap, boot_low, boot_high, boot_se; with swaps p_random; cluster, clusters, cluster_note; and every p with
    `_holm` and `_bh`, the p of `compare` among them
    """
    chosen = options or Resampling()
    metric = str(frame["metric"].iloc[0])
    scored = {run.run_id: load_scored(run) for run in runs}
    tests: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for a, b in track(list(combinations(runs, 2)), "testing pairs"):
        tests[a.run_id, b.run_id] = _pair_rows(scored[a.run_id], scored[b.run_id], metric, chosen)
    rows = [tests[row["run_a"], row["run_b"]][row["target"]] for row in frame.to_dict("records")]
    whole = pd.concat([frame, pd.DataFrame(rows, index=frame.index)], axis=1)
    whole = whole.loc[:, ~whole.columns.duplicated(keep="last")]
    for column in [c for c in whole if c in HEADERS or c in ("p", "p_trials", "p_wilcoxon")]:
        for name, adjust in ADJUST.items():
            whole[f"{column}_{name}"] = adjust(whole[column])
    return whole


def score_intervals(
    run: Run, metric: str | None = None, options: Resampling | None = None
) -> tuple[dict[str, Interval], Clusters]:
    """Bootstrap interval of a run's score per target, over clusters and trials, and what the clusters are.

    10,000 resamples unless the options say another number.
    """
    chosen = options or Resampling()
    predictions = run.scored_predictions()
    if not len(predictions):
        raise SerbenchError(f"no trial of {run.run_id} is complete. Type: {run.fill_line(5)}")
    clusters = run_clusters([run], predictions, chosen.cluster)
    intervals = bootstrap_scores(
        predictions,
        run.task,
        metric,
        clusters.of,
        resamples=chosen.bootstrap or 10_000,
        level=chosen.level,
        seed=chosen.seed,
    )
    return intervals, clusters


def run_clusters(runs: Sequence[Run], predictions: pd.DataFrame, by: str = "auto") -> Clusters:
    """What is drawn together for these runs' predictions, from the items of the first run that has them."""
    items = next((known for run in runs if (known := run.items()) is not None), None)
    return choose_clusters(items, list(predictions["id"].unique()), by, runs[0].fill_line(5) if runs else "")


def train_ratio(run: Run) -> float:
    """Test items of one score over training items of one unit, from the units' counts; NaN where they are not known."""
    counts = [u["counts"] for u in run.units() if u["status"] == "done" and u.get("counts")]
    train = [c["train"] for c in counts if c.get("train")]
    if not train:
        return NAN
    tested = sum(c["test"] for c in counts) / len(counts) * len(run.folds)
    subsets = int(run.spec["protocol"].get("subsets") or 1)
    return float(tested / subsets / np.mean(train))


def render_further(frame: pd.DataFrame, adjust: Adjust = "holm") -> Group:
    """The further tests for the screen, one table per target."""
    first = frame.iloc[0]
    notes = [NOTE.format(cluster=first["cluster"], clusters=first["clusters"], adjust=ADJUSTED[adjust])]
    notes += [f"Note: {text}" for text in dict.fromkeys(frame["cluster_note"]) if text]
    return on_screen(per_target(frame, "tests that know of the dependence", partial(_cells, adjust=adjust)), notes)


def _pair_rows(a: Scored, b: Scored, metric: str, options: Resampling) -> dict[str, dict[str, Any]]:
    paired = pair(a, b, metric)
    sides, scores = paired.sides, paired.scores
    clusters = run_clusters([a.run, b.run], sides.a, options.cluster)
    rows: dict[str, dict[str, Any]] = {}
    for target in scored_targets(a.run.task):
        part = scores[scores["target"].eq(target)]
        rows[target] = _score_tests(part, train_ratio(a.run), options.level)
    boot: Mapping[str, Interval] = {}
    if options.bootstrap:
        boot = bootstrap_difference(
            sides.a,
            sides.b,
            a.run.task,
            metric,
            clusters.of,
            resamples=options.bootstrap,
            level=options.level,
            seed=options.seed,
        )
    for target, resampled in boot.items():
        rows[target] |= {
            "p_bootstrap": resampled.p,
            "boot_low": resampled.low,
            "boot_high": resampled.high,
            "boot_se": resampled.se,
        }
    if options.swaps:
        p_values = approximate_randomisation(
            sides.a, sides.b, a.run.task, metric, clusters.of, swaps=options.swaps, seed=options.seed
        )
        for target, p in p_values.items():
            rows[target]["p_random"] = p
    n = sides.a["id"].nunique() if clusters.of is None else clusters.of.nunique()
    what = {"cluster": clusters.name, "clusters": n, "cluster_note": clusters.note}
    return {target: row | what for target, row in rows.items()}


def _score_tests(part: pd.DataFrame, ratio: float, level: float) -> dict[str, Any]:
    keys = part["a"], part["b"], part["trial"], part["subset"]
    sizes = effect_sizes(part["a"], part["b"])
    row = {
        "p_crossed": NAN,
        "crossed_low": NAN,
        "crossed_high": NAN,
        "mdd": NAN,
        "p_corrected": corrected_t(part["a"], part["b"], ratio, level).p,
        "gz": sizes.gz,
        "dav": sizes.dav,
        "superiority": sizes.superiority,
    }
    try:
        two_way(*keys)
    except SerbenchError:
        return row  # a cell without a score: the two-way table has a hole
    crossed, parts = crossed_t(*keys, level), components(*keys)
    here = power.same_test_error(parts, parts.trials)
    mdd = power.detectable_difference(here, parts.trials - 1) if here > 0 else NAN  # 0: the trials repeat one another
    return row | {"p_crossed": crossed.p, "crossed_low": crossed.low, "crossed_high": crossed.high, "mdd": mdd}


def _cells(row: dict[str, Any], adjust: str) -> dict[str, str]:
    p = {head: p_value(row[f"{column}_{adjust}"]) for column, head in HEADERS.items() if column in row}
    asked = {
        "\n".join(pair): "\n".join(p[head] for head in pair)
        for pair in (tuple(h for h in two if h in p) for two in PRINTED)
        if pair
    }
    difference = number(row["difference"], "+.3f")
    if "boot_low" in row:
        difference += "\n" + interval(row["boot_low"], row["boot_high"], "+.3f")
    head = "a - b\n95 % interval" if "boot_low" in row else "a - b"
    return {
        "a": f"{row['a']}\n{row['b']}",
        head: difference,
        **asked,
        "d": number(row["dav"], "+.2f"),
        "mdd": number(row["mdd"]),
    }
