"""Tasks: what is predicted, for which items, on which scale.

A task turns rows of a corpus table into labels. There are three kinds:

- `classification`: one label of a stated set per utterance, from a column and a mapping (rows whose raw value the
  mapping leaves out are not part of the task, and `dropped` counts them);
- `regression`: one or more attributes per utterance, on the corpus's own stated scale;
- `continuous`: a trace of attributes per recording, one row per label frame.

Axis order everywhere: (utterance, target) or (frame, target).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..core.errors import SerbenchError

Kind = Literal["classification", "regression", "continuous"]
ATTRIBUTES = ("arousal", "valence", "dominance", "liking")


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Parameters
    ----------
    name : the name typed after `--task`
    kind : classification, regression or continuous
    targets : names of the predicted columns; for classification the single name of the scored quantity
    labels : class names in the order of class indices (classification only)
    column : the table's column that classification reads
    mapping : value of `column` -> class name; empty means that the values are the class names
    where : column -> allowed values; other rows are not part of the task (such as improvised dialogues only)
    scales : target -> (lowest, highest) value of the label scale (regression and continuous)
    frame_seconds : distance of two label frames in seconds (continuous only)
    doc : one line for `serbench list` and the protocol card
    """

    name: str
    kind: Kind
    targets: tuple[str, ...]
    labels: tuple[str, ...] = ()
    column: str = "emotion"
    mapping: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scales: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    frame_seconds: float | None = None
    doc: str = ""

    def __post_init__(self) -> None:
        """Refuse a task that contradicts itself; this is an adapter author's error."""
        if self.kind == "classification" and len(self.labels) < 2:
            raise SerbenchError(f"the task {self.name!r} has {len(self.labels)} classes. Expected two or more.")
        if self.kind != "classification" and set(self.targets) - set(self.scales):
            raise SerbenchError(f"the task {self.name!r} states no scale for {set(self.targets) - set(self.scales)}.")
        if self.kind == "continuous" and not self.frame_seconds:
            raise SerbenchError(f"the continuous task {self.name!r} states no frame_seconds.")

    @property
    def n_outputs(self) -> int:
        """Width of a prediction: the number of classes, or of targets."""
        return len(self.labels) if self.kind == "classification" else len(self.targets)

    @property
    def metric(self) -> str:
        """The primary metric: "UAR" for classification, "CCC" otherwise."""
        return "UAR" if self.kind == "classification" else "CCC"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description; records hold it and the task digest is taken of it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "targets": list(self.targets),
            "labels": list(self.labels),
            "column": self.column,
            "mapping": dict(self.mapping),
            "where": {k: list(v) for k, v in self.where.items()},
            "scales": {k: list(v) for k, v in self.scales.items()},
            "frame_seconds": self.frame_seconds,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """Inverse of `to_dict`."""
        return cls(
            name=values["name"],
            kind=values["kind"],
            targets=tuple(values["targets"]),
            labels=tuple(values["labels"]),
            column=values["column"],
            mapping=dict(values["mapping"]),
            where={k: tuple(v) for k, v in values["where"].items()},
            scales={k: (float(v[0]), float(v[1])) for k, v in values["scales"].items()},
            frame_seconds=values["frame_seconds"],
        )

    def select(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of an utterance (or, for continuous tasks, recording) table that carry a usable label."""
        keep = self._where(table)
        if self.kind == "classification":
            keep &= self._classes(table).isin(self.labels)
        elif self.kind == "regression":
            self._need(table, self.targets)
            keep &= table[list(self.targets)].notna().all(axis=1)
        return table[keep]

    def dropped(self, table: pd.DataFrame) -> dict[str, int]:
        """Count, per raw value, the rows of `table` that the task leaves out (`no label` for missing ones)."""
        out = table[~table.index.isin(self.select(table).index)]
        if self.kind != "classification" or self.column not in out:
            return {"no label": len(out)} if len(out) else {}
        counts = out[self.column].fillna("no label").astype(str).value_counts().sort_index()
        return {str(k): int(v) for k, v in counts.items()}

    def encode(self, items: pd.DataFrame) -> npt.NDArray[Any]:
        """Labels of selected rows.

        Returns
        -------
        array, (utterance,) int64 class indices for classification, (utterance, target) float64 for regression
        """
        if self.kind == "classification":
            index = {label: i for i, label in enumerate(self.labels)}
            return self._classes(items).map(index).to_numpy(dtype=np.int64)
        if self.kind == "regression":
            return items[list(self.targets)].to_numpy(dtype=np.float64)
        raise SerbenchError(f"the task {self.name!r} is continuous: its labels are traces, from Corpus.trace(id).")

    def _classes(self, table: pd.DataFrame) -> pd.Series[Any]:
        self._need(table, (self.column,))
        values = table[self.column]
        return values.map(dict(self.mapping)) if self.mapping else values

    def _where(self, table: pd.DataFrame) -> pd.Series[bool]:
        keep = pd.Series(True, index=table.index)
        for column, allowed in self.where.items():
            self._need(table, (column,))
            keep &= table[column].isin(allowed)
        return keep

    def _need(self, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
        missing = [c for c in columns if c not in table]
        if missing:
            raise SerbenchError(
                f"the task {self.name!r} needs the column(s) {', '.join(missing)}; "
                f"the corpus table has: {', '.join(map(str, table.columns))}."
            )


def attribute_tasks(
    attributes: tuple[str, ...], scales: Mapping[str, tuple[float, float]], name: str = "attributes"
) -> tuple[Task, ...]:
    """The joint regression task `attributes`, and one task per attribute under its own name."""
    known = {a: scales[a] for a in attributes}
    joint = Task(name, "regression", attributes, scales=known, doc="all attributes jointly")
    single = (Task(a, "regression", (a,), scales={a: scales[a]}, doc=f"{a} alone") for a in attributes)
    return (joint, *single)
