"""What whole commands cost: `serbench run` from nothing, on cached features, and when there is nothing left to do.

    python -m serbench.benchmarks.performance.parts.pipeline [--out FILE.json]

Each command runs as a process of its own, in a fresh results folder, with a cache of its own; CPU-seconds include the
start of Python, all imports and all child processes. The corpus is 200 clips of the demo corpus (100 train, 40 dev,
60 test), read through the `table` dataset like any user's own corpus.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from ....datasets.reading.load import load_corpus
from ..measure import SERBENCH, Cost, measure
from ..rows import Row, main, row

CLIPS = {"train": 100, "dev": 40, "test": 60}
LIMITS = {"from nothing": 15.0, "on cached functionals": 10.0, "nothing left to do": 2.0}


def clips_table(folder: Path) -> Path:
    """A CSV file that names 200 clips of the demo corpus by absolute links beside it."""
    corpus = load_corpus("demo")
    parts = [corpus.utterances[corpus.utterances["partition"] == p].head(n) for p, n in CLIPS.items()]
    clips = []
    for part in parts:
        for item, clip in part.iterrows():
            (folder / f"{item}.wav").symlink_to(corpus.audio_path(str(item)))
            clips.append({"path": f"{item}.wav", **clip[["speaker", "partition", "emotion", "gender"]].to_dict()})
    import pandas as pd

    pd.DataFrame(clips).to_csv(folder / "clips.csv", index=False)
    return folder / "clips.csv"


def linear_costs() -> dict[str, Cost]:
    """Cost of `linear` on 200 clips: from nothing, 20 scores on cached functionals, and a finished run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = clips_table(folder)
        common = [*SERBENCH, "run", "--model", "linear", "--dataset", "table", "--root", str(table), "--results"]
        env = {"SERBENCH_CACHE": str(folder / "cache"), "PYTHONSAFEPATH": "1"}
        return {
            "from nothing": measure([*common, str(folder / "a"), "--jobs", "1"], cwd=folder, env=env),
            "on cached functionals": measure([*common, str(folder / "b")], cwd=folder, env=env),
            "nothing left to do": measure([*common, str(folder / "b")], cwd=folder, env=env),
        }


def finished_cost(model: str) -> Cost:
    """Cost of asking again for a finished run of a torch model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [
            *SERBENCH,
            "run",
            "--model",
            model,
            "--dataset",
            "table",
            "--root",
            str(clips_table(folder)),
            "--trials",
            "1",
            "--set",
            "train.epochs=1",
            "--results",
            str(folder / "a"),
        ]
        measure(command, cwd=folder)
        return measure(command, cwd=folder)


def help_cost(rounds: int = 5) -> Cost:
    """Median-wall cost of `serbench --help`."""
    costs = sorted((measure([*SERBENCH, "--help"]) for _ in range(rounds)), key=lambda c: c.wall_seconds)
    return costs[rounds // 2]


def rows() -> list[Row]:
    """One row per measurement: title, costs, limit and whether it is kept."""
    shown = []
    for title, cost in linear_costs().items():
        shown.append(_row(f"`serbench run --model linear`, 200 clips, {title}", cost, "CPU-seconds", LIMITS[title]))
    shown.append(
        _row(
            "`serbench run --model cnn-regressor`, nothing left to do",
            finished_cost("cnn-regressor:small"),
            "CPU-seconds",
            2.0,
        )
    )
    shown.append(_row("`serbench --help`", help_cost(), "wall seconds", 0.4))
    return shown


def _row(title: str, cost: Cost, measure_: str, limit: float) -> Row:
    value = cost.cpu_seconds if measure_ == "CPU-seconds" else cost.wall_seconds
    return row(title, cost, limit=f"{limit:g} {measure_}", met=value <= limit)


if __name__ == "__main__":
    main(__doc__, rows)
