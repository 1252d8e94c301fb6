"""Where MAEC listens: the attention on the instances of one utterance, over its waveform and spectrogram.

The weight of an instance is the mean, over all instances as queries, of the attention that they pay to it (Eq. 4b of
`sermodels.maec.network`); the weights of an utterance sum to 1. Instances overlap, so the figure shows their density
in time: each weight spread evenly over its window, divided by what an even attention would give. Above 1 is more than
the share of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...features.core.audio import read_audio
from ...results.record.folder import Run
from ...results.record.storage import write_csv
from ...results.report.figures import OKABE_ITO
from ...sermodels import registry
from ...sermodels.core.persist import load_model
from ...sermodels.core.sermodel import Resources, SERModel
from ..core.progress import Display, Silent
from ..grid.source import build_data, extract_features, needed_rows
from ..grid.training import TrainingPlan, plan_training
from ..protocol.request import Request
from ..protocol.setting import Corpora
from ..studies.figure import save_figure
from .clusters import Choices, find_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Salience:
    """What a trained model attends to in an utterance.

    Attributes
    ----------
    item, run_id, trial, fold : the utterance, and the unit whose weights were used
    segments : one row per instance: start and end in seconds, weight
    signal, rate : the utterance's samples, and their rate in Hz
    said : gold label or value and prediction, for the title
    """

    item: str
    run_id: str
    trial: int
    fold: str
    segments: pd.DataFrame
    signal: Floats
    rate: int
    said: str

    @property
    def seconds(self) -> float:
        """Duration of the utterance."""
        return len(self.signal) / self.rate


def find_salience(
    run: Run, item: str, trial: int = 0, fold: str | None = None, device: str = "cpu", display: Display | None = None
) -> Salience:
    """Apply the weights of the fold that tests the utterance (or of `fold`) to it.

    Raises
    ------
    SerbenchError
        For an utterance that is not there, a model without attention over instances, weights that were not kept (says
        what to type), a corpus that has changed, or an utterance without features.
    """
    name = run.spec["model"]["name"]
    cls = registry.load(name).Model
    if cls.salience is SERModel.salience:
        raise SerbenchError(
            f"{run.run_id} is a run of {name}, which has no attention over instances. Expected a run of a model that "
            "says where it listens."
        )
    plan = plan_training([Request.from_dict(run.spec["arguments"])], Corpora(), run.spec["model"]["config"])
    if plan.setting.dataset()["digest"] != run.spec["dataset"]["digest"]:
        raise SerbenchError(
            f"the corpus on disk is not the one that {run.run_id} was made with. Give the recorded one, or run again."
        )
    plan.setting.tested.row(item)  # raises for an unknown one
    fold = fold or _testing_fold(plan, trial, item)
    weights = find_weights(run, Choices(trial, fold), f"salience {{run}} {item}")
    model = load_model(weights, Resources(device=device))
    data = _data(plan, item, run.run_id, display or Silent())
    (segments,) = model.salience(data)
    row = plan.setting.tested.row(item)
    bounds = (None if pd.isna(row[key]) else float(row[key]) for key in ("start", "end"))
    signal, rate = read_audio(plan.setting.tested.audio_path(item), 16000, *bounds)
    said = _said(plan, item, np.asarray(model.predict(data))[0])
    return Salience(item, run.run_id, trial, fold, segments, signal, rate, said)


def density(segments: pd.DataFrame, times: Floats) -> Floats:
    """Attention at each time in seconds over what an even attention on all instances would give there; 0 outside."""
    start, end = segments["start"].to_numpy(), segments["end"].to_numpy()
    inside = (times[:, None] >= start) & (times[:, None] < end)
    spread = inside / np.maximum(end - start, 1e-9)
    even = spread.mean(axis=1)
    weighted = spread @ segments["weight"].to_numpy()
    return np.asarray(np.divide(weighted, even, out=np.zeros(len(times)), where=even > 0))


def figure(heard: Salience) -> Figure:
    """Waveform above, spectrogram below, the attention over both; the instance with the most weight is framed."""
    from matplotlib.figure import Figure
    from scipy.signal import spectrogram

    drawn = Figure(figsize=(8, 5), layout="constrained")
    above, below = drawn.subplots(2, 1, sharex=True)
    time = np.arange(len(heard.signal)) / heard.rate
    above.plot(time, heard.signal, color="#8a8a8a", lw=0.5)
    above.set_ylabel("amplitude (share of full scale)")
    frequencies, at, power = spectrogram(heard.signal, heard.rate, nperseg=400, noverlap=240)
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    below.pcolormesh(at, frequencies / 1000, decibels, cmap="Greys", vmin=decibels.max() - 70, rasterized=True)
    below.set(xlabel="time (s)", ylabel="frequency (kHz)", xlim=(0, heard.seconds))
    grid = np.linspace(0, heard.seconds, 500, endpoint=False)
    top = heard.segments.nlargest(1, "weight").iloc[0]
    for axes in (above, below):
        other = axes.twinx()
        other.plot(grid, density(heard.segments, grid), color=OKABE_ITO[1], lw=1.4)
        other.axhline(1, color=OKABE_ITO[1], lw=0.6, ls="--")
        other.set_ylabel("attention (1 = even)", color=OKABE_ITO[1])
        other.set_ylim(bottom=0)
        axes.axvspan(top["start"], top["end"], color=OKABE_ITO[0], alpha=0.15, lw=0)
    drawn.suptitle(f"{heard.item}: {heard.said}\n{heard.run_id}, trial {heard.trial}, fold {heard.fold}", fontsize=9)
    return drawn


def write(heard: Salience, folder: Path) -> list[Path]:
    """Write salience_RUN_UTTERANCE.csv (the segments) and .png; returns the paths."""
    stem = f"salience_{heard.run_id}_{heard.item.replace('/', '-')}".replace(">", "-to-")
    path = write_csv(folder / f"{stem}.csv", heard.segments)
    save_figure(figure(heard), folder / f"{stem}.png")
    return [path, folder / f"{stem}.png"]


def _testing_fold(plan: TrainingPlan, trial: int, item: str) -> str:
    """The fold that tests an utterance, or the first one."""
    folds = plan.setting.folds
    return next((name for name in folds if item in plan.setting.division(trial, name).test), folds[0])


def _data(plan: TrainingPlan, item: str, run_id: str, display: Display) -> Any:
    """The utterance with its context; what is transductive takes in all the test audio."""
    setting = plan.setting
    if any(text.startswith("transductive") for text in plan.model.labels(plan.config)):
        sources = plan.sources(1, display)
        tables = sources[-1 if setting.crosses else 0].tables
        if any(item not in table for table in tables.values()):
            raise SerbenchError(f"{item!r} takes no part in {run_id}. Expected an utterance of its test set.")
    else:
        rows = needed_rows(setting.tested, setting.asked, [item], context=plan.model.uses_context)
        tables = extract_features(setting.tested, rows, plan.features, 1, display)
    data, failed = build_data(setting.tested, setting.asked, [item], tables, labelled=False)
    if failed:
        raise SerbenchError(f"{item!r} has no features: {failed[item]}")
    return data


def _said(plan: TrainingPlan, item: str, predicted: Floats) -> str:
    task, row = plan.setting.asked, plan.setting.tested.row(item)
    if task.kind == "classification":
        label = task.mapping.get(str(row[task.column]), row[task.column]) if task.mapping else row[task.column]
        best = int(predicted.argmax())
        gold = "no label" if pd.isna(label) else str(label)
        return f"{task.name} {gold}, predicted {task.labels[best]} ({predicted[best]:.0%})"
    pairs = zip(task.targets, predicted, strict=True)
    return ", ".join(f"{name} {row[name]:.2f}, predicted {value:.2f}" for name, value in pairs)
