"""Trained weights that are scored as they are: which task of a corpus they predict, and what they have met in training.

A row of the leaderboard takes one file, or several of one model that together predict the targets of a joint task. Such
a row is marked `no-training`, and besides

- `imported-weights` (made by another program) or `saved-weights` (by `serbench run --save-models`);
- `training-data-unknown` where the file does not say what it was trained on;
- `weights-saw:NAME` where it was trained on the corpus that is tested, in another release or on an unknown fold.

Where the fold is known, what it trained and selected on is held against the test items as in a training (`guards`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.core.config import from_dict
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest, file_sha256
from ...datasets.schema.corpus import Corpus
from ...datasets.schema.labels import SETS
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ...results.record.identity import UNTRAINED
from ...sermodels import registry
from ...sermodels.core.persist import describe, trained_on, weights_file
from ..protocol.guards import Side, guard
from ..protocol.request import WeightsFile
from ..protocol.setting import Setting
from ..protocol.shared_tasks import keep_classes, task_of

PRESET = "weights"
"""What stands in place of the preset: `deepemocluster:weights` is no training of `deepemocluster`."""


@dataclass(frozen=True)
class Weights:
    """A file of trained weights and its description."""

    file: WeightsFile
    head: Mapping[str, Any]

    @property
    def task(self) -> Task:
        """What it predicts."""
        return Task.from_dict(self.head["task"])

    @property
    def features(self) -> dict[str, FeatureRequest]:
        """Role -> request of the features that it was trained on."""
        return trained_on(self.head)

    @property
    def notes(self) -> Mapping[str, Any]:
        """Where it came from, as far as it says."""
        notes: Mapping[str, Any] = self.head.get("notes") or {}
        return notes


def open_weights(paths: Iterable[str | Path], model: str | None = None) -> list[Weights]:
    """Describe files of weights.

    Raises
    ------
    SerbenchError
        For a file that is missing, no weights, of another model than `model`, or given twice.
    """
    opened: list[Weights] = []
    for path in paths:
        head = describe(path)
        if model is not None and head["model"] != model:
            raise SerbenchError(
                f"{str(path)!r} holds weights of {head['model']!r}, but --model {model} was given. Type --model "
                f"{head['model']}, or leave --model out."
            )
        one = Weights(WeightsFile(str(path), file_sha256(weights_file(path))), head)
        if (twin := next((w for w in opened if w.file.sha256 == one.file.sha256), None)) is not None:
            raise SerbenchError(f"{twin.file.path!r} and {str(path)!r} are the same weights. Give them once.")
        opened.append(one)
    return opened


def reopen(files: Sequence[WeightsFile]) -> list[Weights]:
    """Describe the files of a request; raise SerbenchError where one is not the file that was asked for."""
    opened = open_weights(file.path for file in files)
    for file, one in zip(files, opened, strict=True):
        if file.sha256 != one.file.sha256:
            raise SerbenchError(
                f"{file.path!r} has changed: expected SHA-256 {file.sha256[:16]}..., found {one.file.sha256[:16]}... "
                "Put the recorded file back, or score the new one: serbench run --weights."
            )
    return opened


@dataclass(frozen=True)
class Row:
    """Weights that make one row of a leaderboard: the task that they predict, as `--task` and `--classes` name it."""

    task: str
    classes: tuple[str, ...]
    weights: tuple[Weights, ...]


def rows(weights: Sequence[Weights], corpus: Corpus, task: str | None, classes: Sequence[str]) -> list[Row]:
    """Which weights make which row of a corpus's leaderboards.

    Without `task`, each file is a row of the corpus's task that it predicts. With it, each file that predicts the whole
    task is a row; the others make one together.

    Raises
    ------
    SerbenchError
        Where the corpus has no such task, or the weights don't predict it.
    """
    if task is None:
        if classes:
            raise SerbenchError("--classes chooses among the classes of a --task: name that too.")
        return [Row(*_task_of_weights(one, corpus), (one,)) for one in weights]
    wanted = task_of(corpus, task, classes)
    alone = [one for one in weights if _predicts([one], wanted)]
    rest = tuple(one for one in weights if one not in alone)
    made = [Row(task, tuple(classes), (one,)) for one in alone]
    return [*made, Row(task, tuple(classes), ordered(rest, wanted))] if rest else made


def ordered(weights: Sequence[Weights], task: Task) -> tuple[Weights, ...]:
    """Weights in the order of the task's targets, whatever the order in which they were given.

    Raises
    ------
    SerbenchError
        Where they are of several models or don't predict the task together.
    """
    if not _predicts(weights, task):
        given = "; ".join(f"{one.file.path!r} predicts {in_words(one.task)}" for one in weights)
        joint = "" if len(task.targets) == 1 else ", one file for all targets or several that have each of them once"
        raise SerbenchError(f"{given}. Expected weights for {task.name!r}: {in_words(task)}{joint}.")
    models = sorted({str(one.head["model"]) for one in weights})
    if len(models) > 1:
        raise SerbenchError(f"these are weights of {' and '.join(models)}. Expected those of one model for one row.")
    return tuple(
        sorted(weights, key=lambda one: task.targets.index(one.task.targets[0]) if task.kind != "classification" else 0)
    )


def in_words(task: Task) -> str:
    """What a task predicts."""
    if task.kind == "classification":
        return f"{task.name} (classes {', '.join(task.labels)})"
    per = "" if task.kind == "regression" else f" every {task.frame_seconds} s"
    return f"{', '.join(task.targets)}{per} ({task.kind})"


def labels(weights: Sequence[Weights], setting: Setting, *, allow_leak: bool) -> list[str]:
    """What the signature has to say of scores of these weights.

    Raises
    ------
    SerbenchError
        Where they were trained or selected on test items, or on their speakers, and `allow_leak` is not set.
    """
    said = [UNTRAINED]
    for one in weights:
        said.append("imported-weights" if "imported_from" in one.notes else "saved-weights")
        said += _met(one, setting, allow_leak)
    return list(dict.fromkeys(said))


def described(weights: Sequence[Weights], preset: str = PRESET) -> dict[str, Any]:
    """The model as records hold it: configuration, and of each file name, digest and origin."""
    configs = [dict(one.head["config"]) for one in weights]
    names = [one.task.name for one in weights]
    config = configs[0] if all(c == configs[0] for c in configs) else dict(zip(names, configs, strict=True))
    files = [
        {
            "file": Path(one.file.path).name,
            "sha256": one.file.sha256,
            "task": one.task.to_dict(),
            "notes": dict(one.notes),
        }
        for one in weights
    ]
    return {
        "name": weights[0].head["model"],
        "preset": preset,
        "config": config,
        "config_digest": digest(config),
        "weights": files,
    }


def features_of(weights: Sequence[Weights]) -> dict[str, FeatureRequest]:
    """Role -> request; with the name of the weights' task where they don't take the same."""
    return {role_of(one, role, weights): request for one in weights for role, request in one.features.items()}


def role_of(one: Weights, role: str, weights: Sequence[Weights]) -> str:
    """What a role of one of several weights is called among the roles of all."""
    same = all(other.features.get(role) == one.features[role] for other in weights)
    return role if same else f"{one.task.name}.{role}"


def _predicts(weights: Sequence[Weights], task: Task) -> bool:
    """Whether weights predict each target (or all classes) of a task once, and nothing else."""
    tasks = [one.task for one in weights]
    if any((t.kind, t.frame_seconds) != (task.kind, task.frame_seconds) for t in tasks):
        return False
    if task.kind == "classification":
        return len(tasks) == 1 and sorted(tasks[0].labels) == sorted(task.labels)
    return sorted(target for t in tasks for target in t.targets) == sorted(task.targets)


def _task_of_weights(one: Weights, corpus: Corpus) -> tuple[str, tuple[str, ...]]:
    """(task, classes) of the corpus that weights predict; the corpus's own task first, then some of its classes."""
    own, kept = one.task, one.task.labels
    base = own.name.partition(":")[0]
    candidates = sorted(corpus.tasks, key=lambda task: task.name != base)
    for task in candidates:
        if _predicts([one], task):
            return task.name, ()
    for task in candidates:
        if own.kind == task.kind == "classification" and set(kept) < set(task.labels):
            return task.name, tuple(c for c in task.labels if c in kept)
    if own.kind == "classification" and base in SETS and set(kept) <= set(task_of(corpus, base).labels):
        whole = task_of(corpus, base)
        return base, () if keep_classes(whole, kept) is whole else tuple(c for c in whole.labels if c in kept)
    there = "; ".join(in_words(task) for task in corpus.tasks)
    what = f"the classes {', '.join(kept)}" if own.kind == "classification" else f"labels of {', '.join(own.targets)}"
    raise SerbenchError(
        f"{one.file.path!r} predicts {in_words(own)}, and {corpus.name} has no such task. It has: {there}. Expected a "
        f"corpus with {what}: 'serbench list tasks' shows those of each."
    )


def _met(one: Weights, setting: Setting, allow_leak: bool) -> list[str]:
    """Labels about what weights were trained on; raises SerbenchError for test items or their speakers."""
    trained, tested = one.notes.get("trained_on"), setting.tested
    if not trained:
        return ["training-data-unknown"]
    if tested.name not in str(trained["name"]).split("+"):
        return []
    split, fold = trained.get("split"), trained.get("fold")
    folds = {f.name: f for f in tested.splits.get(split, ())} if trained.get("digest") == tested.digest() else {}
    if fold not in folds:
        return ["training-data-unknown" if tested.generic else f"weights-saw:{tested.name}"]
    continuous = setting.asked.kind == "continuous" and tested.recordings is not None
    table = tested.recordings if continuous else tested.utterances
    assert table is not None
    known = table[folds[fold].assign(table).isin(["train", "dev"]).fillna(False)]
    items = tested.items(setting.asked).loc[list(setting.subsets)]
    module = registry.load(one.head["model"])
    texts = module.Model.reads_text(from_dict(module.Config, one.head["config"]))
    return guard([(Side(tested, known), Side(tested, items))], texts=texts, allow_leak=allow_leak)
