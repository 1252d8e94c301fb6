"""What reading the largest label files costs: MSP-Podcast 2.0 and IEMOCAP, generated at their published sizes.

    python -m serbench.benchmarks.performance.parts.corpora [--out FILE.json]

No corpus under licence is needed: label files of the published size and shape are written into a temporary folder
(MSP-Podcast 2.0: 264,705 labelled and 3,200 hidden segments, 1,446,224 ratings; IEMOCAP: 10,039 turns in 151 dialogues
with five raters' lines each, and their transcripts), and a process apart reads them into the corpus table. Seconds
are those of the reading, after the imports; peak memory is the whole process's. Limits are on CPU-seconds, all
threads together, so that a busy machine changes them little. Beside MSP-Podcast stands pandas alone on the same files:
it parses both, and checks, joins and counts nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ....datasets import registry
from ....datasets.mocks import msp_podcast
from ..measure import timed
from ..rows import Facts, Row, apart, main, row, within

PARTITIONS = {"Train": 169190, "Development": 34399, "Test1": 46294, "Test2": 14822}
HIDDEN, RATINGS, RATERS = 3200, 1_446_224, 13278
DIALOGUES, TURNS = 151, 10039
_apart = partial(apart, __spec__.name, env={})


def write_msp_podcast(root: Path, ratings: int = RATINGS) -> None:
    """Label files of release 2.0 at their published size: consensus, single ratings, partitions, readme."""
    rng = np.random.default_rng(0)
    split = np.repeat(list(PARTITIONS), list(PARTITIONS.values()))
    n = len(split)
    names = np.array([f"MSP-PODCAST_{i // 60:04d}_{i % 60:04d}.wav" for i in range(n)])
    attributes = ("EmoAct", "EmoVal", "EmoDom")
    table = pd.DataFrame(
        {
            "FileName": names,
            "EmoClass": rng.choice(list("ASHUFDCNOX"), n),
            **{c: rng.uniform(1, 7, n).round(6) for c in attributes},
            "SpkrID": rng.integers(0, 3500, n),
            "Gender": rng.choice(["Male", "Female"], n),
            "Split_Set": split,
        }
    )
    (root / "Labels").mkdir(parents=True)
    table.to_csv(root / "Labels/labels_consensus.csv", index=False)
    rated = np.sort(np.concatenate([np.arange(n), rng.integers(0, n, ratings - n)]))
    words = np.array([*msp_podcast.WORDS.values(), "Other-annoyed"])
    seconds = np.array(msp_podcast.SECONDARY)
    workers = np.array([f"WORKER{w:08d}" for w in range(RATERS)])
    pd.DataFrame(
        {
            "FileName": names[rated],
            "WorkerID": workers[rng.integers(0, len(workers), ratings)],
            "EmoClass_Major": words[rng.integers(0, len(words), ratings)],
            "EmoClass_Second": seconds[rng.integers(0, len(seconds), ratings)],
            **{c: rng.integers(1, 8, ratings) for c in attributes},
        }
    ).to_csv(root / "Labels/labels_detailed.csv", index=False)
    lines = [
        *(f"{s}; {name}" for s, name in zip(split, names, strict=True)),
        *(f"Test3; MSP-PODCAST_test3_{i:04d}.wav" for i in range(1, HIDDEN + 1)),
    ]
    (root / "Partitions.txt").write_text("\n".join(lines) + "\n")
    (root / "readme.txt").write_text("Release 2.0\n")


def write_iemocap(root: Path) -> None:
    """EmoEvaluation and transcription files of 151 dialogues and 10,039 turns, with three and two raters a turn."""
    kinds = [f"impro{i:02d}" for i in range(1, 9)] + [f"script01_{i}" for i in range(1, 9)]
    names = [f"Ses0{k}{m}_{kind}" for kind in kinds for k in range(1, 6) for m in "FM"][:DIALOGUES]
    raters = "".join(f"C-E{k}:\tNeutral; Frustration;\t()\n" for k in (2, 3, 4))
    raters += "".join(f"A-E{k}:\tval 3; act 2; dom  2;\t()\n" for k in (3, 4))
    codes = ("neu", "ang", "sad", "exc", "hap", "fru", "xxx")
    for i, name in enumerate(names):
        folder = root / f"Session{name[4]}/dialog"
        turns = [f"{name}_{'FM'[j % 2]}{j // 2:03d}" for j in range(len(range(i, TURNS, DIALOGUES)))]
        blocks = [
            f"[{j}.0000 - {j}.9000]\t{turn}\t{codes[j % 7]}\t[2.5000, 3.0000, 3.5000]\n{raters}\n"
            for j, turn in enumerate(turns)
        ]
        said = [
            f"{turn} [{j:03d}.0000-{j:03d}.9000]: Words of a turn as they are said.\n" for j, turn in enumerate(turns)
        ]
        for place, text in (("EmoEvaluation", "% head\n\n" + "".join(blocks)), ("transcriptions", "".join(said))):
            (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / place / f"{name}.txt").write_text(text)


def rows() -> list[Row]:
    """One row per corpus, and one of pandas alone on MSP-Podcast's files."""
    with tempfile.TemporaryDirectory() as name:
        msp, iemocap = Path(name) / "msp", Path(name) / "iemocap"
        write_msp_podcast(msp)
        write_iemocap(iemocap)
        ours, other = _apart("read", dataset="msp-podcast", root=msp), _apart("read", dataset="iemocap", root=iemocap)
        plain = _apart("pandas", root=msp)
    ratio = ours["cpu_seconds"] / plain["cpu_seconds"]
    return [
        _row("MSP-Podcast 2.0", ours, ratio=ratio, **within(ours, cpu_seconds=6, peak_gb=1.5)),
        _row("the same two CSV files by `pandas.read_csv` alone", plain),
        _row("IEMOCAP, 151 dialogues", other, **within(other, cpu_seconds=1)),
    ]


def run_read(dataset: str, root: str) -> Facts:
    """The reading of a corpus in this process."""
    load = registry.load(dataset).load
    with timed() as spent:
        corpus = load(Path(root))
    return {**spent, "rows": len(corpus.utterances), "ratings": int(corpus.utterances["raters"].sum())}


def run_pandas(root: str) -> Facts:
    """The parsing of its CSV files alone."""
    import pyarrow  # noqa: F401 (so that its import is not counted)

    with timed() as spent:
        consensus, ratings = [pd.read_csv(path) for path in sorted(Path(root).glob("Labels/*.csv"))]
    return {**spent, "rows": len(consensus), "ratings": len(ratings)}


def _row(title: str, facts: Facts, **judged: object) -> Row:
    return row(f"{title}: {facts['rows']:,} rows, {facts['ratings']:,} ratings", facts, **judged)


RUNS: dict[str, Callable[..., Facts]] = {"read": run_read, "pandas": run_pandas}

if __name__ == "__main__":
    main(__doc__, rows, RUNS)
