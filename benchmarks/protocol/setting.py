"""What a request trains on and what it tests on: corpora, task, folds and subsets. Nothing is trained or read here.

Within a corpus, its own folds say it all. A cross-corpus setting trains by the first corpus's protocol, fold by fold as
if it were tested on itself (so one training serves all of its tests), and tests on the second's test set:

- Test items are those that the tested corpus's own split tests, pooled over its folds. Each is predicted once per
  trial: they are dealt out to the fold models in equal parts of every subset and class, so that a trial pools the
  predictions of all fold models, as it does within a corpus.
- Subsets are those of the tested corpus, cut by its digest, so they are the same ones as within that corpus.
- The task is the tested corpus's own one of that name, if its kind and classes (or targets) are the same; else the
  training corpus's task is put to the tested one, without conditions on columns that it lacks.
- Items of labels that the task does not know are left out, and so are items of a class that no training item has: no
  model could name them. A class that no test item has stays a possible answer, and always a wrong one; UAR is the mean
  over the classes that occur among the test items.
- Attributes: predictions are carried linearly from the training corpus's scale to the tested one's; gold labels stay.

Training on several corpora together takes a fold of each in turn, so that there is one training per trial: trial t
takes turn k = t mod K, K being the largest number of folds, and turn k fold k mod K' of a corpus with K' folds. The
union's scale is the first corpus's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import canonical_json, digest
from ...datasets.reading.load import load_corpus
from ...datasets.schema.corpus import Corpus, Fold, ListedFold
from ...datasets.schema.labels import mapping_report
from ...datasets.schema.task import Task
from .protocol import Division, Protocol, assign_subsets, describe, divide, names_of, split_of
from .request import Place, Request
from .shared_tasks import ask, task_of

JOINED = "joined"
"""Name of the only fold of a training on several corpora."""
TRAINED = ("train", "dev")
Parts = Sequence[tuple[Corpus, Task, Sequence[Division]]]
"""Corpora that are trained on, each with its task and folds."""


@dataclass(frozen=True)
class Setting:
    """What is trained on and what is tested on.

    Attributes
    ----------
    corpus, task : what is trained on, and its task
    divisions : train and dev ids of `corpus` and test ids of `tested`; one per fold, or one per turn of a rotation
    tested, asked : what is tested on, and the task as it is put to it; within a corpus the same two objects
    subsets : subset of each test id
    named : `split`, `dev` and `test_split` as records hold them
    own_split : whether the tested corpus knows the split that it is tested by
    rotates : whether trial t takes the division t mod their number, instead of every division in every trial
    notes : what the mapping of labels merges, drops and carries to another scale, in lines
    left_out : class -> number of test items that no model of this setting could name
    """

    corpus: Corpus
    task: Task
    divisions: tuple[Division, ...]
    tested: Corpus
    asked: Task
    subsets: Mapping[str, int]
    named: Mapping[str, str]
    own_split: bool = True
    rotates: bool = False
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def crosses(self) -> bool:
        """Whether another corpus is tested than the one that is trained on."""
        return self.tested is not self.corpus

    @property
    def folds(self) -> list[str]:
        """Names of the units of a trial."""
        return [JOINED] if self.rotates else [d.fold for d in self.divisions]

    def division(self, trial: int, fold: str) -> Division:
        """Train, dev and test ids of a unit."""
        if self.rotates:
            return replace(self.divisions[trial % len(self.divisions)], fold=JOINED)
        return next(d for d in self.divisions if d.fold == fold)

    def dataset(self) -> dict[str, str]:
        """What records say of the corpus; both of them, with `>` between, where the setting crosses."""
        if not self.crosses:
            return _facts(self.corpus)
        trained, tested = _facts(self.corpus), _facts(self.tested)
        releases = ">".join(facts["release"] or "only" for facts in (trained, tested))
        return {
            "name": f"{trained['name']}>{tested['name']}",
            "release": "" if releases == "only>only" else releases,
            "digest": digest([trained["digest"], tested["digest"]]),
            **{
                key: f"{trained['name']}: {trained[key]}; {tested['name']}: {tested[key]}"
                for key in ("licence", "citation")
            },
        }

    def describe(self, protocol: Protocol) -> dict[str, Any]:
        """The protocol as records hold it."""
        described = describe(self.tested, self.asked, protocol, self.divisions, self.subsets, self.named)
        return {**described, "folds": self.folds, "rotates": self.rotates} if self.crosses else described

    def transfer(self) -> dict[str, Any] | None:
        """What records hold of the transfer between corpora; None within one."""
        if not self.crosses:
            return None
        facts = {"trained_on": _facts(self.corpus), "tested_on": _facts(self.tested)}
        kept = {side: {k: f[k] for k in ("name", "release", "digest")} for side, f in facts.items()}
        return {**kept, "task": self.task.to_dict(), "notes": list(self.notes), "left_out": dict(self.left_out)}


class Corpora:
    """Corpora opened so far, by place, and the settings that were resolved with them."""

    def __init__(self) -> None:
        self._open: dict[str, Corpus] = {}
        self._settings: dict[str, Setting] = {}

    def get(self, place: Place) -> Corpus:
        """The corpus of a place, loaded at its first use."""
        key = canonical_json([place.name, place.root, place.release, {k: str(v) for k, v in place.options.items()}])
        if key not in self._open:
            self._open[key] = load_corpus(place.name, place.root, place.release, place.options)
        return self._open[key]

    def open(self, requests: Iterable[Request]) -> None:
        """Load all corpora of some requests."""
        for place in (place for request in requests for place in request.all_places()):
            self.get(place)

    def digests(self, request: Request) -> list[str]:
        """Digests of all corpora of a request."""
        return [self.get(place).digest() for place in request.all_places()]

    def setting(self, request: Request) -> Setting:
        """The setting of a request; one for all models (`resolve`)."""
        about = [
            request.all_places(),
            request.test,
            request.task,
            request.classes,
            request.protocol,
            request.needed_roles,
        ]
        if (key := repr(about)) not in self._settings:
            self._settings[key] = resolve(request, self)
        return self._settings[key]


def resolve(request: Request, corpora: Corpora | None = None) -> Setting:
    """The setting of a request.

    Raises
    ------
    SerbenchError
        For a corpus, task, split or class that is not there, a role without items, or corpora without two classes in
        common.
    """
    opened = corpora or Corpora()
    places, protocol = request.places(), request.protocol
    first = opened.get(places[0])
    task = task_of(first, request.task, request.classes)
    if request.test is None:
        if len(places) > 1:
            raise SerbenchError(f"{'+'.join(p.name for p in places)} are trained on together. Name a --test-dataset.")
        divisions = tuple(divide(first, task, protocol, request.needed_roles))
        subsets = assign_subsets(first, task, protocol, divisions)
        split = split_of(first, task, protocol.split, protocol.listed)
        named = names_of(first, task, protocol)
        return Setting(first, task, divisions, first, task, subsets, named, split.own, notes=split.notes)
    tested = opened.get(request.test)
    if len(places) > 1:
        parts = _parts([opened.get(p) for p in places], task, request)
        trained = _joined(parts)
    else:
        parts = [(first, task, divide(first, task, protocol, TRAINED))]
        trained = first, task, tuple(parts[0][2])
    setting = _across(*trained, tested, ask(task, tested, request.classes), request, rotates=len(places) > 1)
    return replace(setting, notes=tuple(_notes(parts, setting, request)))


def _parts(corpora: Sequence[Corpus], task: Task, request: Request) -> Parts:
    """Each of several corpora with the task as it is put to it."""
    if request.protocol.split is not None:
        raise SerbenchError("--split names the split of one corpus; several take their own defaults. Leave it out.")
    tasks = [task, *(ask(task, corpus, request.classes) for corpus in corpora[1:])]
    return [(c, t, divide(c, t, request.protocol, TRAINED)) for c, t in zip(corpora, tasks, strict=True)]


def _joined(parts: Parts) -> tuple[Corpus, Task, tuple[Division, ...]]:
    """The union of several corpora, its task, and what is trained and selected on in each turn of the rotation."""
    from ...datasets.schema.union import join

    union, joint = join([(corpus, task) for corpus, task, _ in parts])
    turns = max(len(divisions) for _, _, divisions in parts)
    return union, joint, tuple(_turn(parts, k) for k in range(turns))


def _turn(parts: Parts, k: int) -> Division:
    from ...datasets.schema.union import joined_id

    chosen = [(corpus, divisions[k % len(divisions)]) for corpus, _, divisions in parts]
    train, dev = (tuple(joined_id(c, i) for c, d in chosen for i in getattr(d, role)) for role in TRAINED)
    return Division(f"{JOINED}-{k}", train, dev, ())


def _across(
    corpus: Corpus,
    task: Task,
    divisions: tuple[Division, ...],
    tested: Corpus,
    asked: Task,
    request: Request,
    *,
    rotates: bool,
) -> Setting:
    assert request.test is not None
    if tested.name in corpus.name.split("+") and rotates:
        raise SerbenchError(f"{tested.name} is trained on and tested. Leave it out of --dataset or of --test-dataset.")
    items = tested.items(asked)
    test_split = split_of(tested, asked, request.test.split, request.test.listed)
    ids = [str(i) for i in items.index[_tests(items, test_split.folds)]]
    left_out: dict[str, int] = {}
    if task.kind == "classification":
        ids, left_out = _nameable(corpus, task, divisions, asked, items.loc[ids])
    count = 1 if rotates else len(divisions)
    if len(ids) < max(count, 1):
        raise SerbenchError(
            f"the test set of {tested.name} has {len(ids)} items for the task {asked.name!r}, fewer than the "
            f"{count} models of a trial. Choose another --test-split ({', '.join(tested.splits)}) or task."
        )
    pooled = [Division("all", (), (), tuple(ids))]
    subsets = assign_subsets(tested, asked, request.protocol, pooled)
    shares = [ids] * len(divisions) if rotates else _deal(items.loc[ids], asked, subsets, len(divisions))
    dealt = tuple(replace(d, test=tuple(share)) for d, share in zip(divisions, shares, strict=True))
    protocol = request.protocol
    own = {"split": "each corpus's own", **({"dev": protocol.dev} if protocol.dev else {})}
    named = {**(own if rotates else names_of(corpus, task, protocol)), "test_split": test_split.name}
    return Setting(corpus, task, dealt, tested, asked, subsets, named, test_split.own, rotates, left_out=left_out)


def _tests(table: pd.DataFrame, folds: Sequence[Fold | ListedFold]) -> Any:
    """Whether some fold tests each row, (row,) bool."""
    return np.any([fold.assign(table).eq("test").fillna(False).to_numpy(dtype=bool) for fold in folds], axis=0)


def _nameable(
    corpus: Corpus, task: Task, divisions: Sequence[Division], asked: Task, items: pd.DataFrame
) -> tuple[list[str], dict[str, int]]:
    """Test items of classes that are trained on, and the number of the others by class."""
    trained = list(dict.fromkeys(i for d in divisions for i in d.train))
    known = {task.labels[k] for k in set(task.encode(corpus.utterances.loc[trained]).tolist())}
    classes = pd.Series(asked.encode(items), items.index).map(dict(enumerate(asked.labels)))
    shared = known & set(classes)
    if len(shared) < 2:
        raise SerbenchError(
            f"{corpus.name} and the test set share {len(shared)} classes of {task.name!r}: trained on "
            f"{', '.join(sorted(known))}, tested {', '.join(sorted(set(classes))) or 'none'}. Expected two or more."
        )
    lost = classes[~classes.isin(known)].value_counts().sort_index()
    return [str(i) for i in classes.index[classes.isin(known)]], {str(k): int(n) for k, n in lost.items()}


def _deal(items: pd.DataFrame, task: Task, subsets: Mapping[str, int], count: int) -> list[list[str]]:
    """Test ids dealt out to the fold models: equal parts of every subset, and of every class in it."""
    labels = task.encode(items) if task.kind == "classification" else np.zeros(len(items), dtype=int)
    keys = {str(i): (subsets[str(i)], int(k), _hash(str(i))) for i, k in zip(items.index, labels, strict=True)}
    order = sorted(keys, key=lambda item: keys[item])
    return [order[k::count] for k in range(count)]


def _hash(item: str) -> bytes:
    return hashlib.sha256(f"deal|{item}".encode()).digest()


def _notes(parts: Parts, setting: Setting, request: Request) -> Iterator[str]:
    """What the mapping makes of the corpora, in lines."""
    tested, asked = setting.tested, setting.asked
    fallen = sorted(set(parts[0][1].where) - set(asked.where))
    yield from (f"the condition on {column!r} falls: {tested.name} has no such column" for column in fallen)
    table = tested.recordings if asked.kind == "continuous" and tested.recordings is not None else tested.utterances
    assert request.test is not None
    test_split = split_of(tested, asked, request.test.split, request.test.listed)
    rows = table[_tests(table, test_split.folds)]
    yield from test_split.notes
    if not setting.rotates:
        yield from split_of(parts[0][0], parts[0][1], request.protocol.split, request.protocol.listed).notes
    if asked.kind == "classification":
        yield from _class_notes(parts, setting, rows)
        return
    for corpus, task, _ in parts:
        yield from (_scale_note(corpus.name, task.scales[t], setting.task.scales[t], t) for t in task.targets)
    yield from (_scale_note("predictions", setting.task.scales[t], asked.scales[t], t) for t in asked.targets)
    lost = sum(asked.dropped(rows).values())
    yield f"tested on {tested.name}: {len(rows) - lost}; dropped: no label {lost}"


def _scale_note(what: str, source: tuple[float, float], target: tuple[float, float], name: str) -> str:
    carried = f" carried to {target[0]:g} .. {target[1]:g}" if source != target else ""
    return f"{name}: {what} on {source[0]:g} .. {source[1]:g}{carried}"


def _class_notes(parts: Parts, setting: Setting, rows: pd.DataFrame) -> Iterator[str]:
    for corpus, task, divisions in parts:
        index, trained = corpus.utterances.index, {i for d in divisions for i in (*d.train, *d.dev)}
        kept = corpus.utterances[index.isin(trained) | ~index.isin(corpus.items(task).index)]
        yield from (f"trained on {corpus.name}: {line}" for line in mapping_report(task, kept))
    asked, name = setting.asked, setting.tested.name
    yield from (f"tested on {name}: {line}" for line in mapping_report(asked, rows))
    for label, count in setting.left_out.items():
        yield f"left out: {count} test items of the class {label}, which {setting.corpus.name} has no training item of"
    met = set(pd.Series(asked.encode(asked.select(rows))).map(dict(enumerate(asked.labels))))
    for label in (label for label in asked.labels if label not in met):
        yield f"{label} never occurs in the test set: as an answer it is always wrong, and UAR leaves it out"


def _facts(corpus: Corpus) -> dict[str, str]:
    return {
        "name": corpus.name,
        "release": corpus.release,
        "digest": corpus.digest(),
        "licence": corpus.licence,
        "citation": corpus.citation,
    }
