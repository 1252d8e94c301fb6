"""The corpus table: who said what, when, to whom, and how it was rated.

`Corpus.utterances` is a pandas table indexed by utterance id with the columns below; a column that a corpus can't
fill holds missing values, and a corpus may add columns of its own (session, scenario, fold groups). `recordings` is
the same kind of table for corpora with time-continuous labels: one row per traced recording (one side of a dialogue).
Nothing here touches audio: a corpus loads without any audio on disk.

| column | meaning |
|---|---|
| path | audio file, relative to the root, `/` as separator |
| start, end | segment of the file in seconds; missing = the whole file |
| speaker, gender, language | gender is "female", "male" or missing; language an ISO 639-1 code |
| dialogue, turn | dialogue id; position of the turn in it, from 0, all speakers counted |
| dialogue_start, dialogue_end | seconds in the dialogue's own time |
| previous, interlocutor | ids of the speaker's previous turn and of the interlocutor's last turn before this one |
| text | transcript |
| partition | "train", "dev", "test" (or "test1" ...), "unlabelled"; missing where the corpus has folds instead |
| raw_emotion, emotion | the corpus's own label text, and the canonical one of `EMOTIONS` (missing = no agreement) |
| arousal, valence, dominance, liking | on the corpus's own scale, stated in `scales` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..core.files import digest, inside
from .task import ATTRIBUTES, Task

EMOTIONS = (
    "anger",
    "boredom",
    "calm",
    "contempt",
    "disgust",
    "excitement",
    "fear",
    "frustration",
    "happiness",
    "neutral",
    "other",
    "sadness",
    "surprise",
)
TEXT_COLUMNS = (
    "path",
    "speaker",
    "gender",
    "language",
    "dialogue",
    "previous",
    "interlocutor",
    "text",
    "partition",
    "raw_emotion",
    "emotion",
)
NUMBER_COLUMNS = ("start", "end", "turn", "dialogue_start", "dialogue_end", *ATTRIBUTES)
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS)


@dataclass(frozen=True)
class Fold:
    """One division of a corpus, as data: each role is `column -> values`, and all named columns must match.

    `train` left empty means every labelled row that neither `test` nor `dev` selects and that is not in the
    partition "unlabelled".
    """

    name: str
    test: Mapping[str, tuple[str, ...]]
    dev: Mapping[str, tuple[str, ...]]
    train: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def assign(self, table: pd.DataFrame) -> pd.Series[str]:
        """Role of each row: "train", "dev", "test", or missing for rows outside the fold."""
        role = pd.Series(pd.NA, index=table.index, dtype="string")
        rest = _match(table, self.train) if self.train else table["partition"].ne("unlabelled").fillna(True)
        role[rest.to_numpy(dtype=bool)] = "train"
        role[_match(table, self.dev).to_numpy(dtype=bool)] = "dev"
        role[_match(table, self.test).to_numpy(dtype=bool)] = "test"
        return role


@dataclass(frozen=True)
class ListedFold:
    """One division of a corpus as a list: id -> "train", "dev" or "test"; ids that are not listed are outside of it."""

    name: str
    roles: Mapping[str, str]

    def assign(self, table: pd.DataFrame) -> pd.Series[str]:
        """Role of each row, as of `Fold`."""
        return pd.Series([self.roles.get(str(i)) for i in table.index], index=table.index, dtype="string")


OFFICIAL = Fold("official", test={"partition": ("test",)}, dev={"partition": ("dev",)}, train={"partition": ("train",)})


def rotation(column: str, groups: Iterable[str]) -> tuple[Fold, ...]:
    """Leave-one-group-out folds over a column: fold k tests on group k, selects on group k + 1, trains on the rest."""
    values = list(groups)
    return tuple(
        Fold(f"{column}-{g}", test={column: (g,)}, dev={column: (values[(i + 1) % len(values)],)})
        for i, g in enumerate(values)
    )


@dataclass(frozen=True)
class Corpus:
    """A corpus: its table, its tasks, its ways of being split, and where its words and traces come from.

    Parameters
    ----------
    name, release : the registered dataset name, and the corpus's own release ("" if it has only one)
    root : folder that the `path` column is relative to
    utterances, recordings : tables as described above, indexed by unique id; build them with `make_table`
    tasks : the first one is the default of `--task`
    splits : name -> folds; the first one is the default. A corpus with official partitions has `OFFICIAL`
    scales : attribute -> (lowest, highest)
    subset_group : column whose groups the 4 test subsets may not cut (None: utterances are cut freely)
    shared : columns among speaker, dialogue ... that the corpus's own splits are known to share between train and test
    expected : what is counted -> published number, checked as warnings by `serbench check`
    generic : whether the name stands for any corpus, such as a user's table: two are one only in the same folder
    incidental : columns in which copies of one release differ (names of folders, formats); the digest leaves them out
    further : patterns (`fnmatch`, any case, relative to the root) of sound that is distributed and in no row; `serbench
        check` calls none of it an orphan
    word_source : id -> table of words: word, start, end [s]
    recognised : who recognised these words, `asr(MODEL)`; empty where they are a transcript's
    trace_source : id -> table of frames: time [s], one column per attribute
    rater_source : makes the table of single raters' answers (`schema/ratings.py`); None where none are kept
    intended : label columns that say what speakers were to express, not what raters heard
    """

    name: str
    release: str
    root: Path
    utterances: pd.DataFrame
    tasks: tuple[Task, ...]
    splits: Mapping[str, tuple[Fold, ...]]
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    recordings: pd.DataFrame | None = None
    licence: str = "unknown"
    citation: str = ""
    homepage: str = ""
    subset_group: str | None = None
    shared: tuple[str, ...] = ()
    expected: Mapping[str, int] = field(default_factory=dict)
    known_unusable: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    further: tuple[str, ...] = ()
    word_source: Callable[[str], pd.DataFrame] | None = None
    recognised: str = ""
    trace_source: Callable[[str], pd.DataFrame] | None = None
    audio_source: Callable[[Path], Path] | None = None
    incidental: tuple[str, ...] = ("path",)
    generic: bool = False
    rater_source: Callable[[], pd.DataFrame] | None = None
    intended: tuple[str, ...] = ()

    def task(self, name: str | None = None) -> Task:
        """The task of that name, or the default one."""
        if name is None:
            return self.tasks[0]
        for task in self.tasks:
            if task.name == name:
                return task
        raise unknown(f"task of {self.name}", name, [t.name for t in self.tasks])

    def folds(self, split: str | None = None) -> tuple[Fold, ...]:
        """The folds of the split of that name, or of the default one."""
        name = next(iter(self.splits)) if split is None else split
        if name not in self.splits:
            raise unknown(f"split of {self.name}", name, self.splits)
        return self.splits[name]

    def items(self, task: Task) -> pd.DataFrame:
        """The rows that a task is about: labelled utterances, or traced recordings."""
        if task.kind == "continuous":
            if self.recordings is None or self.trace_source is None:
                raise SerbenchError(
                    f"{self.name} has no time-continuous labels. Expected one of its tasks: "
                    f"{', '.join(t.name for t in self.tasks)}."
                )
            return task.select(self.recordings)
        return task.select(self.utterances)

    def unlabelled(self) -> pd.DataFrame:
        """The unlabelled pool (possibly empty)."""
        return self.utterances[self.utterances["partition"].eq("unlabelled").fillna(False)]

    def row(self, item: str) -> pd.Series[Any]:
        """The table row of an utterance or recording id."""
        for table in (self.utterances, self.recordings):
            if table is not None and item in table.index:
                return table.loc[[item]].iloc[0]
        raise unknown(f"utterance of {self.name}", item, self.utterances.index[:20])

    def audio_path(self, item: str) -> Path:
        """Absolute path of the item's audio file; paths that leave the root are an error.

        Where the corpus has an `audio_source` this may decode the item's clip first, and raises `SerbenchError` for one
        that can't be decoded. `source_path` never does.
        """
        path = self.source_path(item)
        return path if self.audio_source is None else self.audio_source(path)

    def source_path(self, item: str) -> Path:
        """Absolute path of the item's file as the corpus has it (which may be a video clip); nothing is opened."""
        return inside(self.root, str(self.row(item)["path"]))

    def words(self, item: str) -> pd.DataFrame:
        """Words of an item: columns word, start, end in seconds from the item's own start. Empty if unknown.

        A further column `source` says "spread" where times were only shared out evenly within a transcribed segment.
        """
        if self.word_source is None:
            return pd.DataFrame(
                {"word": pd.Series(dtype=str), "start": pd.Series(dtype=float), "end": pd.Series(dtype=float)}
            )
        return self.word_source(item)

    def trace(self, item: str) -> pd.DataFrame:
        """Frame labels of a recording: column time in seconds from its start, and one column per attribute."""
        if self.trace_source is None:
            raise SerbenchError(f"{self.name} has no time-continuous labels, so {item!r} has no trace.")
        return self.trace_source(item)

    def ratings(self) -> pd.DataFrame:
        """Single raters' answers, in the columns of `schema/ratings.py`; read when they are first asked for."""
        return self._ratings

    @cached_property
    def _ratings(self) -> pd.DataFrame:
        if self.rater_source is None:
            raise SerbenchError(f"{self.name} keeps no single raters' answers.")
        return self.rater_source()

    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify name, release, tables and scales.

        Neither the root nor the audio nor the `incidental` columns count, so copies of one release share a leaderboard.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        tables = [self.utterances] if self.recordings is None else [self.utterances, self.recordings]
        kept = [t.drop(columns=[c for c in self.incidental if c in t]) for t in tables]
        texts = [t.sort_index().sort_index(axis=1).to_csv(float_format="%.9g") for t in kept]
        return digest(
            {
                "name": self.name,
                "release": self.release,
                "tables": [digest(t, 64) for t in texts],
                "scales": {k: list(v) for k, v in self.scales.items()},
            }
        )

    @property
    def has_dialogues(self) -> bool:
        """Whether any utterance has a context turn; corpora without dialogues say so through this."""
        return bool(self.utterances[["previous", "interlocutor"]].notna().any(axis=None))


def make_table(rows: Iterable[Mapping[str, object]] | pd.DataFrame, id_column: str = "id") -> pd.DataFrame:
    """Build a corpus table: known columns typed and completed, extra ones kept, index checked to be unique text.

    Raises
    ------
    SerbenchError
        On a missing or doubled id, a missing `path`, a number column that holds text, or an unknown canonical emotion.
    """
    table = rows.copy() if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    if id_column in table:
        table = table.set_index(id_column)
    table.index = table.index.astype(str)
    table.index.name = "id"
    _check_ids(table)
    for column in TEXT_COLUMNS:
        known = column in table
        table[column] = table[column].astype("string") if known else pd.Series(pd.NA, table.index, dtype="string")
    for column in NUMBER_COLUMNS:
        known = column in table
        table[column] = _numbers(table, column) if known else pd.Series(float("nan"), table.index, dtype="float64")
    if table["path"].isna().any():
        lost = table.index[table["path"].isna()]
        raise SerbenchError(f"{len(lost)} rows have no path, the first is {lost[0]!r}. Expected a path in every row.")
    wrong = sorted(set(table["emotion"].dropna()) - set(EMOTIONS))
    if wrong:
        raise SerbenchError(f"unknown canonical emotion(s) {', '.join(wrong)}. Expected: {', '.join(EMOTIONS)}.")
    return table[[*COLUMNS, *(c for c in table if c not in COLUMNS)]].copy()


def _match(table: pd.DataFrame, values: Mapping[str, tuple[str, ...]]) -> pd.Series[bool]:
    keep = pd.Series(bool(values), index=table.index)
    for column, allowed in values.items():
        if column not in table:
            raise unknown("column of a fold", column, map(str, table.columns))
        keep &= table[column].astype("string").isin(allowed).fillna(False)
    return keep


def _check_ids(table: pd.DataFrame) -> None:
    if "path" not in table:
        raise SerbenchError(f"the table has no column 'path'; it has: {', '.join(map(str, table.columns))}.")
    doubled = table.index[table.index.duplicated()].unique()
    if len(doubled):
        raise SerbenchError(f"{len(doubled)} ids occur more than once, such as {doubled[0]!r}. Expected unique ids.")


def _numbers(table: pd.DataFrame, column: str) -> pd.Series[float]:
    if pd.api.types.is_numeric_dtype(table[column]):
        return table[column].astype("float64")
    numbers = pd.to_numeric(table[column], errors="coerce")
    bad = table.index[numbers.isna() & table[column].notna() & (table[column].astype(str).str.strip() != "")]
    if len(bad):
        held = table.loc[bad[0], column]
        raise SerbenchError(f"column {column!r} of {bad[0]!r} holds {held!r}. Expected a number or nothing.")
    return numbers.astype("float64")
