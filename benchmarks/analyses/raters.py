"""`serbench raters`: the raters of a corpus, and the runs on it beside them.

Agreement, ceilings and what raters score are of all items of a task, taken as one subset; what is said of runs is of
their test items and subsets.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.ratings import answers
from ...datasets.schema.task import Task
from ...results.display.table import Table
from ...results.groups.gaps import Resamples
from ...results.raters.corpus_table import corpus_tables, raters
from ...results.raters.run_table import rated_runs, run_tables
from ...results.record.identity import short_names
from ...results.record.run import Run
from ...results.record.test_items import Ratings
from ...results.tables.leaderboard import CHANCE


def tables_of_corpus(corpus: Corpus, task: Task, seed: int = 0) -> list[Table]:
    """How far the raters of a corpus agree about a task, and what each of them scores.

    Raises
    ------
    SerbenchError
        Where the corpus keeps no single raters, or no item has two.
    """
    items = corpus.items(task)
    ids = [str(i) for i in items.index]
    intended = task.kind == "classification" and task.column in corpus.intended
    ratings = Ratings(answers(corpus, task, ids), intended)
    listed = pd.DataFrame({"id": ids, "subset": 0})
    if task.kind == "classification":
        listed["gold"] = task.encode(items)
    return corpus_tables(raters(corpus.name, task, ratings, listed, seed))


def tables_of_runs(runs: Sequence[Run], how: Resamples) -> tuple[list[Table], list[str]]:
    """Runs beside the raters of their test items, protocol by protocol; and what is lacking, with what to type."""
    models = [run for run in runs if run.spec["model"]["name"] != CHANCE]
    tables, notes = [], []
    for digest in dict.fromkeys(run.protocol_digest for run in models):
        group = [run for run in models if run.protocol_digest == digest]
        rated = rated_runs(group, short_names([run.spec for run in group]))
        tables += run_tables(rated, how)
        known = {one.run.run_id for one in rated}
        notes += [
            f"{run.run_id} holds no answers of raters. To add them, type: {run.fill_line(5)}"
            for run in group
            if run.run_id not in known
        ]
    names = [table.name for table in tables]
    if len(set(names)) < len(names):
        raise SerbenchError(
            f"the runs on {runs[0].spec['dataset']['name']}, {runs[0].task.name} follow different protocols: "
            f"{', '.join(sorted({run.protocol_digest for run in models}))}. Keep them in different --results folders."
        )
    return tables, notes
