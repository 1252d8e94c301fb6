"""What a model is: `fit`, `predict`, `save`, `load`, and the data that they see.

A component `sermodels/name.py` has a frozen dataclass `Config`, a dictionary `PRESETS` (preset name -> Config, with
"default" among them) and a class `Model(SERModel)`. Shapes: classification predicts class scores (utterance, class)
whose rows sum to 1; regression predicts (utterance, target) on the label scale; continuous predicts one (frame, target)
array per recording, with as many frames as its trace.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.task import Task
from ...features.core.feature_request import FeatureRequest
from ...features.core.feature_table import FeatureTable

if TYPE_CHECKING:
    from .graph import Graph

TURN_COLUMNS = ("speaker", "gender", "dialogue", "dialogue_start", "dialogue_end", "previous", "interlocutor")
"""What models are told of every utterance of a corpus, in `Data.turns`."""
DIALOGUE = "dialogue"
"""A model's `uses_context` where it wants all turns of a dialogue."""
Predictions = npt.NDArray[np.floating[Any]] | list[npt.NDArray[np.floating[Any]]]
Score = Callable[[Any, Predictions], float]
"""(labels of the dev data, predictions) -> the protocol's dev metric; higher is better."""


@dataclass(frozen=True)
class Data:
    """Utterances (or recordings) with their features and, for training and selection, labels.

    Attributes
    ----------
    task : what is predicted
    items : the corpus table's rows, in order; index = ids
    features : role -> table of arrays by id ("input" is the main role); holds context turns too where a model asks
    labels : (utterance,) int64, (utterance, target) float64, or a list of (frame, target) arrays with NaN where a
        frame has no label; None where labels are withheld (test and unlabelled data)
    words : id -> table of words (word, start, end); None when the model does not ask for words
    frames : id -> number of label frames (continuous tasks only)
    turns : `TURN_COLUMNS` of every utterance of the corpus, indexed by id: who speaks when, also in turns that are no
        items; None where the corpus table is not at hand
    """

    task: Task
    items: pd.DataFrame
    features: Mapping[str, FeatureTable]
    labels: Any = None
    words: Callable[[str], pd.DataFrame] | None = None
    frames: Mapping[str, int] = field(default_factory=dict)
    turns: pd.DataFrame | None = None

    @property
    def ids(self) -> list[str]:
        """Ids in row order."""
        return [str(i) for i in self.items.index]

    def __len__(self) -> int:
        return len(self.items)

    def array(self, position: int, role: str = "input") -> npt.NDArray[np.float32]:
        """Feature array (frames, dim) of the item at a position."""
        return self.features[role][str(self.items.index[position])]

    def take(self, positions: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Data:
        """The data at some positions, in that order."""
        labels = self.labels
        if isinstance(labels, list):
            labels = [labels[int(i)] for i in positions]
        elif labels is not None:
            labels = labels[np.asarray(positions, dtype=int)]
        items = self.items.iloc[list(positions)]
        return Data(self.task, items, self.features, labels, self.words, self.frames, self.turns)


@dataclass
class FitLog:
    """What training leaves beside the model: one row per epoch, and free facts for the record.

    Of the facts, `warnings` (a list of sentences) is shown on the screen too.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resources:
    """Where and how a model runs, decided at the edge: seed, device, progress display, folder for checkpoints."""

    seed: int = 0
    device: str = "cpu"
    progress: Callable[[str, float], None] | None = None
    """(text, share done in 0..1) is called now and then; None = silent."""
    checkpoint: Path | None = None
    """Folder for an unfinished training's state, removed when `fit` ends; None = don't keep any."""
    each_epoch: Callable[[Mapping[str, float]], None] | None = None
    """Called with the log's row of each epoch, for who watches; no number depends on it."""


class SERModel(ABC):
    """Base of all models.

    Parameters
    ----------
    config : the module's `Config`
    task : what is predicted
    resources : seed, device, progress

    Raises
    ------
    SerbenchError
        For a task of a kind that the model does not take.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    """Kinds of task that the model takes."""
    uses_context: ClassVar[bool | str] = False
    """Whether features of the `previous` and `interlocutor` turns are wanted too, or of all turns of the items'
    dialogues (`DIALOGUE`)."""
    uses_words: ClassVar[bool] = False
    uses_unlabelled: ClassVar[bool] = False
    uses_device: ClassVar[bool] = False
    """Whether the model runs on a graphics card where there is one (torch models)."""
    refits: ClassVar[bool] = False
    """Whether the model can be fitted once more with what it chose on dev (`refit`)."""
    nests: ClassVar[bool] = False
    """Whether the model can choose by inner folds of the training data, without a dev part (`fit_nested`)."""

    def __init__(self, config: Any, task: Task, resources: Resources | None = None) -> None:
        if task.kind not in self.kinds:
            raise SerbenchError(
                f"the model {self.name!r} does not take the task {task.name!r}, which is of kind {task.kind}. "
                f"Expected a task of kind {' or '.join(sorted(self.kinds))}; 'serbench list' shows the tasks of each "
                "dataset: choose one with --task, or another model with --model."
            )
        self.config, self.task, self.resources = config, task, resources or Resources()

    @classmethod
    @abstractmethod
    def requests(cls, config: Any, task: Task) -> dict[str, FeatureRequest]:
        """The features that the model takes on a task: role -> request.

        "input" is the role that `--set feature.KEY=` reaches; a model without features answers {}.
        """

    @classmethod
    def resolved(cls, config: Any) -> Any:
        """The configuration as it is recorded: with digests of the files that it names, say. Called once, by a plan."""
        return config

    @classmethod
    def labels(cls, config: Any) -> tuple[str, ...]:
        """What a score's signature has to say of this configuration, such as a transductive use of test audio."""
        return ()

    @classmethod
    def deterministic(cls, config: Any) -> bool:
        """Whether this configuration predicts from data alone, whatever the seed: then all trials are one training."""
        return False

    @classmethod
    def reads_text(cls, config: Any) -> bool:
        """Whether this configuration learns from transcripts, so that none may stand in training and in test."""
        return cls.uses_words

    @classmethod
    def needs_text(cls, config: Any) -> bool:
        """Whether this configuration can't do without the corpus's own transcripts: one that has none is refused."""
        return False

    @classmethod
    def takes_words(cls, config: Any) -> bool:
        """Whether this configuration takes the corpus's own words, transcribed or recognised."""
        return cls.uses_words

    @classmethod
    def seen(cls, config: Any) -> frozenset[str]:
        """Registered names of corpora that a pre-trained part of the model was trained on, as far as is known.

        Scores on one of them are marked in the record.
        """
        return frozenset()

    @classmethod
    def pool(cls, config: Any, ids: Sequence[str]) -> list[str]:
        """The ids of a corpus's unlabelled pool that are wanted: all, or none where the model takes no pool."""
        return list(ids) if cls.uses_unlabelled else []

    @classmethod
    def with_pool(cls, config: Any, count: int) -> Any:
        """The configuration that takes `count` sentences of a pool: the same where it takes all that there are."""
        return config

    @abstractmethod
    def fit(self, train: Data, dev: Data, score: Score, unlabelled: Data | None = None) -> FitLog:
        """Train on `train`, select on `dev` by `score(dev.labels, predictions)`; test data never comes here."""

    def fit_nested(self, train: Data, score: Score) -> FitLog:
        """Train with what inner folds of the training data choose (`selection.inner_folds`), without a dev part."""
        raise SerbenchError(f"the model {self.name!r} chooses on a dev part, and --dev nested has none.")

    def refit(self, both: Data) -> dict[str, Any]:
        """After `fit`: fit once more on train and dev together, with what was chosen; returns facts for the record."""
        raise SerbenchError(f"the model {self.name!r} can't be fitted again on train + dev. Leave --refit out.")

    @abstractmethod
    def predict(self, data: Data) -> Predictions:
        """Predictions in the row order of `data`, with the shapes of the module docstring."""

    def salience(self, data: Data) -> list[pd.DataFrame]:
        """Where the model listens, if it can say: a table of start, end [s] and weight (sum 1) for each item."""
        raise SerbenchError(f"the model {self.name!r} does not say where it listens.")

    def graph(self) -> Graph:
        """After `fit`: what of the model is a function of arrays alone, for ONNX files."""
        raise SerbenchError(
            f"the model {self.name!r} can't be written as an ONNX file: it does more than compute predictions from one "
            "array of features. Leave --onnx out; the weights travel without it."
        )

    @abstractmethod
    def state(self) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        """Arrays and JSON-able facts that `restore` rebuilds the trained model from."""

    @abstractmethod
    def restore(self, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Inverse of `state`."""

    def multiply_accumulates(self, rows: int) -> int | None:
        """Those of predicting so many utterances (or label frames), for models that no network counter sees.

        None = the model computes with PyTorch, where they are counted.
        """
        return None

    @property
    @abstractmethod
    def parameters(self) -> int:
        """Number of trained scalars, after `fit`."""
