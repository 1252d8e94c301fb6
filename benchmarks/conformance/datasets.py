"""What every dataset must do: on its miniature copy, on what it makes itself, or on the folder of its root variable."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ...datasets import miniatures, registry
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import inside
from ...datasets.reading.load import load_corpus, needs_root, root_variable
from ...datasets.schema.corpus import Corpus
from ..corpora.card import lines
from ..corpora.doctor import check as examine
from ..corpora.mock import write_mock
from ..protocol.protocol import Protocol
from .check import Problems, UncheckedError


def offers_what_a_dataset_needs(name: str) -> Problems:
    """`load(root, release=None)`, options with defaults, a docstring."""
    parameters = inspect.signature(registry.load(name).load).parameters
    if list(parameters)[:2] != ["root", "release"]:
        yield f"load has the parameters {', '.join(parameters)}; expected root, release and options"
    free = [key for key, p in parameters.items() if key != "root" and p.default is inspect.Parameter.empty]
    yield from (f"the parameter {key} of load has no default" for key in free)
    if not registry.summary(name):
        yield "the module has no docstring"


def says_whose_it_is(name: str, corpus: Corpus) -> Problems:
    """The licence and what to cite."""
    if not corpus.licence or corpus.licence == "unknown":
        yield "no licence is stated"
    if not corpus.citation:
        yield "no citation is given"


def declares_its_tasks(name: str, corpus: Corpus) -> Problems:
    """`TASK_NAMES` lists the tasks, so that `serbench list` need not load the corpus; each has labelled items."""
    declared, own = registry.declared(name, "TASK_NAMES"), [task.name for task in corpus.tasks]
    if declared != own:
        yield f"TASK_NAMES is {declared}, the tasks are {own}"
    yield from (f"the task {task.name} has no items" for task in corpus.tasks if not len(corpus.items(task)))


def loads_the_same_corpus_twice(name: str, corpus: Corpus) -> Problems:
    """Under its registered name, with one digest, from paths that stay in the root."""
    if corpus.name != name:
        yield f"the corpus is called {corpus.name!r}, expected {name!r}"
    if load_corpus(name, corpus.root).digest() != corpus.digest():
        yield "two loadings have different digests"
    for path in corpus.utterances["path"]:
        inside(corpus.root, str(path))


def folds_keep_apart_what_they_must(name: str, corpus: Corpus) -> Problems:
    """Each fold has training, dev and test items, and no speaker in two of them but where `shared` says so."""
    table = corpus.utterances if corpus.recordings is None else corpus.recordings
    for split in corpus.splits:
        for fold in corpus.folds(split):
            role = fold.assign(table)
            sides = {part: set(table["speaker"][role.eq(part).fillna(False)]) for part in ("train", "dev", "test")}
            yield from (f"{split}, {fold.name}: nothing in {part}" for part, held in sides.items() if not held)
            both = (sides["train"] & sides["test"]) - {pd.NA}
            if both and "speaker" not in corpus.shared:
                yield f"{split}, {fold.name}: {min(map(str, both))} is trained on and tested; say so in Corpus.shared"


def the_doctor_finds_no_error(name: str, corpus: Corpus) -> Problems:
    """Every file is there and can be read, no label is off its scale; warnings and notes are not counted."""
    findings = examine(corpus)
    errors = findings[findings["severity"].eq("error")]
    yield from (f"{row.kind} {row.id}: {row.detail}" for row in errors.head(5).itertuples())


def the_card_can_be_written(name: str, corpus: Corpus) -> Problems:
    """`serbench card` for each task."""
    for task in corpus.tasks:
        said = list(lines(corpus, task, Protocol(subsets=2)))
        if f"licence: {corpus.licence}" not in said:
            yield f"the card of {task.name} states no licence"
        if (told := sum(line.startswith("  fold ") for line in said)) != len(corpus.folds()):
            yield f"the card of {task.name} tells of {told} folds, the corpus has {len(corpus.folds())}"


def refuses_a_folder_that_is_not_its_own(name: str) -> Problems:
    """An empty root is a `SerbenchError`; so is a release that doesn't exist."""
    if needs_root(name):
        with tempfile.TemporaryDirectory() as folder:
            yield from _refused("an empty root", lambda: load_corpus(name, folder))


def a_miniature_is_the_same_each_time(name: str) -> Problems:
    """Its files follow from the arguments, and a folder in use is left alone."""
    if name not in miniatures.names():
        raise UncheckedError("it has no miniature copy")
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for folder in (first, second):
            write_mock(name, Path(folder))
        if load_corpus(name, first).digest() != load_corpus(name, second).digest():
            yield "two copies have different tables"
        yield from _refused("a folder in use", lambda: write_mock(name, Path(first)))


@contextmanager
def opened(name: str) -> Iterator[Corpus]:
    """A corpus to check: the miniature copy, or the one that is there."""
    if name in miniatures.names():
        with tempfile.TemporaryDirectory() as folder:
            write_mock(name, Path(folder))
            yield load_corpus(name, folder)
    elif needs_root(name) and not os.environ.get(root_variable(name)):
        raise UncheckedError(f"it has no miniature copy; set {root_variable(name)} to its folder")
    else:
        yield load_corpus(name)


def _refused(what: str, attempt: Callable[[], object]) -> Problems:
    try:
        attempt()
    except SerbenchError:
        return
    yield f"{what} is not refused with a SerbenchError"


OF_A_DATASET = (offers_what_a_dataset_needs, refuses_a_folder_that_is_not_its_own, a_miniature_is_the_same_each_time)
OF_A_CORPUS = (
    declares_its_tasks,
    says_whose_it_is,
    loads_the_same_corpus_twice,
    folds_keep_apart_what_they_must,
    the_doctor_finds_no_error,
    the_card_can_be_written,
)
"""Checks of a dataset as it is `opened`."""
