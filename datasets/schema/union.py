"""Several corpora as one, to train on them together.

Ids, speakers, dialogues and sessions carry the corpus's name in front (`iemocap/Ses01F_impro01_F000`), so nothing of
two corpora is taken for the same. Attributes are carried to the scales of the joint task, classes are those of the task
that each corpus is asked, in the column `joint`. Paths are relative to the folder that the roots have in common.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ..core.errors import SerbenchError
from ..core.files import inside
from .corpus import Corpus
from .labels import rescaled
from .task import Task

OWN = ("speaker", "dialogue", "session", "previous", "interlocutor")
"""Columns whose values mean something within one corpus only."""
LABEL = "joint"


def join(parts: Sequence[tuple[Corpus, Task]]) -> tuple[Corpus, Task]:
    """One corpus of several, and the task that all of its items have.

    Parameters
    ----------
    parts : each corpus with the task that it is asked; the tasks have the same kind and the same classes or targets,
        and the first one's scales are the joint ones

    Raises
    ------
    SerbenchError
        If a corpus is named twice, or the tasks differ.
    """
    corpora, tasks = [c for c, _ in parts], [t for _, t in parts]
    names = [c.name for c in corpora]
    if len(set(names)) < len(names):
        raise SerbenchError(f"{'+'.join(names)} names a corpus twice. Name each corpus once.")
    first = tasks[0]
    for corpus, task in parts:
        if (task.kind, task.targets, task.labels, task.frame_seconds) != (
            first.kind,
            first.targets,
            first.labels,
            first.frame_seconds,
        ):
            raise SerbenchError(f"the task {task.name!r} of {corpus.name} is not that of {names[0]}: they can't join.")
    root = Path(os.path.commonpath([os.path.abspath(c.root) for c in corpora]))
    joined = Corpus(
        name="+".join(names),
        release="+".join(c.release or "only" for c in corpora) if any(c.release for c in corpora) else "",
        root=root,
        utterances=pd.concat([_table(c, t, c.utterances, first, root) for c, t in parts]),
        recordings=_recordings(parts, first, root),
        tasks=(_joint_task(first),),
        splits={},
        scales=dict(first.scales),
        licence="; ".join(f"{c.name}: {c.licence}" for c in corpora),
        citation="; ".join(c.citation for c in corpora),
        word_source=_dispatch({c.name: c.words for c in corpora}),
        recognised="+".join(dict.fromkeys(c.recognised for c in corpora if c.recognised)),
        trace_source=_dispatch({c.name: _trace(c, t, first) for c, t in parts}),
        audio_source=_audio(corpora) if any(c.audio_source for c in corpora) else None,
        incidental=tuple({column for c in corpora for column in c.incidental}),
    )
    return joined, joined.tasks[0]


def joined_id(corpus: Corpus, item: str) -> str:
    """Id of a corpus's item in a union."""
    return f"{corpus.name}/{item}"


def _joint_task(first: Task) -> Task:
    if first.kind != "classification":
        return dataclasses.replace(first, where={})
    return dataclasses.replace(first, column=LABEL, mapping={}, where={})


def _table(corpus: Corpus, task: Task, table: pd.DataFrame, first: Task, root: Path) -> pd.DataFrame:
    """A corpus's table with joint ids, labels and paths."""
    moved = rescaled(table, corpus.scales, first.scales) if first.kind != "classification" else table.copy()
    if first.kind == "classification":
        labels = task.select(table)[task.column]
        labels = labels.map(dict(task.mapping)) if task.mapping else labels
        moved[LABEL] = labels.astype("string").reindex(table.index)
    for column in (c for c in OWN if c in moved):
        moved[column] = (corpus.name + "/" + moved[column].astype("string")).astype("string")
    moved["path"] = pd.array([_path(corpus, str(p), root) for p in table["path"]], dtype="string")
    moved.index = pd.Index([joined_id(corpus, str(i)) for i in table.index], name="id")
    return moved


def _path(corpus: Corpus, path: str, root: Path) -> str:
    """The path from the common root; one that leaves its own root stays as it is, to be refused when it is read."""
    try:
        return os.path.relpath(os.path.abspath(inside(corpus.root, path)), root)
    except SerbenchError:
        return path if os.path.isabs(path) else os.path.join(os.sep, path)


def _recordings(parts: Sequence[tuple[Corpus, Task]], first: Task, root: Path) -> pd.DataFrame | None:
    if first.kind != "continuous":
        return None
    return pd.concat([_table(c, t, c.recordings, first, root) for c, t in parts if c.recordings is not None])


def _trace(corpus: Corpus, task: Task, first: Task) -> Callable[[str], pd.DataFrame]:
    return lambda item: rescaled(corpus.trace(item), task.scales, first.scales)


def _dispatch(sources: dict[str, Callable[[str], pd.DataFrame]]) -> Callable[[str], pd.DataFrame]:
    """From a joint id to the corpus that it is of."""

    def source(item: str) -> pd.DataFrame:
        name, _, own = item.partition("/")
        return sources[name](own)

    return source


def _audio(corpora: Sequence[Corpus]) -> Callable[[Path], Path]:
    """From a file to its sound: by the corpus whose root it lies under, the deepest one first."""
    sources = [(Path(os.path.abspath(c.root)), c.audio_source) for c in corpora if c.audio_source is not None]
    sources.sort(key=lambda pair: -len(pair[0].parts))

    def source(path: Path) -> Path:
        return next((audio(path) for root, audio in sources if path.is_relative_to(root)), path)

    return source
