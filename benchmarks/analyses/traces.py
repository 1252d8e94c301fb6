"""Predictions of one recording over time, beside its gold standard, its waveform and its words.

Gold and predictions are those of the record, so any run of a time-continuous task can be drawn, whatever became of its
weights. Sound and words come from the corpus; where it is not at hand, or is not the recorded one, they are left out
and `notes` says why. A label of frame k stands at k x frame_seconds.

The score of one recording is not the run's: CCC is taken over the concatenated frames of all recordings of a subset, so
that differences between recordings count. Scores here say how well the curve of this recording is followed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.schema.corpus import Corpus
from ...features.core.audio import read_audio
from ...results.record.folder import Run
from ...results.scores.metrics import ccc
from ..protocol.request import Request
from ..protocol.setting import Corpora, resolve

Floats = npt.NDArray[np.float64]
RATE = 8000
"""Sampling rate in Hz of the waveform that is drawn."""
NO_WORDS = pd.DataFrame({"word": pd.Series(dtype=str), "start": pd.Series(dtype=float), "end": pd.Series(dtype=float)})


@dataclass(frozen=True)
class Traces:
    """What is drawn of a recording.

    Attributes
    ----------
    run_id, item : the run, and the id of the recording
    targets, scales : attributes in the task's order, and the ends of each label's scale
    time : seconds of each frame, (frame,)
    gold : (frame, target); NaN where a frame has no label
    predicted : trial -> (frame, target)
    words : columns word, start, end [s]; possibly none
    signal, rate : samples from the time `begin` on, possibly none, and their rate in Hz
    begin, end : stretch that is shown, in seconds
    part : in names of files: which stretch or trials these are, "" for all of them
    notes : what is not shown, and why
    """

    run_id: str
    item: str
    targets: tuple[str, ...]
    scales: dict[str, tuple[float, float]]
    time: Floats
    gold: Floats
    predicted: dict[int, Floats]
    words: pd.DataFrame
    signal: Floats
    rate: int
    begin: float
    end: float
    part: str = ""
    notes: tuple[str, ...] = ()

    def scores(self) -> dict[str, list[float]]:
        """CCC of each target over the frames shown, one per trial."""
        columns = enumerate(self.targets)
        return {t: [ccc(self.gold[:, k], p[:, k]) for p in self.predicted.values()] for k, t in columns}


def find_traces(
    run: Run,
    item: str,
    trials: Sequence[int] = (),
    start: float | None = None,
    end: float | None = None,
    corpora: Corpora | None = None,
) -> Traces:
    """Gold, predictions, sound and words of a recording, or of its stretch from `start` to `end` seconds.

    Parameters
    ----------
    trials : those that are drawn; empty = all that are finished

    Raises
    ------
    SerbenchError
        For a task without traces, a recording or trial that the run has no predictions of, or an empty stretch.
    """
    rows = _predictions(run, item, trials)
    hop = float(run.task.frame_seconds or 0.0)
    first, last = (0.0 if start is None else start), (float("inf") if end is None else end)
    seconds = float((rows["frame"].max() + 1) * hop)
    time = rows["frame"].to_numpy(dtype=np.float64) * hop
    shown = (time >= first - 1e-9) & (time < last - 1e-9)
    rows, time = rows[shown], time[shown]
    if first < 0 or not len(rows):
        raise SerbenchError(
            f"--start {first:g} --end {last:g}: no frame of {item} is there. Expected seconds in 0 .. {seconds:.1f}."
        )
    targets = run.task.targets
    each = {int(str(trial)): part for trial, part in rows.groupby("trial", sort=True)}
    gold = next(iter(each.values()))[[f"gold_{t}" for t in targets]].to_numpy(dtype=np.float64)
    predicted = {k: part[[f"pred_{t}" for t in targets]].to_numpy(dtype=np.float64) for k, part in each.items()}
    if len({len(p) for p in predicted.values()}) > 1:
        raise SerbenchError(f"the trials of {run.run_id} have different frames of {item!r}. Name one with --trial.")
    scales = {t: run.task.scales[t] for t in targets}
    last = min(last, seconds)
    part = "" if start is None and end is None else f"_{first:g}-{last:g}s"
    part += "".join(f"_trial{k}" for k in predicted) if trials else ""
    bare = Traces(
        run.run_id,
        item,
        targets,
        scales,
        time[: len(gold)],
        gold,
        predicted,
        NO_WORDS,
        np.zeros(0),
        RATE,
        first,
        last,
        part,
    )
    return _with_sound(bare, run, corpora or Corpora())


def table(traces: Traces) -> pd.DataFrame:
    """One row per frame: time [s], the words that are spoken in it, and gold and prediction of each target.

    Predictions are `pred_TARGET` for one trial, and `pred_TARGET_trialN` for several.
    """
    step = float(traces.time[1] - traces.time[0]) if len(traces.time) > 1 else 0.1
    frame = pd.DataFrame({"time": np.round(traces.time, 6), "words": words_at(traces.words, traces.time, step)})
    for k, target in enumerate(traces.targets):
        frame[f"gold_{target}"] = traces.gold[:, k]
        for trial, values in traces.predicted.items():
            name = f"pred_{target}" + (f"_trial{trial}" if len(traces.predicted) > 1 else "")
            frame[name] = values[:, k]
    return frame


def words_at(words: pd.DataFrame, time: Floats, step: float) -> list[str]:
    """The words that overlap each frame [time, time + step), in order, with blanks between; "" where there are none."""
    said = [""] * len(time)
    for row in words.to_dict("records"):
        inside = np.flatnonzero((time < row["end"] - 1e-9) & (time + step > row["start"] + 1e-9))
        for k in inside:
            said[k] = f"{said[k]} {row['word']}".strip()
    return said


def lanes(starts: Sequence[float], widths: Sequence[float], count: int) -> list[int | None]:
    """The lane, 0 .. count - 1, that each label of a given width is written in; None where every lane is taken.

    Labels come in the order of `starts`; each takes the first lane whose last label has ended.
    """
    ends = [-np.inf] * count
    chosen: list[int | None] = []
    for start, width in zip(starts, widths, strict=True):
        lane = next((k for k, end in enumerate(ends) if end <= start + 1e-9), None)
        chosen.append(lane)
        if lane is not None:
            ends[lane] = start + width
    return chosen


def _predictions(run: Run, item: str, trials: Sequence[int]) -> pd.DataFrame:
    """The rows of a recording in the order of trials and frames."""
    if run.task.kind != "continuous":
        raise SerbenchError(
            f"{run.run_id} is a run of the task {run.task.name!r}, which has one value per utterance. Expected a run "
            "of a time-continuous task, such as 'traces' of sewa."
        )
    rows = run.predictions()
    if not len(rows):
        raise SerbenchError(f"{run.run_id} has no finished trial. Type: {run.fill_line(1)}")
    if item not in set(rows["id"]):
        raise unknown(f"recording among the test items of {run.run_id}", item, sorted(set(rows["id"].astype(str))))
    rows = rows[rows["id"].eq(item)]
    there = sorted(set(rows["trial"]))
    for trial in trials:
        if trial not in there:
            raise SerbenchError(
                f"--trial {trial}: {run.run_id} has no predictions of {item!r} there. Expected one of "
                f"{', '.join(map(str, there))}."
            )
    return rows[rows["trial"].isin(list(trials) or there)].sort_values(["trial", "frame"])


def _with_sound(bare: Traces, run: Run, corpora: Corpora) -> Traces:
    """The same with waveform and words, as far as the corpus gives them."""
    try:
        corpus = _corpus(run, corpora)
        row = corpus.row(bare.item)
    except (SerbenchError, KeyError, TypeError, ImportError) as error:
        return replace(bare, notes=(f"no sound and no words: {error}",))
    notes: list[str] = []
    words, signal = NO_WORDS, np.zeros(0)
    try:
        words = corpus.words(bare.item)
        words = words[(words["end"] > bare.begin) & (words["start"] < bare.end)].reset_index(drop=True)
        notes += list(_word_notes(words, corpus))
    except SerbenchError as error:
        notes.append(f"no words: {error}")
    offset = 0.0 if pd.isna(row["start"]) else float(row["start"])
    limit = offset + bare.end if pd.isna(row["end"]) else min(offset + bare.end, float(row["end"]))
    try:
        signal = np.asarray(read_audio(corpus.audio_path(bare.item), RATE, offset + bare.begin, limit)[0], dtype=float)
    except (SerbenchError, OSError) as error:
        notes.append(f"no sound: {error}")
    return replace(bare, words=words, signal=signal, notes=tuple(notes))


def _word_notes(words: pd.DataFrame, corpus: Corpus) -> Iterator[str]:
    if not len(words):
        yield f"no words: {corpus.name} has none of this stretch"
    elif "source" in words and words["source"].eq("spread").any():
        share = float(words["source"].eq("spread").mean())
        yield f"word times: {share:.0%} of the words are spread evenly within their segment, not measured"


def _corpus(run: Run, corpora: Corpora) -> Corpus:
    """The corpus that the run tests; `SerbenchError` where it is not the recorded one."""
    setting = resolve(Request.from_dict(run.spec["arguments"]), corpora)
    facts: Any = setting.dataset()
    if facts["digest"] != run.spec["dataset"]["digest"]:
        raise SerbenchError(f"the corpus on disk is not the one that {run.run_id} was made with")
    return setting.tested
