"""The plan of a paper: what is run, what is compared, and which tables and figures are made of it.

It is written as TOML (`reading`), with one entry for each of these classes; docs/papers.md describes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...datasets.core.errors import SerbenchError


@dataclass(frozen=True)
class CorpusEntry:
    """A corpus: registered name, folder (else --root or the environment), release, and KEY=VALUE for its reader."""

    name: str = ""
    root: str | None = None
    release: str | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelEntry:
    """A row: its name in tables, the model (or MODEL:PRESET), and what is set; `rehearsal` is set beside in one."""

    name: str = ""
    model: str = ""
    settings: tuple[str, ...] = ()
    rehearsal: tuple[str, ...] = ()
    refit: bool = False
    calibrate: str = ""
    train_with: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """A corpus (or A+B) that is trained on, the one that is tested (default: by its own folds), tasks and classes.

    `models` names rows; default: all of the plan.
    """

    train: str = ""
    test: str | None = None
    tasks: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """One row against others (default: all), planned, so that p-values are adjusted over these alone."""

    name: str = ""
    system: str = ""
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True)
class Display:
    """A table or a figure: file name, kind, caption, rows (default: all), and the comparison that it shows or marks."""

    name: str = ""
    kind: str = "scores"
    caption: str = ""
    models: tuple[str, ...] = ()
    comparison: str = ""


@dataclass(frozen=True)
class FileEntry:
    """A file that settings name as {NAME}: where it lies (else --file NAME=PATH), and the command that makes it."""

    name: str = ""
    path: str | None = None
    make: str = ""


@dataclass(frozen=True)
class Cut:
    """The protocol: trainings, subsets of the test items, seeds, and splits; as the options of `serbench run`."""

    trials: int = 5
    subsets: int = 4
    seed: int = 0
    split: str | None = None
    dev: str = ""
    share: str = ""
    group: str = "auto"


@dataclass(frozen=True)
class Rehearsal:
    """What is smaller in a rehearsal: trainings, preset (of models that have it), settings, utterances."""

    trials: int = 2
    preset: str = "small"
    utterances: int | None = None
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperPlan:
    """A whole plan; `about` is a paragraph of the document, `cite` are further keys of the references."""

    title: str = ""
    about: str = ""
    cite: tuple[str, ...] = ()
    protocol: Cut = Cut()
    rehearsal: Rehearsal = Rehearsal()
    corpora: tuple[CorpusEntry, ...] = ()
    files: tuple[FileEntry, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    tables: tuple[Display, ...] = ()
    figures: tuple[Display, ...] = ()

    def model(self, name: str) -> ModelEntry:
        """The row of a name."""
        return next(one for one in self.models if one.name == name)

    def comparison(self, name: str) -> Comparison:
        """The comparison of a name, its rivals named."""
        one = next(one for one in self.comparisons if one.name == name)
        rivals = one.rivals or tuple(row.name for row in self.models if row.name != one.system)
        return Comparison(one.name, one.system, rivals)

    def shown(self, display: Display) -> tuple[str, ...]:
        """Names of the rows that a table or figure shows."""
        return display.models or tuple(one.name for one in self.models)


def texts(given: Sequence[str], where: str) -> dict[str, str]:
    """KEY=VALUE texts of a plan as a dictionary."""
    values: dict[str, str] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise SerbenchError(f"{where} has {text!r}. Expected KEY=VALUE.")
        values[key.strip()] = value.strip()
    return values
