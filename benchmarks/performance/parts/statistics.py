"""What the statistics cost: one million bootstrap resamples of 10,000 predictions for CCC, against a plain loop.

    python -m serbench.benchmarks.performance.parts.statistics [--out FILE.json]

Each measurement runs in a process of its own with one thread; imports and the making of the data are not counted in
seconds, but are in the peak memory. The plain loop draws indices, takes gold and predictions, and calls `metrics.ccc`,
one resample after the other; it is run for `LOOP` resamples and scaled to a million. With speakers it draws speakers
and joins their indices. Ours gives the same scores for the same draws (tests/test_bootstrap.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from ....datasets.schema.task import Task
from ....results.scores import metrics
from ....results.scores.sums import cell_sums
from ....results.statistics.bootstrap import bootstrap_difference, replicates
from ....results.statistics.simulation import TASK, TYPICAL, draw
from ..measure import timed
from ..rows import Facts, Row, apart, main, row

ITEMS, RESAMPLES, LOOP, SPEAKERS = 10_000, 1_000_000, 3000, 100
LEAST_RATIO = 20.0
ONE = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
_apart = partial(apart, __spec__.name)


def material() -> tuple[pd.DataFrame, pd.Series[str]]:
    """10,000 predictions of one trial and subset, and the speaker of each."""
    rng = np.random.default_rng(0)
    gold = rng.uniform(1, 7, ITEMS)
    ids = [f"u{i}" for i in range(ITEMS)]
    table = pd.DataFrame(
        {
            "id": ids,
            "trial": 0,
            "subset": 0,
            "gold_arousal": gold,
            "pred_arousal": 0.6 * gold + rng.normal(1.6, 1, ITEMS),
        }
    )
    return table, pd.Series([f"s{i % SPEAKERS}" for i in range(ITEMS)], index=ids)


def ours(*, by_speaker: bool) -> Callable[[], object]:
    """One million resamples as the library makes them, from the table of predictions on."""
    table, speakers = material()
    clusters = speakers if by_speaker else None
    return lambda: replicates([cell_sums(table, ONE, "CCC", "arousal", clusters)], RESAMPLES)


def loop(*, by_speaker: bool) -> Callable[[], object]:
    """`LOOP` resamples one after the other, with numpy."""
    table, speakers = material()
    gold, predicted = table["gold_arousal"].to_numpy(), table["pred_arousal"].to_numpy()
    members = [np.flatnonzero(speakers.to_numpy() == s) for s in speakers.unique()]
    rng = np.random.default_rng(0)

    def one() -> float:
        if by_speaker:
            drawn = np.concatenate([members[k] for k in rng.integers(0, SPEAKERS, SPEAKERS)])
        else:
            drawn = rng.integers(0, ITEMS, ITEMS)
        return metrics.ccc(gold[drawn], predicted[drawn])

    return lambda: [one() for _ in range(LOOP)]


def comparison() -> Callable[[], object]:
    """What `serbench compare` does for a pair: 10,000 resamples of speakers and trials, 5 trials of 10,000 items
    each."""
    made = draw(replace(TYPICAL, utterances=ITEMS, speakers=SPEAKERS), 0)
    return lambda: bootstrap_difference(made.a, made.b, TASK, clusters=made.speakers, resamples=10_000)


SIDES: dict[str, tuple[Callable[[], Callable[[], object]], float]] = {
    "ours-utterances": (lambda: ours(by_speaker=False), 1.0),
    "loop-utterances": (lambda: loop(by_speaker=False), RESAMPLES / LOOP),
    "ours-speakers": (lambda: ours(by_speaker=True), 1.0),
    "loop-speakers": (lambda: loop(by_speaker=True), RESAMPLES / LOOP),
    "comparison": (comparison, 1.0),
}
"""Name -> what is measured, and the factor that its seconds are scaled by."""


def run_side(side: str) -> Facts:
    """Run one side in this process: CPU-seconds and wall seconds, scaled."""
    prepare, factor = SIDES[side]
    run = prepare()
    with timed() as spent:
        run()
    return {key: value * factor for key, value in spent.items()}


def rows() -> list[Row]:
    """One row per measurement: title, cpu_seconds, wall_seconds, peak_mib; for ours also ratio, limit and met."""
    shown = []
    for unit in ("utterances", "speakers"):
        mine, theirs = _apart(f"ours-{unit}"), _apart(f"loop-{unit}")
        what = f"one million bootstrap resamples of 10,000 predictions, CCC, over {unit}"
        ratio = theirs["cpu_seconds"] / mine["cpu_seconds"]
        limit = f"at least {LEAST_RATIO:g} times faster than the loop"
        shown.append(row(what, mine, ratio=ratio, limit=limit, met=ratio >= LEAST_RATIO))
        shown.append(row(f"reference, plain loop ({LOOP} resamples, scaled): {what}", theirs))
    title = "10,000 resamples of the difference of two models over 100 speakers and 5 trials of 10,000 utterances"
    return [*shown, row(title, _apart("comparison"))]


RUNS = {side: partial(run_side, side) for side in SIDES}

if __name__ == "__main__":
    main(__doc__, rows, RUNS)
