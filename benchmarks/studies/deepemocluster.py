"""The experiments of the DeepEmoCluster paper: its Tables 2, 3 and 4 as studies.

Lin, Sridhar and Busso (ICASSP 2021, DOI 10.1109/ICASSP39728.2021.9414035), sections 5.2 and 5.3. Table 2: all four
models without unlabelled data, 10 clusters. Table 3: DeepEmoCluster, 10 clusters, with 0, 15,000 and 40,000 unlabelled
sentences. Table 4: DeepEmoCluster with 40,000 unlabelled sentences and several numbers of clusters; the text names 10
and says that more help dominance and valence, so 10, 20 and 30 are our choice.

A pool that is too small for the paper's sizes is used in the same proportions, and the table says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Corpus
from ..grid.execution import Execution
from ..grid.grid import run_requests
from ..protocol.request import Grid
from ..protocol.setting import Corpora
from .study import Findings, Row, Study, base_request, default_tasks, findings_of, request_for

CLUSTERS = 10
"""Section 5.2 and Table 3."""
SIZES = (0, 15_000, 40_000)
"""Unlabelled sentences of Table 3; the last is Table 4's."""
NUMBERS = (10, 20, 30)
"""Numbers of clusters of our Table 4."""
BASELINES = ("cnn-regressor", "cnn-ae", "cnn-vae")


def table2(clusters: int = CLUSTERS) -> Study:
    """All four models fully supervised."""
    rows = [Row("cnn-regressor", "cnn-regressor")]
    rows += [Row(name, name, {"model.unlabelled": "0"}) for name in BASELINES[1:]]
    settings = {"model.unlabelled": "0", "model.clusters": str(clusters)}
    return Study(
        "deepemocluster-table2",
        "DeepEmoCluster and its baselines, fully supervised",
        (*rows, Row("deepemocluster", "deepemocluster", settings)),
        "others",
        notes=(f"DeepEmoCluster has {clusters} clusters; no unlabelled data is used.",),
    )


def table3(corpus: Corpus, sizes: Sequence[int] = (), clusters: int = CLUSTERS, model: str = "deepemocluster") -> Study:
    """Sizes of the unlabelled set; `model` may be one of the auto-encoders too."""
    pool = _pool(corpus)
    sizes, notes = (tuple(sizes), ()) if sizes else fitted_sizes(pool)
    _check("--size", sizes, 0, pool, f"0 .. {pool}, the size of {corpus.name}'s unlabelled pool")
    fixed = {"model.clusters": str(clusters)} if model == "deepemocluster" else {}
    rows = [Row(f"{size:,}", model, {"model.unlabelled": str(size), **fixed}) for size in sizes]
    told = (f"{clusters} clusters.",) if fixed else ()
    return Study(
        "deepemocluster-table3",
        f"{model}: size of the unlabelled set",
        tuple(rows),
        "first",
        "unlabelled sentences",
        (*told, *notes),
    )


def table4(corpus: Corpus, numbers: Sequence[int] = (), unlabelled: int | None = None) -> Study:
    """Numbers of clusters with one unlabelled set: the paper's 40,000 sentences, or the whole pool if that is less."""
    pool = _pool(corpus)
    size = min(pool, SIZES[-1]) if unlabelled is None else unlabelled
    _check("--unlabelled", [size], 0, pool, f"0 .. {pool}, the size of {corpus.name}'s unlabelled pool")
    numbers = tuple(numbers) or NUMBERS
    _check("--clusters", numbers, 2, None, "2 or more")
    rows = [Row(str(k), "deepemocluster", {"model.clusters": str(k), "model.unlabelled": str(size)}) for k in numbers]
    note = "" if size == SIZES[-1] else f" The paper has {SIZES[-1]:,}."
    return Study(
        "deepemocluster-table4",
        "deepemocluster: number of clusters",
        tuple(rows),
        "first",
        "clusters",
        (f"{size:,} unlabelled sentences.{note}",),
    )


def run_study(study: Study, grid: Grid, how: Execution, corpora: Corpora | None = None) -> Findings:
    """Run every row on every task and compare them.

    Parameters
    ----------
    grid : corpus, protocol, trials, preset and settings; a setting is given to those models that have it. Tasks are of
        one kind, usually one attribute each; none = `default_tasks`

    Raises
    ------
    SerbenchError
        For a setting that no row has or that the study decides, or when trials failed (says what to run).
    """
    corpora = corpora or Corpora()
    base = base_request(grid)
    tasks = default_tasks(corpora.get(base.places()[0]), grid.tasks)
    requests = [request_for(study, row, task, base) for task in tasks for row in study.rows]
    runs, width = run_requests(requests, how, corpora), len(study.rows)
    return findings_of(study, [runs[i : i + width] for i in range(0, len(runs), width)])


def fitted_sizes(pool: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The paper's sizes, or the same shares of a smaller pool; and what the table has to say of it."""
    if pool >= SIZES[-1]:
        return SIZES, ()
    sizes = tuple(dict.fromkeys(round(pool * size / SIZES[-1]) for size in SIZES))
    return sizes, (f"The pool has {pool:,} sentences, the paper's sizes are 0, 15,000 and 40,000: the same shares.",)


def _pool(corpus: Corpus) -> int:
    pool = len(corpus.unlabelled())
    if not pool:
        raise SerbenchError(
            f"{corpus.name} has no unlabelled utterances, and this study varies or needs them. Expected a corpus with "
            "an unlabelled pool, such as msp-podcast or demo; serbench study deepemocluster-table2 needs none."
        )
    return pool


def _check(flag: str, values: Sequence[int], low: int, high: int | None, expected: str) -> None:
    wrong = [v for v in values if v < low or (high is not None and v > high)]
    if wrong:
        raise SerbenchError(f"{flag} {wrong[0]} is out of range. Expected {expected}.")
    if len(set(values)) < len(values):
        raise SerbenchError(f"{flag} names a value twice: {', '.join(map(str, values))}. Expected each once.")
