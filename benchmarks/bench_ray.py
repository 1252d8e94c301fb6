"""What a cluster costs and gains: two one-thread workers against a serial run, 1,000 empty trials, the driver's memory.

    python -m serbench.benchmarks.bench_ray [--out FILE.json]

A head and two workers of one processor on this machine. Whole commands are timed, with features in the cache; the
start of the cluster is apart, that of the workers' processes (imports) is not. An empty trial is one of `chance`. The
ratio of two workers is a wall-time ratio: it means something on an idle machine with two processors or more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..datasets._files import write_json
from ._local_cluster import LocalCluster, local_cluster
from ._measure import Cost, measure
from .bench_pipeline import SERBENCH, clips_table

TRIALS = 10
MANY, FEW = 1000, 100
LEARNT = ("--model", "cnn-regressor:small", "--set", "train.patience=0", "--set", "train.epochs=16")
"""A model whose trials all take the same time."""
EMPTY = ("--model", "chance")


def learning(folder: Path, cluster: LocalCluster) -> dict[str, Cost]:
    """Cost of equal trials one after the other, and on two workers."""
    env = cluster.env()
    measure(_command(folder, "warm", 1, *LEARNT), cwd=folder, env=env)
    return {
        "serial": measure(_command(folder, "serial", TRIALS, *LEARNT), cwd=folder, env=env),
        "two workers": measure(_command(folder, "two", TRIALS, *LEARNT, *_ray(cluster)), cwd=folder, env=env),
    }


def empty(folder: Path, cluster: LocalCluster) -> dict[str, Cost]:
    """Cost of few and of many empty trials to the launcher."""
    return {
        name: measure(_command(folder, name, trials, *EMPTY, *_ray(cluster)), cwd=folder, env=cluster.env())
        for name, trials in (("few", FEW), ("many", MANY))
    }


def rows() -> list[dict[str, Any]]:
    """One row per measurement: title, costs, limit and whether it is kept."""
    with local_cluster([("w1", 1), ("w2", 1)]) as cluster, tempfile.TemporaryDirectory() as name:
        clips_table(Path(name))
        found = learning(Path(name), cluster) | empty(Path(name), cluster)
    return lines(found["serial"], found["two workers"]) + empty_lines(found["few"], found["many"])


def lines(serial: Cost, two: Cost) -> list[dict[str, Any]]:
    """The rows of `learning`."""
    ratio = two.wall_seconds / serial.wall_seconds
    return [
        _row(f"{TRIALS} trials of cnn-regressor:small, one process, one thread", serial),
        _row("the same on two workers of one thread (the launcher's CPU)", two, "0.56 of serial", ratio <= 0.56, ratio),
    ]


def empty_lines(few: Cost, many: Cost) -> list[dict[str, Any]]:
    """The rows of `empty`."""
    each = (many.wall_seconds - few.wall_seconds) / (2 * (MANY - FEW))  # chance comes as two rows
    growth = many.peak_mib / few.peak_mib
    return [
        _row(f"{2 * FEW:,} empty trials", few),
        _row(f"{2 * MANY:,} empty trials", many, "60 s for 1,000", many.wall_seconds <= 120),
        _row(f"a trial more: {each:.3f} s", many, "1 s", each <= 1),
        _row(f"launcher's memory, {2 * MANY:,} trials against {2 * FEW:,}", many, "flat: 1.1", growth <= 1.1, growth),
    ]


def _row(
    title: str, cost: Cost, limit: str = "", met: bool | None = None, ratio: float | None = None
) -> dict[str, Any]:
    row: dict[str, Any] = {"title": title, "cpu_seconds": round(cost.cpu_seconds, 2),
                           "wall_seconds": round(cost.wall_seconds, 2), "peak_mib": round(cost.peak_mib)}  # fmt: skip
    row |= {} if ratio is None else {"ratio": round(ratio, 3)}
    return row if met is None else row | {"limit": limit, "met": met}


def _command(folder: Path, name: str, trials: int, *more: str) -> list[str]:
    return [*SERBENCH, "run", "--dataset", "table", "--root", str(folder / "clips.csv"), "--threads", "1", "--trials",
            str(trials), "--results", str(folder / name), *more]  # fmt: skip


def _ray(cluster: LocalCluster) -> tuple[str, ...]:
    return ("--launcher", "ray", "--address", cluster.address)


def main() -> None:
    """Print the rows as JSON, or write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    if out is None:
        sys.stdout.write(json.dumps(rows(), indent=1) + "\n")
    else:
        write_json(out, rows())


if __name__ == "__main__":
    main()
