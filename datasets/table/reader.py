"""Bring your own corpus: one CSV, TSV or parquet file with the columns of the corpus table, all of them or a few.

`path,label` is enough, and so is `path,arousal,valence`. Paths are relative to the file and can't leave its folder;
with `--option audio=FOLDER` they are relative to that folder, or absolute ones inside it.

| column | meaning |
|---|---|
| path | required; audio file |
| id | unique; default: the path, and `path#start-end` for a segment |
| label | any text; see below |
| arousal, valence, dominance, liking | numbers; a task for each that varies, and `attributes` for all |
| scale, arousal_scale ... | `LOW..HIGH`, the same in every row: the scale of all attributes, or of one |
| partition | train, dev, test (test1 ...), unlabelled, in the usual spellings |
| fold | names of folds of your own |
| label@NAME, arousal@NAME ... | answers of single raters (`raters.py`); or `--option raters=FILE` |
| others | those of the corpus table (`schema/corpus.py`) with their meaning; further ones are kept as text |

Where all labels are known emotion words (`WORDS` in `schema/labels.py`), the task is `emotion` with the canonical
names. Otherwise it is `label` with the texts as classes, and `emotion` follows it if two or more of them are known.

Without a stated scale an attribute gets the tightest of 0..1, -1..1, 1..5, 1..7, 1..9, 0..10 and 0..100 that holds all
of its values, and its observed range if none does; `notes` say which.

Splits: `official` from `partition` (a missing dev part is cut from train, a missing test part is replaced by dev),
`fold` from that column, otherwise 5 seeded folds: `speaker-disjoint` where speakers are known, else `random`, with
dialogues, sessions and segments of one file kept together where they can be. What is guessed, cut or left out is said
in `notes`; missing speakers are warned of as well, since the same voice may then be in training and test.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..core.errors import SerbenchError, SerbenchWarning
from ..schema.context import add_context
from ..schema.corpus import COLUMNS, NUMBER_COLUMNS, OFFICIAL, Corpus, Fold, make_table, rotation
from ..schema.grouping import GUARDED, make_groups
from ..schema.task import ATTRIBUTES, Task, attribute_tasks
from .cells import (
    audio_folder,
    cell_error,
    genders,
    ids,
    labels,
    number_column,
    partitions,
    paths,
    references,
    stated_scale,
)
from .file import LINE, read_table, table_file
from .raters import rater_columns, ratings_of_columns, ratings_of_file

FOLDS = 5
KNOWN_SCALES = ((0.0, 1.0), (-1.0, 1.0), (1.0, 5.0), (1.0, 7.0), (1.0, 9.0), (0.0, 10.0), (0.0, 100.0))
MOST_CLASSES = 100
SCALE_COLUMNS = ("scale", *(f"{a}_scale" for a in ATTRIBUTES))
CELL_COLUMNS = (*COLUMNS, "id", "label", "fold", *SCALE_COLUMNS)
"""Columns that mean something here."""
RESERVED = ("fold_group", "dev_group")


@dataclass
class _Draft:
    """A corpus in the making."""

    file: Path
    table: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    remedy: str = "Add a column 'speaker'."  # where speakers are missing
    risks: list[str] = field(default_factory=list)  # noted too, and warned of
    shared: set[str] = field(default_factory=set)


def load(
    root: Path | None, release: str | None = None, *, audio: str | Path | None = None, raters: str | Path | None = None
) -> Corpus:
    """Load a corpus from a table file, or from a folder that holds exactly one.

    Parameters
    ----------
    root : the file; its folder is the corpus's root
    release : name of this corpus in records; default: the file's name without its ending
    audio : folder that the paths are relative to, or absolute paths lie in; default: the file's folder
    raters : file of single raters' answers, one row each

    Raises
    ------
    SerbenchError
        For a file or cell that can't be used; the message names the file, the line and the remedy.
    """
    if root is None:
        raise SerbenchError("table needs your table file. Type --root FILE.csv (or .tsv, .parquet).")
    file = table_file(root)
    cells = read_table(file, CELL_COLUMNS)
    corpus = corpus_of(
        cells, file, name="table", release=release or file.stem, audio=None if audio is None else audio_folder(audio)
    )
    if raters is None:
        return corpus
    if corpus.rater_source is not None:
        raise SerbenchError(
            f"{file} has columns of single raters, and raters={str(raters)!r} is given. Keep one of them."
        )
    answered = ratings_of_file(raters, corpus.utterances.index)
    return replace(corpus, rater_source=lambda: answered)


def corpus_of(
    cells: pd.DataFrame, file: Path, *, name: str, release: str, audio: Path | None = None, remedy: str = ""
) -> Corpus:
    """The corpus that text cells in the columns of this page make.

    Parameters
    ----------
    cells : texts (missing = NA), among them `path`, and the line or row of each in the column `LINE`
    file : where they were read, for messages; its folder is the corpus's root unless `audio` is given
    remedy : what to do where speakers are missing, in words

    Raises
    ------
    SerbenchError
        For a cell that can't be used.
    """
    single = rater_columns(cells, file)
    draft = _draft(cells.drop(columns=single), file, audio)
    answered = ratings_of_columns(cells, draft.table.index, single, file) if single else None
    draft.remedy = remedy or draft.remedy
    scales = _scales(draft, cells)
    tasks = _tasks(draft, scales)
    _check_speakers(draft)
    splits = _splits(draft)
    for risk in draft.risks:
        warnings.warn(f"{file.name}: {risk}", SerbenchWarning, stacklevel=3)
    return Corpus(
        name=name,
        release=release,
        root=audio or file.parent,
        utterances=draft.table,
        tasks=tasks,
        splits=splits,
        scales=scales,
        shared=tuple(sorted(draft.shared)),
        notes=(*draft.risks, *draft.notes),
        generic=True,
        rater_source=None if answered is None else lambda: answered,
    )


def _draft(cells: pd.DataFrame, file: Path, audio: Path | None) -> _Draft:
    """Type every column; nothing is guessed here but spellings."""
    for name in RESERVED:
        if name in cells:
            raise SerbenchError(f"{file} has a column {name!r}, which is made here. Call your folds 'fold'.")
    notes: list[str] = []
    columns: dict[str, pd.Series[Any]] = {"path": paths(cells, file, audio)}
    for name in NUMBER_COLUMNS:
        if name in cells:
            columns[name] = number_column(cells, name, file)
    _check_segments(cells, columns, file)
    if "partition" in cells:
        columns["partition"] = partitions(cells, file)
    if "gender" in cells:
        columns["gender"], unknown = genders(cells["gender"])
        notes += [f"gender {text!r} is taken as unknown ({n} rows)" for text, n in unknown.items()]
    labelled, more = labels(cells, file)
    columns.update(labelled)
    used = {*columns, *SCALE_COLUMNS, "id", "label", "emotion", LINE}
    kept: dict[str, pd.Series[Any]] = {str(c): cells[c] for c in cells if c not in used}
    table = pd.DataFrame({**kept, **columns})
    if "speaker" in table:
        table["speaker"] = table["speaker"].mask(table["speaker"].str.lower().eq("unknown").fillna(False))
    table.index = ids(cells, columns, file)
    table = make_table(table)
    references(table, cells[LINE], file)
    ordered = table["dialogue_start"].notna().any() or table["turn"].notna().any()
    if table["dialogue"].notna().any() and not {"previous", "interlocutor"} & set(cells):
        if ordered:
            table = add_context(table)
        else:
            more.append("dialogues have neither turn nor dialogue_start, so no utterance has context turns")
    return _Draft(file, table, notes + more)


def _check_segments(cells: pd.DataFrame, columns: Mapping[str, pd.Series[Any]], file: Path) -> None:
    nothing = pd.Series(np.nan, cells.index)
    start, end = columns.get("start", nothing), columns.get("end", nothing)
    bad = cells.index[(start < 0) | (end <= start.fillna(0))]
    if len(bad):
        given = f"start {start[bad[0]]:g} and end {end[bad[0]]:g}"
        raise cell_error(file, cells[LINE][bad[0]], f"{given}. Expected seconds with 0 <= start < end")


def _scales(draft: _Draft, cells: pd.DataFrame) -> dict[str, tuple[float, float]]:
    scales: dict[str, tuple[float, float]] = {}
    for name in ATTRIBUTES:
        values = draft.table[name].dropna()
        if values.empty:
            continue
        low, high = float(values.min()), float(values.max())
        column = next((c for c in (f"{name}_scale", "scale") if c in cells), None)
        stated = stated_scale(cells, column, draft.file) if column else None
        if stated:
            scales[name] = stated
            continue
        fitting = [s for s in KNOWN_SCALES if s[0] <= low and high <= s[1]]
        scales[name] = min(fitting, key=lambda s: s[1] - s[0]) if fitting else (low, high)
        rule = "the tightest known scale that holds" if fitting else "the observed range, as no known scale holds"
        draft.notes.append(
            f"{name}: scale {scales[name][0]:g}..{scales[name][1]:g} is {rule} all values ({low:g} to {high:g}); state "
            f"another in a column {name}_scale, such as 1..7"
        )
    return scales


def _tasks(draft: _Draft, scales: Mapping[str, tuple[float, float]]) -> tuple[Task, ...]:
    table, tasks = draft.table, []
    raw, known = table["raw_emotion"].dropna(), table["emotion"].dropna()
    if raw.nunique() > MOST_CLASSES:
        raise SerbenchError(
            f"{draft.file} has {raw.nunique()} different labels, such as {sorted(raw)[0]!r}. Expected {MOST_CLASSES} "
            "or fewer classes in 'label'; transcripts belong into 'text'."
        )
    unmapped = sorted(set(table["raw_emotion"][table["emotion"].isna()].dropna()))
    if unmapped and raw.nunique() > 1:
        classes = tuple(sorted(set(raw)))
        doc = "the labels as given"
        tasks.append(Task("label", "classification", ("label",), classes, column="raw_emotion", doc=doc))
        if len(known):
            draft.notes.append(f"no canonical emotion is known for the label(s) {', '.join(unmapped)}")
    if known.nunique() > 1:
        doc = "canonical emotions"
        tasks.append(Task("emotion", "classification", ("emotion",), tuple(sorted(set(known))), doc=doc))
    if raw.nunique() == 1:
        draft.notes.append(f"every label is {raw.iloc[0]!r}, so there is no classification task")
    varying = tuple(a for a in scales if table[a].nunique() > 1)
    draft.notes += [f"every value of {a} is the same, so it has no task" for a in scales if a not in varying]
    attributes = attribute_tasks(varying, scales) if varying else ()
    tasks += attributes if len(varying) > 1 else attributes[1:]
    if not tasks:
        filled = ", ".join(str(c) for c in table if table[c].notna().any())
        raise SerbenchError(
            f"no task can be made of {draft.file}. Expected a column 'label' (or 'emotion') with two or more classes, "
            f"or numbers that vary in {', '.join(ATTRIBUTES)}. It has: {filled}."
        )
    return tuple(tasks)


def _check_speakers(draft: _Draft) -> None:
    unknown, rows = int(draft.table["speaker"].isna().sum()), len(draft.table)
    if unknown:
        what = "no speakers are given" if unknown == rows else f"{unknown} of {rows} utterances have no speaker"
        draft.risks.append(f"{what}: the same voice may be in training and test (leak risk). {draft.remedy}")


def _splits(draft: _Draft) -> dict[str, tuple[Fold, ...]]:
    parts = set(draft.table["partition"].dropna()) - {"unlabelled"}
    splits: dict[str, tuple[Fold, ...]] = {}
    if parts - {"train"}:
        splits.update(_official(draft, parts))
    if "fold" in draft.table and draft.table["fold"].notna().any():
        splits["fold"] = _own_folds(draft)
    for name, folds in splits.items():
        _note_overlap(draft, name, folds)
    return splits or _made_folds(draft)


def _official(draft: _Draft, parts: set[str]) -> dict[str, tuple[Fold, ...]]:
    if "train" not in parts:
        given = ", ".join(sorted(parts))
        raise SerbenchError(f"the column 'partition' of {draft.file} has {given} but no train. Mark rows to train on.")
    outside = int(draft.table["partition"].isna().sum())
    if outside:
        draft.notes.append(f"{outside} rows have no partition: the official split leaves them out")
    tests = sorted(p for p in parts if p.startswith("test"))
    if "dev" in parts and tests:
        dev, train = OFFICIAL.dev, OFFICIAL.train
    else:
        dev, train = _cut_dev(draft, {"partition": ("train",)})
    if not tests:
        draft.notes.append("there is no test partition: dev is the test set")
        tests = ["dev"]
    names = ["official", *(f"official-{t}" for t in tests[1:])]
    return {n: (Fold(n, test={"partition": (t,)}, dev=dev, train=train),) for n, t in zip(names, tests, strict=True)}


def _own_folds(draft: _Draft) -> tuple[Fold, ...]:
    table = draft.table
    pool = table["partition"].ne("unlabelled").fillna(True)
    outside = int((table["fold"].isna() & pool).sum())
    if outside:
        draft.notes.append(f"{outside} rows have no fold: they are always in training")
    values = sorted(set(table["fold"][pool].dropna()), key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0, v))
    if len(values) < 2:
        raise SerbenchError(f"the column 'fold' of {draft.file} has {len(values)} value. Expected two or more folds.")
    if len(values) > 2:
        return rotation("fold", values)
    a, b = values
    dev, train = _cut_dev(draft, {"fold": (a, b)})
    return tuple(
        Fold(f"fold-{t}", test={"fold": (t,)}, dev={**dev, "fold": (o,)}, train={**train, "fold": (o,)})
        for t, o in ((a, b), (b, a))
    )


def _made_folds(draft: _Draft) -> dict[str, tuple[Fold, ...]]:
    pool = draft.table[draft.table["partition"].ne("unlabelled").fillna(True)]
    groups = make_groups(pool, FOLDS, least=3)
    draft.table["fold_group"] = groups.of.reindex(draft.table.index)
    draft.shared |= set(groups.shared)
    disjoint = pool["speaker"].notna().any() and "speaker" not in groups.shared
    name = "speaker-disjoint" if disjoint else "random"
    risk = "" if disjoint else "; leak risk: a speaker may be in training and test"
    draft.notes.append(f"no partition or fold is given: {len(groups.names)} {name} folds were made{risk}")
    if "speaker" in groups.shared:
        draft.risks.append(f"{pool['speaker'].nunique()} speakers are too few for speaker-disjoint folds (leak risk)")
    draft.notes += [f"the folds that were made share values of {c!r}" for c in groups.shared if c != "speaker"]
    return {name: rotation("fold_group", groups.names)}


def _cut_dev(draft: _Draft, rows: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, tuple[str, ...]], ...]:
    """Selections of a dev part (about a fifth, of whole speakers where known) and of the rest, per value of `rows`."""
    (column, values), table = next(iter(rows.items())), draft.table
    group = pd.Series(pd.NA, table.index, dtype="string")
    rest: set[str] = set()
    for value in values:
        chosen = table[table[column].eq(value).fillna(False) & table["partition"].ne("unlabelled").fillna(True)]
        groups = make_groups(chosen, FOLDS, least=2)
        group[groups.of.index] = groups.of
        rest |= set(groups.names) - {"1"}
        own = "speaker" not in groups.shared and chosen["speaker"].notna().all()
        kind = "by speakers of its own" if own else "at random"
        size = int(groups.of.eq("1").sum())
        draft.notes.append(f"dev is cut from {column} {value!r}, {kind}: {size} of {len(chosen)} rows (dev_group 1)")
    table["dev_group"] = group
    return {**rows, "dev_group": ("1",)}, {**rows, "dev_group": tuple(sorted(rest))}


def _note_overlap(draft: _Draft, name: str, folds: tuple[Fold, ...]) -> None:
    for column in (c for c in GUARDED if c in draft.table):
        values, crossing = draft.table[column], set[str]()
        for fold in folds:
            role = fold.assign(draft.table)
            test = set(values[role.eq("test").fillna(False)].dropna())
            crossing |= test & set(values[role.isin(["train", "dev"])].dropna())
        if crossing:
            what = f"{len(crossing)} {column}(s) both in training and test, such as {min(crossing)}"
            draft.risks.append(f"the split {name!r} has {what}")
