"""What perturbed audio costs: eGeMAPS functionals of perturbed utterances against those of clean ones.

    python -m serbench.benchmarks.performance.parts.stress --data EMODB_ROOT [--out FILE.json]

60 utterances of EMO-DB through the cache, cold, as `serbench stress` makes them: decoding, hashing, the perturbation,
the feature, writing. A row holds the cost of one level, the mean over a kind's default levels; a ratio is over the
clean features. The limit is that of all kinds together, each at its default levels; prediction, which `linear` does in
milliseconds, is left out on both sides. With dearer features, such as those of an encoder, every ratio is nearer to 1.
"""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path

from ....datasets.emodb import load
from ....features.core.feature_extractor import build
from ....features.extraction.extract import extract_from
from ....features.perturbations.change import perturbed
from ....features.perturbations.kinds import KINDS
from ....features.perturbations.perturbation import perturbations
from ..measure import timed
from ..rows import DATA, Facts, Row, apart, main, row

CLEAN, FEATURE, UTTERANCES, LIMIT = "clean", "egemaps", 60, 1.1


def run_kind(kind: str, data: str) -> Facts:
    """Features under one kind of perturbation, or clean, after some others to warm up: seconds of one level."""
    corpus = load(Path(data))
    every = len(corpus.utterances) // UTTERANCES
    rows, extractor = corpus.utterances.iloc[::every][:UTTERANCES], build(FEATURE)
    changes = [None] if kind == CLEAN else [perturbed(corpus, one) for one in perturbations([kind])]
    spare = corpus.utterances.iloc[1::every][:12]
    for change in changes:  # rooms are simulated once, voices read once
        extract_from(corpus, spare, extractor, changes=change)
    with timed() as spent:
        for change in changes:
            extract_from(corpus, rows, extractor, changes=change)
    return {key: value / len(changes) for key, value in spent.items()}


def measured(kind: str, data: Path) -> Facts:
    """One kind in a process of its own, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        return apart(__spec__.name, kind, env={"OMP_NUM_THREADS": "1", "SERBENCH_CACHE": cache}, data=data)


def rows(data: Path) -> list[Row]:
    """Clean features, all kinds together, and each kind."""
    before, costs, after = measured(CLEAN, data), {kind: measured(kind, data) for kind in KINDS}, measured(CLEAN, data)
    clean = {key: (before[key] + after[key]) / 2 for key in before}
    mean = {key: statistics.fmean(facts[key] for facts in costs.values()) for key in clean}
    title = f"`{FEATURE}` of {UTTERANCES} utterances of EMO-DB"

    def over(facts: Facts) -> float:
        return float(facts["cpu_seconds"] / clean["cpu_seconds"])

    whole = row(f"{title}, all kinds: a level", mean, ratio=over(mean), limit=f"{LIMIT} x", met=over(mean) <= LIMIT)
    return [row(f"{title}, clean", clean), whole, *(row(f"{k}: a level", c, ratio=over(c)) for k, c in costs.items())]


RUNS = {kind: partial(run_kind, kind) for kind in (CLEAN, *KINDS)}

if __name__ == "__main__":
    main(__doc__, rows, RUNS, {"data": DATA})
