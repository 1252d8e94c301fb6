"""Predictions of trained weights on any audio: files, folders, or a corpus; nothing is trained and nothing is scored.

Several weights are applied in one pass: a feature that several of them take is made once, and read once per utterance.
A file that can't be used is reported with its reason and does not end the work.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.corpus import Corpus, make_table
from ...datasets.schema.task import Task
from ...features.core.feature_extractor import FeatureRequest, build
from ...features.core.feature_table import Array, FeatureTable
from ...features.extraction.extract import extract_from
from ...results.record.storage import csv_text
from ...sermodels.core.context import context_turns, widest
from ...sermodels.core.persist import describe, load_model, trained_on
from ...sermodels.core.sermodel import TURN_COLUMNS, Data, Predictions, Resources, SERModel
from ...sermodels.core.temperature import scaled
from ..core.progress import Display, Silent

AUDIO = (".wav", ".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff", ".opus")
"""Suffixes that are taken from a folder; a file that is named is taken whatever its suffix."""
SLICE = 64
"""Utterances that go through all models before the next ones are read."""


@dataclass(frozen=True)
class Predicted:
    """`table`: the column `file`, then those of every model; `failed`: file -> why there is no row for it."""

    table: pd.DataFrame
    failed: Mapping[str, str]


def predict(
    weights: Sequence[str | Path],
    audio: Sequence[str | Path] | Corpus,
    *,
    model: str | None = None,
    partition: str | None = None,
    device: str = "auto",
    jobs: int = 1,
    display: Display | None = None,
) -> Predicted:
    """Apply trained weights.

    Parameters
    ----------
    weights : files of trained models (or the folders that hold them), all for tasks with one row per utterance or all
        for continuous ones
    audio : files and folders (searched through and through), or a corpus, of which every utterance is taken
    model : name of the model that the weights are expected to be of; None = any
    partition : of a corpus, only the utterances of this partition, such as one whose labels are hidden
    jobs : processes that make features

    Returns
    -------
    one row per utterance, or per frame for continuous tasks, which have a column `time` in seconds too. Columns are the
    targets; for classification the task's name (the likeliest class) and `p_<class>`. `file` is the path as given,
    or relative to a folder that is given alone; for a corpus its relative path, or the utterance's id where several
    utterances share a file

    Raises
    ------
    SerbenchError
        For no audio, weights that can't be read or don't go together, or when no file could be used.
    """
    shown = display or Silent()
    applied = [Applied.load(Path(path), device, model) for path in weights]
    _check_columns(applied)
    corpus, names = (audio, corpus_names(audio)) if isinstance(audio, Corpus) else corpus_of(audio)
    items = _predicted_rows(corpus, applied, partition)
    tables = feature_tables(corpus, items, applied, jobs, shown)
    failed = {i: t.failed[i] for t in tables.values() for i in items.index if i in t.failed}
    kept = items.loc[[i for i in items.index if i not in failed]]
    if not len(kept):
        reason = f" {next(iter(failed.values()))}" if failed else ""
        raise SerbenchError(f"none of the {len(items)} files can be used.{reason}")
    with shown.extraction("predicting", len(kept)) as progress:
        parts = []
        for first in range(0, len(kept), SLICE):
            parts.append(_slice(corpus, kept.iloc[first : first + SLICE], applied, tables, names))
            if progress:
                progress(min(first + SLICE, len(kept)), len(kept), 0.0)
    return Predicted(pd.concat(parts, ignore_index=True), {names[i]: reason for i, reason in failed.items()})


@dataclass(frozen=True)
class Applied:
    """A loaded model, its features, and the file that it came from."""

    path: Path
    model: SERModel
    features: Mapping[str, FeatureRequest]
    temperature: float | None = None

    @classmethod
    def load(cls, path: Path, device: str, expected: str | None) -> Applied:
        """Read the weights; refuse those of another model."""
        from ..core.machine import resolve_device

        head = describe(path)
        if expected is not None and head["model"] != expected:
            raise SerbenchError(
                f"{str(path)!r} holds weights of {head['model']!r}, but --model {expected} was given. "
                f"Type --model {head['model']}, or leave --model out."
            )
        model = load_model(path, Resources(device="cpu"))
        if model.uses_device and (where := resolve_device(device)) != "cpu":
            model = load_model(path, Resources(device=where))
        return cls(path, model, trained_on(head), (head.get("notes") or {}).get("temperature"))

    def predict(self, data: Data) -> Predictions:
        """What the model predicts, at the temperature that it was calibrated with, if it was."""
        return scaled(self.model.predict(data), self.temperature)

    @property
    def columns(self) -> list[str]:
        """The columns of its predictions."""
        task = self.model.task
        classes = [task.name, *(f"p_{label}" for label in task.labels)]
        return classes if task.kind == "classification" else list(task.targets)


def _check_columns(applied: Sequence[Applied]) -> None:
    """Refuse weights whose predictions can't stand in one table."""
    if not applied:
        raise SerbenchError("no weights were given. Expected --weights FILE, once or several times.")
    owner: dict[str, Path] = {}
    for one in applied:
        for column in one.columns:
            if column in owner:
                raise SerbenchError(
                    f"{str(owner[column])!r} and {str(one.path)!r} both predict {column!r}. Expected weights for "
                    "different targets; write one CSV file for each."
                )
            owner[column] = one.path
    frames = {(one.model.task.kind == "continuous", one.model.task.frame_seconds) for one in applied}
    if len(frames) > 1:
        raise SerbenchError(
            "some of the weights predict frames and others utterances, or frames of another length. Expected one kind: "
            "write one CSV file for each."
        )


def corpus_of(paths: Sequence[str | Path]) -> tuple[Corpus, dict[str, str]]:
    """Audio files as a corpus without labels, and the name of each item."""
    names: dict[str, str] = {}
    alone = len(paths) == 1
    for given in map(Path, paths):
        for path in audio_files(given):
            relative = path.relative_to(given) if alone and given.is_dir() else path
            names.setdefault(os.path.abspath(path), relative.as_posix())
    rows = [{"id": full, "path": Path(full).relative_to(Path(full).anchor).as_posix()} for full in names]
    anchor = Path(next(iter(names))).anchor
    return Corpus("files", "", Path(anchor), make_table(rows), tasks=(), splits={}), names


def audio_files(path: Path) -> list[Path]:
    """The file itself, or all audio files in a folder and below it, sorted.

    Raises
    ------
    SerbenchError
        If there is no such path, or no audio in the folder.
    """
    if path.is_dir():
        sounds = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO and p.is_file())
        if not sounds:
            raise SerbenchError(f"there is no audio in {str(path)!r}. Expected files that end in {', '.join(AUDIO)}.")
        return sounds
    if not path.exists():
        raise SerbenchError(f"there is no file or folder {str(path)!r}. Expected audio files, or a folder of them.")
    return [path]


def corpus_names(corpus: Corpus) -> dict[str, str]:
    """Utterance id -> path, or the id itself where several utterances share a file."""
    table = corpus.utterances if corpus.recordings is None else pd.concat([corpus.utterances, corpus.recordings])
    shared = table["path"].duplicated().any() or table["start"].notna().any()
    return {str(i): str(i) if shared else str(path) for i, path in zip(table.index, table["path"], strict=True)}


def _predicted_rows(corpus: Corpus, applied: Sequence[Applied], partition: str | None) -> pd.DataFrame:
    """The rows that are predicted."""
    continuous = applied[0].model.task.kind == "continuous"
    rows = corpus.recordings if continuous and corpus.recordings is not None else corpus.utterances
    if partition is None:
        return rows
    chosen = rows[rows["partition"].eq(partition).fillna(False)]
    if chosen.empty:
        raise unknown(f"partition of {corpus.name}", partition, sorted(set(rows["partition"].dropna())))
    return chosen


def feature_tables(
    corpus: Corpus, items: pd.DataFrame, applied: Sequence[Applied], jobs: int, shown: Display
) -> dict[str, FeatureTable]:
    """Feature tables by the extractor's digest; each is made once for all models."""
    wanted = {build(request).digest(): request for one in applied for request in one.features.values()}
    rows = items
    if context := widest(type(one.model) for one in applied):
        around = context_turns(corpus, [str(i) for i in items.index if i in corpus.utterances.index], context)
        more = corpus.utterances.index.intersection(around)
        rows = pd.concat([items, corpus.utterances.loc[more.difference(items.index)]])
    tables = {}
    for key, request in wanted.items():
        with shown.extraction(request.name, len(rows)) as progress:
            made = extract_from(corpus, rows, build(request), jobs=jobs, progress=progress)
        tables[key] = replace(made, loaders=_Remembering(made.loaders))
    return tables


def _slice(
    corpus: Corpus,
    items: pd.DataFrame,
    applied: Sequence[Applied],
    tables: Mapping[str, FeatureTable],
    names: Mapping[str, str],
) -> pd.DataFrame:
    """Rows of some utterances."""
    blocks = []
    for one in applied:
        features = {role: tables[build(request).digest()] for role, request in one.features.items()}
        task = one.model.task
        frames = _frames(corpus, items, task, features) if task.kind == "continuous" else {}
        turns = corpus.utterances[list(TURN_COLUMNS)]
        data = Data(task, items, features, None, corpus.words if one.model.uses_words else None, frames, turns)
        blocks.append(_columns(task, one.predict(data)))
    files = [names[str(i)] for i in items.index]
    if applied[0].model.task.kind != "continuous":
        return pd.concat([pd.DataFrame({"file": files}), *blocks], axis=1)
    lengths = [frames[str(i)] for i in items.index]
    time = np.concatenate([np.arange(n) for n in lengths]) * (applied[0].model.task.frame_seconds or 0.0)
    return pd.concat([pd.DataFrame({"file": np.repeat(files, lengths), "time": time}), *blocks], axis=1)


def _columns(task: Task, predictions: Predictions) -> pd.DataFrame:
    """Predictions of one model as columns."""
    array = np.concatenate(predictions) if isinstance(predictions, list) else np.asarray(predictions)
    if task.kind != "classification":
        return pd.DataFrame(dict(zip(task.targets, array.T, strict=True)))
    likeliest = pd.DataFrame({task.name: [task.labels[k] for k in array.argmax(axis=1)]})
    return likeliest.assign(**{f"p_{label}": array[:, k] for k, label in enumerate(task.labels)})


def _frames(corpus: Corpus, items: pd.DataFrame, task: Task, features: Mapping[str, FeatureTable]) -> dict[str, int]:
    """Label frames of each item: as many as its trace has, or as fit into its audio."""
    ids = [str(i) for i in items.index]
    if corpus.trace_source is not None:
        return {i: len(corpus.trace(i)) for i in ids}
    table = next((t for t in features.values() if t.hop_seconds is not None), None)
    if table is None or not task.frame_seconds:
        raise SerbenchError(f"how long files are can't be told from the features of {task.name!r}. Expected a corpus.")
    return {i: max(1, int(table.frames(i) * (table.hop_seconds or 0.0) / task.frame_seconds)) for i in ids}


class _Remembering(Mapping[str, Callable[[], Array]]):
    """Loaders whose last arrays are held, so that models that share a feature read it once."""

    def __init__(self, loaders: Mapping[str, Callable[[], Array]], most: int = 2 * SLICE) -> None:
        self._loaders, self._most = loaders, most
        self._held: OrderedDict[str, Array] = OrderedDict()

    def __getitem__(self, item: str) -> Callable[[], Array]:
        return partial(self._load, item)

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaders)

    def __len__(self) -> int:
        return len(self._loaders)

    def _load(self, item: str) -> Array:
        if item not in self._held:
            self._held[item] = self._loaders[item]()
            if len(self._held) > self._most:
                self._held.popitem(last=False)
        return self._held[item]


def to_csv(predicted: Predicted) -> str:
    """The table as CSV text, six decimals; no name of a file is a formula in it."""
    return csv_text(predicted.table, 6)
