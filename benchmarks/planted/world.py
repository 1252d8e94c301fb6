"""A planted world: spectra of a few templates that carry the label, so that what an unlabelled pool tells is known.

A sentence is `FRAMES` frames of `BANDS` bands: one of the templates (random spectral shapes), plus a gain for each band
that belongs to the speaker and the sentence, plus noise, all of it exponentiated. Its label is the template's value,
plus noise. Clusters of sentences by template are thus clusters by label, and who finds them in unlabelled sentences
needs a few labelled ones alone to name them: a training that gains nothing from a pool here will gain nothing anywhere.

Other labels are planted too: a class (the third of the scale that the template's value lies in) for tasks of that kind,
and the speaker, whose gains make clusters that carry no label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...datasets.core.config import option
from ...datasets.schema.corpus import make_table
from ...datasets.schema.task import Task
from ...features.core.feature_table import FeatureTable
from ...sermodels.core.sermodel import Data

Array = npt.NDArray[np.float64]
BANDS = 32
FRAMES = 62
HOP_SECONDS = 256 / 16000
"""62 such frames are one chunk of a second."""
SCALE = (1.0, 7.0)
VALUE = Task("arousal", "regression", ("arousal",), scales={"arousal": SCALE})
CLASSES = Task("emotion", "classification", ("emotion",), labels=("sadness", "neutral", "anger"))
EXPONENT = 0.3


@dataclass(frozen=True)
class World:
    """What is planted, and how many sentences there are of each kind."""

    templates: int = option(6, "spectral shapes, each with a value from 1.5 to 6.5", low=2)
    speaker_sd: float = option(0.3, "spread of the gain of a band between speakers", low=0)
    sentence_sd: float = option(0.4, "spread of the gain of a band between sentences of a speaker", low=0)
    frame_sd: float = option(1.0, "noise of each frame and band", low=0)
    label_sd: float = option(0.3, "noise of the label", low=0)
    labelled: int = option(12, "labelled sentences to train on", low=2)
    labelled_speakers: int = option(4, "who says them", low=1)
    pool: int = option(300, "unlabelled sentences", low=0)
    pool_speakers: int = option(60, "who says them", low=1)
    foreign: float = option(0.0, "share of the pool that has templates of its own", low=0, high=1)
    dev: int = option(60, "labelled sentences that the epoch is chosen on", low=2)
    test: int = option(120, "labelled sentences that are scored", low=2)
    held_out_speakers: int = option(20, "who says those of dev, and as many others those of test", low=1)


@dataclass(frozen=True)
class Planted:
    """The four parts of a world; the pool has no labels. `templates` holds, by part, each sentence's template."""

    train: Data
    dev: Data
    test: Data
    pool: Data
    templates: dict[str, npt.NDArray[np.int64]]


def planted(world: World, seed: int, task: Task = VALUE) -> Planted:
    """Draw a world; one seed gives one world, whatever the task."""
    numbers = np.random.default_rng([seed, 20])
    shapes = numbers.normal(size=(2 * world.templates, BANDS))  # the second half is foreign
    values = np.tile(np.linspace(1.5, 6.5, world.templates), 2)
    parts = {
        "train": (world.labelled, world.labelled_speakers),
        "dev": (world.dev, world.held_out_speakers),
        "test": (world.test, world.held_out_speakers),
        "pool": (world.pool, world.pool_speakers),
    }
    made, held = {}, {}
    for number, (name, (count, speakers)) in enumerate(parts.items()):
        own = np.random.default_rng([seed, 21, number])  # more labelled sentences leave the others as they are
        which = own.permutation(np.arange(count) % world.templates)
        if name == "pool":
            which[: round(world.foreign * count)] += world.templates
        made[name] = _part(world, name, which, shapes, values, own, task, min(speakers, max(count, 1)))
        held[name] = which
    pool = replace(made["pool"], labels=None)
    return Planted(made["train"], made["dev"], made["test"], pool, held)


def _part(
    world: World,
    name: str,
    which: npt.NDArray[np.int64],
    shapes: Array,
    values: Array,
    numbers: np.random.Generator,
    task: Task,
    speakers: int,
) -> Data:
    """Sentences of the templates `which`, (sentence,), said by so many speakers in turn."""
    voices = world.speaker_sd * numbers.normal(size=(speakers, BANDS))
    arrays, rows = {}, []
    for i, template in enumerate(which.tolist()):
        gain = voices[i % speakers] + world.sentence_sd * numbers.normal(size=BANDS)
        noise = world.frame_sd * numbers.normal(size=(FRAMES, BANDS))
        item = f"{name}{i:04d}"
        arrays[item] = np.exp(EXPONENT * (shapes[template] + gain + noise)).astype(np.float32)
        rows.append({"id": item, "path": f"{item}.wav", "speaker": f"{name}-{i % speakers:02d}"})
    shown = np.clip(values[which] + world.label_sd * numbers.normal(size=len(which)), *SCALE)
    classes = np.digitize(values[which], [SCALE[0] + (SCALE[1] - SCALE[0]) * k / 3 for k in (1, 2)])
    labels = classes.astype(np.int64) if task.kind == "classification" else shown[:, None]
    table = make_table(rows)
    return Data(task, table, {"input": FeatureTable.from_arrays(arrays, HOP_SECONDS)}, labels)
