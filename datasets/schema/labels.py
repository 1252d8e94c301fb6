"""Labels across corpora: raw label -> canonical emotion -> shared label set, and attributes from scale to scale.

The one place that knows any mapping of labels. Three steps, each of them a table in this file:

1. `canonical` turns a corpus's own codes into the emotions of `EMOTIONS` by that corpus's vocabulary (missing = the
   raters did not agree); an unknown code is an error. `canonical_words` does the same for the free words of single
   raters, where unknown words stay missing and the caller counts them.
2. `SETS` are the label sets that corpora share; `emotion_task` makes a `Task` of one. Happiness and excitement are
   merged in every set that has no excitement of its own, as is usual for IEMOCAP (Busso et al. 2008) since its first
   four-class results; the sets named "unmerged" leave excitement out instead.
3. `transfer` asks the task of one corpus of another one: same classes or attributes, the other's labels, attributes
   rescaled linearly from its scale to the task's. `mapping_report` says what a mapping merges and drops.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..core.errors import SerbenchError, unknown
from .corpus import EMOTIONS, Corpus
from .task import Task

Scale = tuple[float, float]
Numbers = TypeVar("Numbers", float, "pd.Series[float]", pd.DataFrame, "npt.NDArray[np.float64]")

VOCABULARIES: Mapping[str, Mapping[str, str | None]] = {
    "msp-podcast": {
        "A": "anger",
        "S": "sadness",
        "H": "happiness",
        "U": "surprise",
        "F": "fear",
        "D": "disgust",
        "C": "contempt",
        "N": "neutral",
        "O": "other",
        "X": None,
    },
    "msp-improv": {"A": "anger", "S": "sadness", "H": "happiness", "N": "neutral", "O": "other", "X": None},
    "iemocap": {
        "ang": "anger",
        "hap": "happiness",
        "exc": "excitement",
        "sad": "sadness",
        "neu": "neutral",
        "fru": "frustration",
        "fea": "fear",
        "sur": "surprise",
        "dis": "disgust",
        "oth": "other",
        "xxx": None,
    },
    "meld": {
        "anger": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "joy": "happiness",
        "neutral": "neutral",
        "sadness": "sadness",
        "surprise": "surprise",
    },
    "crema-d": {
        "ANG": "anger",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happiness",
        "NEU": "neutral",
        "SAD": "sadness",
    },
    "savee": {
        "a": "anger",
        "d": "disgust",
        "f": "fear",
        "h": "happiness",
        "n": "neutral",
        "sa": "sadness",
        "su": "surprise",
    },
    "tess": {
        "angry": "anger",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happiness",
        "neutral": "neutral",
        "ps": "surprise",
        "sad": "sadness",
    },
    "ravdess": {
        "01": "neutral",
        "02": "calm",
        "03": "happiness",
        "04": "sadness",
        "05": "anger",
        "06": "fear",
        "07": "disgust",
        "08": "surprise",
    },
    "emodb": {
        "W": "anger",
        "L": "boredom",
        "E": "disgust",
        "A": "fear",
        "F": "happiness",
        "T": "sadness",
        "N": "neutral",
    },
    "nemo": {
        "anger": "anger",
        "fear": "fear",
        "happiness": "happiness",
        "neutral": "neutral",
        "sadness": "sadness",
        "surprised": "surprise",
    },
    "urdu": {"A": "anger", "H": "happiness", "N": "neutral", "S": "sadness"},
    "emovo": {
        "dis": "disgust",
        "gio": "happiness",
        "neu": "neutral",
        "pau": "fear",
        "rab": "anger",
        "sor": "surprise",
        "tri": "sadness",
    },
    "shemo": {"A": "anger", "F": "fear", "H": "happiness", "N": "neutral", "S": "sadness", "W": "surprise"},
    "cafe": {
        "C": "anger",
        "D": "disgust",
        "J": "happiness",
        "N": "neutral",
        "P": "fear",
        "S": "surprise",
        "T": "sadness",
    },
    "jl-corpus": {
        "angry": "anger",
        "sad": "sadness",
        "neutral": "neutral",
        "happy": "happiness",
        "excited": "excitement",
        "anxious": "other",
        "apologetic": "other",
        "assertive": "other",
        "concerned": "other",
        "encouraging": "other",
    },
    "subesco": {
        "ANGRY": "anger",
        "DISGUST": "disgust",
        "FEAR": "fear",
        "HAPPY": "happiness",
        "NEUTRAL": "neutral",
        "SAD": "sadness",
        "SURPRISE": "surprise",
    },
    "esd": {"Angry": "anger", "Happy": "happiness", "Neutral": "neutral", "Sad": "sadness", "Surprise": "surprise"},
}
"""Corpus -> its own codes -> canonical emotion; None is a code for "no agreement"."""

WORDS: Mapping[str, tuple[str, ...]] = {
    "anger": ("ang", "anger", "angry"),
    "boredom": ("bored", "boredom", "bor"),
    "calm": ("calm", "calmness"),
    "contempt": ("contempt", "contemptuous"),
    "disgust": ("dis", "disgust", "disgusted"),
    "excitement": ("exc", "excited", "excitement"),
    "fear": ("fea", "fear", "fearful", "afraid", "anxiety", "anxious"),
    "frustration": ("fru", "frustrated", "frustration"),
    "happiness": ("hap", "happiness", "happy", "joy", "joyful"),
    "neutral": ("neu", "neutral", "neutral state", "neutrality"),
    "other": ("oth", "other"),
    "sadness": ("sad", "sadness"),
    "surprise": ("sur", "surprise", "surprised", "pleasant surprise"),
}
"""Canonical emotion -> words that mean it (compared without regard to case)."""


@dataclass(frozen=True)
class LabelSet:
    """Classes that corpora share: `mapping` takes canonical emotions to `labels`; those it leaves out are dropped."""

    name: str
    labels: tuple[str, ...]
    mapping: Mapping[str, str]
    doc: str


def _set(name: str, labels: Iterable[str], doc: str, merge: Mapping[str, str] | None = None) -> LabelSet:
    ordered = tuple(sorted(labels))
    return LabelSet(name, ordered, {**{label: label for label in ordered}, **(merge or {})}, doc)


_EXCITED = {"excitement": "happiness"}
_FOUR = ("anger", "happiness", "neutral", "sadness")
_SEVEN = (*_FOUR, "disgust", "fear", "surprise")
SETS: Mapping[str, LabelSet] = {
    s.name: s
    for s in (
        _set("emotion-4", _FOUR, "anger, happiness (with excitement), neutral, sadness", _EXCITED),
        _set("emotion-4-unmerged", _FOUR, "anger, happiness, neutral, sadness; excitement left out"),
        _set("emotion-6", (*_FOUR, "excitement", "frustration"), "the four, excitement and frustration apart"),
        _set("emotion-7", _SEVEN, "the six basic emotions and neutral", _EXCITED),
        _set("emotion-8", (*_SEVEN, "contempt"), "the six basic emotions, contempt and neutral", _EXCITED),
    )
}


def label_set(name: str) -> LabelSet:
    """The shared label set of that name."""
    if name not in SETS:
        raise unknown("label set", name, SETS)
    return SETS[name]


def emotion_task(
    set_name: str, name: str = "emotion", *, where: Mapping[str, tuple[str, ...]] | None = None, doc: str = ""
) -> Task:
    """A classification task over the canonical column `emotion` with the classes of a shared label set."""
    chosen = label_set(set_name)
    return Task(
        name,
        "classification",
        ("emotion",),
        labels=chosen.labels,
        mapping=dict(chosen.mapping),
        where=dict(where or {}),
        doc=doc or chosen.doc,
    )


def canonical(
    raw: pd.Series[Any], corpus: str, source: str = "the label file", codes: Mapping[str, str | None] | None = None
) -> pd.Series[Any]:
    """Canonical emotion of each raw code (index kept; missing where the raters did not agree or no label is given).

    `codes` are those of a corpus without a vocabulary here, one of another distribution.

    Raises
    ------
    SerbenchError
        For a code that the corpus's vocabulary does not hold; it names the first row, `source` and the known codes.
    """
    if codes is None and corpus not in VOCABULARIES:
        raise unknown("label vocabulary", corpus, VOCABULARIES)
    known = VOCABULARIES[corpus] if codes is None else codes
    wrong = raw.notna() & ~raw.isin(list(known))
    if wrong.any():
        item, code = raw.index[wrong][0], raw[wrong].iloc[0]
        raise SerbenchError(
            f"unknown class {code!r} of {item!r} in {source} ({int(wrong.sum())} such rows). "
            f"{corpus} has: {', '.join(known)}. Correct the file, or check that it is {corpus}'s."
        )
    return raw.map({code: emotion for code, emotion in known.items() if emotion}).astype("string")


def canonical_words(raw: pd.Series[Any]) -> pd.Series[Any]:
    """Canonical emotion of single raters' words (categories give categories); unknown words stay missing."""
    emotions = {word: emotion for emotion, words in WORDS.items() for word in words}
    codes, words = pd.factorize(raw)
    positions = pd.Index(EMOTIONS).get_indexer(
        pd.Index([_emotion_of(str(word), emotions) for word in words], dtype=object)
    )
    chosen = pd.Categorical.from_codes(np.append(positions, -1)[codes], pd.Index(EMOTIONS))
    result = pd.Series(chosen, raw.index, name=raw.name)
    return result if isinstance(raw.dtype, pd.CategoricalDtype) else result.astype("string")


def _emotion_of(word: str, emotions: Mapping[str, str]) -> str | None:
    plain = word.strip().lower()
    return "other" if plain.startswith("other") else emotions.get(plain)


def soft_labels(votes: pd.DataFrame, emotions: Iterable[str] = EMOTIONS) -> pd.DataFrame:
    """Share of the raters' votes per emotion.

    Parameters
    ----------
    votes : columns id, emotion (canonical or missing) and, optionally, weight (1 where absent); one row per vote
    emotions : the canonical emotions that become columns

    Returns
    -------
    table indexed by id, a column `soft_<emotion>` each; a row sums to 1, and is missing where no vote is usable
    """
    names = list(emotions)
    row, ids = pd.factorize(votes["id"])
    codes, met = pd.factorize(votes["emotion"])
    column = np.append(pd.Index(names).get_indexer(pd.Index(met)), -1)[codes]
    weight = votes["weight"].to_numpy() if "weight" in votes else np.ones(len(votes))
    used = column >= 0
    cells = row[used] * len(names) + column[used]
    totals = np.bincount(cells, weight[used], len(ids) * len(names)).astype(float).reshape(len(ids), len(names))
    sums = totals.sum(axis=1, keepdims=True)
    shares = np.divide(totals, sums, out=np.full_like(totals, np.nan), where=sums > 0)
    return pd.DataFrame(shares, pd.Index(ids, name="id").astype("str"), [f"soft_{emotion}" for emotion in names])


def rescale(values: Numbers, source: Scale, target: Scale) -> Numbers:
    """Carry numbers linearly from scale (a, b) to scale (c, d): (x - a)(d - c)/(b - a) + c."""
    if source[0] >= source[1] or target[0] >= target[1]:
        raise SerbenchError(f"can't rescale from {source} to {target}: a scale is (lowest, highest).")
    return (values - source[0]) * ((target[1] - target[0]) / (source[1] - source[0])) + target[0]


def rescaled(table: pd.DataFrame, source: Mapping[str, Scale], target: Mapping[str, Scale]) -> pd.DataFrame:
    """A copy of `table` with every attribute column that both scales name carried from `source` to `target`."""
    changed = {
        name: rescale(table[name], source[name], target[name])
        for name in target
        if name in table and name in source and tuple(source[name]) != tuple(target[name])
    }
    return table.assign(**changed) if changed else table.copy()


def mapping_report(task: Task, table: pd.DataFrame) -> tuple[str, ...]:
    """What a classification task makes of a table, in lines: classes with counts and merges, then what is dropped."""
    counts = table.loc[task.select(table).index, task.column].value_counts()
    mapping = task.mapping or {label: label for label in task.labels}
    lines = []
    for label in task.labels:
        parts = {raw: int(counts.get(raw, 0)) for raw, to in mapping.items() if to == label}
        merged = " = " + " + ".join(f"{raw} {n}" for raw, n in sorted(parts.items())) if len(parts) > 1 else ""
        lines.append(f"{label}: {sum(parts.values())}{merged}")
    dropped = ", ".join(f"{raw} {n}" for raw, n in task.dropped(table).items())
    return (*lines, f"dropped: {dropped or 'nothing'}")


def transfer(task: Task, corpus: Corpus) -> tuple[Task, Corpus, tuple[str, ...]]:
    """Ask the task of one corpus of another one.

    Returns
    -------
    the task without conditions on columns that `corpus` lacks; `corpus` with its attributes on the task's scales; and
    notes to be shown: what is dropped, which classes never occur, which scales were converted, which conditions fell

    Raises
    ------
    SerbenchError
        If `corpus` has no label of the task at all, or lacks one of its attributes.
    """
    table = corpus.recordings if task.kind == "continuous" else corpus.utterances
    if table is None:
        raise SerbenchError(f"{corpus.name} has no time-continuous labels, so it can't be asked {task.name!r}.")
    fallen = [column for column in task.where if column not in table]
    asked = dataclasses.replace(task, where={c: v for c, v in task.where.items() if c not in fallen})
    notes = [f"{corpus.name} has no column {c!r}: the task's condition on it is left out" for c in fallen]
    if task.kind == "classification":
        return asked, corpus, (*notes, *_classes_met(asked, corpus, table))
    moved, changes = _rescaled_corpus(asked, corpus)
    if task.kind == "regression" and asked.select(moved.utterances).empty:
        raise SerbenchError(f"no utterance of {corpus.name} has all of {', '.join(task.targets)}.")
    return asked, moved, (*notes, *changes)


def _classes_met(task: Task, corpus: Corpus, table: pd.DataFrame) -> tuple[str, ...]:
    if task.column not in table or task.select(table).empty:
        has = sorted(table[task.column].dropna().unique()) if task.column in table else []
        raise SerbenchError(
            f"{corpus.name} has no utterance of the classes {', '.join(task.labels)} in the column {task.column!r}; "
            f"it has: {', '.join(map(str, has)) or 'no such labels'}."
        )
    return mapping_report(task, table)


def _rescaled_corpus(task: Task, corpus: Corpus) -> tuple[Corpus, tuple[str, ...]]:
    lacking = [t for t in task.targets if t not in corpus.scales]
    if lacking:
        raise SerbenchError(
            f"{corpus.name} has no {' and no '.join(lacking)}; it has: {', '.join(corpus.scales) or 'no attributes'}."
        )
    scales = {t: task.scales[t] for t in task.targets}
    changed = tuple(
        f"{t}: {corpus.name}'s scale {_range(corpus.scales[t])} carried to {_range(scales[t])}"
        for t in task.targets
        if tuple(corpus.scales[t]) != tuple(scales[t])
    )
    if not changed:
        return corpus, ()
    source, raters, old = corpus.trace_source, corpus.rater_source, dict(corpus.scales)
    moved = dataclasses.replace(
        corpus,
        utterances=rescaled(corpus.utterances, old, scales),
        recordings=None if corpus.recordings is None else rescaled(corpus.recordings, old, scales),
        scales={**old, **scales},
        trace_source=None if source is None else lambda item: rescaled(source(item), old, scales),
        rater_source=None if raters is None else lambda: rescaled(raters(), old, scales),
    )
    return moved, changed


def _range(scale: Scale) -> str:
    return f"{scale[0]:g} .. {scale[1]:g}"
