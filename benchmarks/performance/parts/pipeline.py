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
from ..rows import Row, main, row, within

CLIPS = {"train": 100, "dev": 40, "test": 60}
LIMITS = {"from nothing": 15.0, "on cached functionals": 10.0, "nothing left to do": 2.0}


def clips_table(folder: Path) -> None:
    """Write clips.csv, which names 200 clips of the demo corpus by absolute links beside it."""
    corpus = load_corpus("demo")
    parts = [corpus.utterances[corpus.utterances["partition"] == p].head(n) for p, n in CLIPS.items()]
    clips = []
    for part in parts:
        for item, clip in part.iterrows():
            (folder / f"{item}.wav").symlink_to(corpus.audio_path(str(item)))
            clips.append({"path": f"{item}.wav", **clip[["speaker", "partition", "emotion", "gender"]].to_dict()})
    import pandas as pd

    pd.DataFrame(clips).to_csv(folder / "clips.csv", index=False)


def on_clips(folder: Path, line: str, results: str) -> list[str]:
    """`serbench run` with further words on the clips of a folder, into a results folder beside them."""
    words = f"run --dataset table {line} --root".split()
    return [*SERBENCH, *words, str(folder / "clips.csv"), "--results", str(folder / results)]


def linear_costs() -> dict[str, Cost]:
    """Cost of `linear` on 200 clips: from nothing, 20 scores on cached functionals, and a finished run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips_table(folder)
        env = {"SERBENCH_CACHE": str(folder / "cache"), "PYTHONSAFEPATH": "1"}
        first, again = on_clips(folder, "--model linear --jobs 1", "a"), on_clips(folder, "--model linear", "b")
        return {
            title: measure(command, cwd=folder, env=env)
            for title, command in zip(LIMITS, (first, again, again), strict=True)
        }


def finished_cost(model: str) -> Cost:
    """Cost of asking again for a finished run of a torch model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips_table(folder)
        command = on_clips(folder, f"--model {model} --trials 1 --set train.epochs=1", "a")
        measure(command, cwd=folder)
        return measure(command, cwd=folder)


def help_cost(rounds: int = 5) -> Cost:
    """Median-wall cost of `serbench --help`."""
    costs = sorted((measure([*SERBENCH, "--help"]) for _ in range(rounds)), key=lambda c: c.wall_seconds)
    return costs[rounds // 2]


def rows() -> list[Row]:
    """One row per measurement: title, costs, limit and whether it is kept."""
    shown = [
        row(f"`serbench run --model linear`, 200 clips, {title}", cost, **within(cost, cpu_seconds=LIMITS[title]))
        for title, cost in linear_costs().items()
    ]
    done, help_ = finished_cost("cnn-regressor:small"), help_cost()
    return [
        *shown,
        row("`serbench run --model cnn-regressor`, nothing left to do", done, **within(done, cpu_seconds=2)),
        row("`serbench --help`", help_, **within(help_, wall_seconds=0.4)),
    ]


if __name__ == "__main__":
    main(__doc__, rows)
