"""What a cluster costs and gains: two one-thread workers against a serial run, 1,000 empty trials, the driver's memory.

    python -m serbench.benchmarks.performance.parts.ray [--out FILE.json]

A head and two workers of one processor on this machine. Whole commands are timed, with features in the cache, on a
cluster that is up. What its start leaves to the command (joining it, asking the nodes, imports in the workers'
processes) is taken out by a difference: ten trials more on two workers against ten trials more in one process. An empty
trial is one of `chance`. The ratio is one of wall times: it means something on an idle machine with two processors, and
holds what two trainings take from each other on one chip.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ...ray.local_cluster import LocalCluster, local_cluster
from ..measure import SERBENCH, Cost, measure
from ..rows import Row, main, row
from .pipeline import clips_table

TRIALS, START = 10, 2
"""Trials that are compared, and trials before them, in which everything starts."""
MANY, FEW = 1000, 100
LEARNT = ("--model", "cnn-regressor:small", "--set", "train.patience=0", "--set", "train.epochs=32")
"""A model whose trials all take the same time."""
EMPTY = ("--model", "chance")


def learning(folder: Path, cluster: LocalCluster) -> dict[tuple[str, int], Cost]:
    """Cost of (way, number of equal trials): one after the other, and on two workers."""
    measure(_command(folder, "warm", 1, *LEARNT), cwd=folder, env=cluster.env())
    ways = {"serial": (), "two": _ray(cluster)}
    return {
        (way, trials): measure(
            _command(folder, f"{way}{trials}", trials, *LEARNT, *more), cwd=folder, env=cluster.env()
        )
        for trials in (START, START + TRIALS)
        for way, more in ways.items()
    }


def empty(folder: Path, cluster: LocalCluster) -> dict[str, Cost]:
    """Cost of few and of many empty trials to the launcher."""
    return {
        name: measure(_command(folder, name, trials, *EMPTY, *_ray(cluster)), cwd=folder, env=cluster.env())
        for name, trials in (("few", FEW), ("many", MANY))
    }


def rows() -> list[Row]:
    """One row per measurement: title, costs, limit and whether it is kept."""
    with local_cluster([("w1", 1), ("w2", 1)]) as cluster, tempfile.TemporaryDirectory() as name:
        clips_table(Path(name))
        learnt, chance = learning(Path(name), cluster), empty(Path(name), cluster)
    return lines(learnt) + empty_lines(chance["few"], chance["many"])


def lines(costs: dict[tuple[str, int], Cost]) -> list[Row]:
    """The rows of `learning`."""
    serial, two = (costs[way, START + TRIALS] for way in ("serial", "two"))
    more = {way: costs[way, START + TRIALS].wall_seconds - costs[way, START].wall_seconds for way in ("serial", "two")}
    ratio = more["two"] / more["serial"]
    return [
        row(f"{START + TRIALS} trials of cnn-regressor:small, one process, one thread", serial),
        row(
            "the same on two workers of one thread, start of the launcher and the workers included (the launcher's "
            "CPU)",
            two,
            ratio=two.wall_seconds / serial.wall_seconds,
        ),
        row(
            f"{TRIALS} of these trials, start apart: {more['two']:.1f} s against {more['serial']:.1f} s",
            {},
            limit="0.56 of serial",
            met=ratio <= 0.56,
            ratio=ratio,
        ),
    ]


def empty_lines(few: Cost, many: Cost) -> list[Row]:
    """The rows of `empty`."""
    each = (many.wall_seconds - few.wall_seconds) / (2 * (MANY - FEW))  # chance comes as two rows
    growth = many.peak_mib / few.peak_mib
    return [
        row(f"{2 * FEW:,} empty trials", few),
        row(f"{2 * MANY:,} empty trials", many, limit="60 s for 1,000", met=many.wall_seconds <= 120),
        row(f"a trial more: {each:.3f} s", many, limit="1 s", met=each <= 1),
        row(
            f"launcher's memory, {2 * MANY:,} trials against {2 * FEW:,}",
            many,
            limit="flat: 1.1",
            met=growth <= 1.1,
            ratio=growth,
        ),
    ]


def _command(folder: Path, name: str, trials: int, *more: str) -> list[str]:
    return [
        *SERBENCH,
        "run",
        "--dataset",
        "table",
        "--root",
        str(folder / "clips.csv"),
        "--threads",
        "1",
        "--trials",
        str(trials),
        "--results",
        str(folder / name),
        *more,
    ]


def _ray(cluster: LocalCluster) -> tuple[str, ...]:
    return ("--launcher", "ray", "--address", cluster.address)


if __name__ == "__main__":
    main(__doc__, rows)
