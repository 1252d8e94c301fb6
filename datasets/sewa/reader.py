"""SEWA as the AVEC challenges gave it out (2017, 2018, 2019): video chats traced in arousal, valence and liking.

Kossaifi et al., "SEWA DB: A rich database for audio-visual emotion and sentiment research in the wild", IEEE TPAMI
43(3), 2021, doi 10.1109/TPAMI.2019.2944808; packages: Ringeval et al., AVEC 2017 (doi 10.1145/3133944.3133953), AVEC
2018 (doi 10.1145/3266302.3266316), AVEC 2019 (doi 10.1145/3347320.3357688). Licence: SEWA's end-user agreement, signed
by an institution. The database itself has another layout and is not read.

One recording is one person's side of a chat of up to three minutes; its sound holds both voices. `recordings` has one
row each, and `trace(id)` its gold standard every 0.1 s. Labels of the test recordings were never given out, so:

- those are listed (`partition` "test", `labels` "hidden") and belong to no fold;
- the split `official` tests on the official devel recordings (`partition` "dev") and selects on recordings taken from
  training: every fifth of each culture in the order of their numbers (the last one where there are fewer than five),
  marked in the column `selection`. Who talked to whom is not given, so a chat's two sides may stand in training and
  selection; no chat crosses into the test set, since both sides are in one official partition.

For models of utterances, `utterances` are the person's turns where the package has them (2017), else segments of fixed
length of the traced recordings; both with the means of the frames that start inside. Context: the person's previous
turn within the recording; whatever the chat partner says is no utterance, so `interlocutor` is always missing. Text
and word times come from the transcriptions (2017): a segment's time is shared out evenly among its words, or is taken
from alignment files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..core.errors import SerbenchError, unknown
from ..core.files import digest
from ..reading.locate import find, missing, relative
from ..schema.corpus import Corpus, Fold, make_table
from ..schema.task import Task, attribute_tasks
from . import files
from .files import HOP_SECONDS, TARGETS, Recording
from .package import AUDIO_FOLDERS, RECORDINGS, Package, Sources, read_package

CITATION = (
    "J. Kossaifi, R. Walecki, Y. Panagakis, J. Shen, M. Schmitt, F. Ringeval, J. Han, V. Pandit, A. Toisoul, "
    "B. Schuller, K. Star, E. Hajiyev and M. Pantic, 'SEWA DB: A rich database for audio-visual emotion and sentiment "
    "research in the wild', IEEE Transactions on Pattern Analysis and Machine Intelligence 43(3):1022-1040, 2021, "
    "doi 10.1109/TPAMI.2019.2944808"
)
CITES = ("kossaifi2021sewa",)
SCALES = dict.fromkeys(TARGETS, (-1.0, 1.0))
UNITS = ("turns", "segments")
_GIVEN = {"labels": ("given",)}
TASKS = (
    Task(
        "traces",
        "continuous",
        TARGETS,
        where=_GIVEN,
        scales=SCALES,
        frame_seconds=HOP_SECONDS,
        doc="arousal, valence and liking of every frame of 0.1 s",
    ),
    *attribute_tasks(TARGETS, SCALES),
)
TASK_NAMES = ("traces", "attributes", "arousal", "valence", "liking")


def load(
    root: Path | None,
    release: str | None = None,
    *,
    units: str | None = None,
    segment_seconds: float = 4.0,
    alignment: Path | None = None,
) -> Corpus:
    """Load an AVEC package of SEWA; no audio is needed or opened.

    Parameters
    ----------
    root : the package, or the folder that holds the two packages of 2019 (`..._traindevel` and `..._test`)
    release : "2017", "2018" or "2019"; None = told from the label files
    units : "turns" or "segments" as utterances; None = turns where the package has them
    segment_seconds : length of a segment (4 s is the window of the 2018 and 2019 baselines); a rest shorter than half
        of it is added to the last segment
    alignment : folder of word times that replace the even spreading, `Train_01.TextGrid` or `Train_01.csv` with the
        columns word, start, end (seconds in the recording)

    Raises
    ------
    SerbenchError
        For a wrong root, a release that the files contradict, or a file that can't be read.
    """
    if units is not None and units not in UNITS:
        raise unknown("value of units", units, UNITS)
    seconds = _positive(segment_seconds)
    package = read_package(root, release, None if alignment is None else Path(alignment))
    if units == "turns" and not package.spans:
        raise missing("sewa", package.root, "the folder turns (given in 2017 only; units=segments needs none)")
    chosen = units or ("turns" if package.spans else "segments")
    recordings = make_table(_recording_rows(package)).astype({"selection": "string", "frames": "Int64"})
    spans = dict(package.spans) if chosen == "turns" else _segments(package, seconds)
    utterances = make_table(_utterance_rows(package, recordings, spans, chosen)).astype({"selection": "string"})
    sources = Sources(package, utterances)
    return Corpus(
        name="sewa",
        release=package.release,
        root=package.root,
        utterances=utterances,
        recordings=recordings,
        tasks=TASKS,
        splits=_splits(recordings),
        scales=SCALES,
        licence="SEWA end-user licence agreement: academic, signed by the institution",
        citation=CITATION,
        homepage="https://db.sewaproject.eu",
        subset_group="recording",
        expected=_expected(package.release),
        notes=tuple(_notes(package, recordings, utterances, chosen, seconds)),
        word_source=sources.words,
        recognised=package.recognised,
        trace_source=sources.trace,
    )


def _recording_rows(package: Package) -> Iterator[dict[str, object]]:
    selected = _selected(package.recordings)
    audio = {name: path for part in package.parts for name, path in _audio_files(part).items()}
    folder = find(package.parts[0], AUDIO_FOLDERS) or package.parts[0] / "audio"
    for recording in package.recordings:
        name, trace = recording.name, package.traces.get(recording.name)
        path = audio.get(name, folder / f"{name}.wav")
        yield {
            "id": name,
            "path": relative(package.root, path),
            "speaker": name,
            "language": files.CULTURES[recording.culture],
            "dialogue": name,
            "partition": recording.partition,
            "culture": recording.culture,
            "recording": name,
            "selection": ("dev" if name in selected else "train") if recording.partition == "train" else pd.NA,
            "labels": "hidden" if trace is None else "given",
            "frames": pd.NA if trace is None else len(trace),
            "trace_digest": pd.NA if trace is None else _digest_of(trace),
            "word_digest": _digest_of(package.words[name]) if name in package.words else pd.NA,
        }


def _audio_files(part: Path) -> dict[str, Path]:
    return files.files_of(find(part, AUDIO_FOLDERS), ".wav", ".flac")


def _selected(recordings: tuple[Recording, ...]) -> set[str]:
    """Names of the training recordings that are kept for selection: every fifth of each culture, or the last one."""
    chosen: set[str] = set()
    for culture in files.CULTURES:
        own = [r.name for r in recordings if r.partition == "train" and r.culture == culture]
        chosen |= set(own[4::5] or own[-1:])
    return chosen


def _segments(package: Package, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Segments of fixed length of every traced recording; the last one takes a rest shorter than half a segment."""
    spans = {}
    for name, trace in package.traces.items():
        total = len(trace) * HOP_SECONDS
        count = max(1, int(total / seconds + 0.5))
        spans[name] = [(i * seconds, total if i == count - 1 else (i + 1) * seconds) for i in range(count)]
    return spans


def _utterance_rows(
    package: Package, recordings: pd.DataFrame, spans: Mapping[str, list[tuple[float, float]]], units: str
) -> Iterator[dict[str, object]]:
    kept = ["path", "speaker", "language", "dialogue", "partition", "culture", "recording", "selection", "labels"]
    for row in recordings[kept].to_dict("records"):
        name, shared = str(row["recording"]), {str(column): value for column, value in row.items()}
        own, words = spans.get(name, []), package.words.get(name)
        texts = [pd.NA] * len(own) if words is None else files.texts_of(words, own)
        means = _means(package.traces.get(name), own)
        ids = [f"{name}_{units[0]}{i:03d}" for i in range(len(own))]
        for i, (start, end) in enumerate(own):
            yield {
                "id": ids[i],
                **shared,
                "start": start,
                "end": end,
                "turn": i,
                "dialogue_start": start,
                "dialogue_end": end,
                "previous": ids[i - 1] if i and units == "turns" else pd.NA,
                "text": texts[i],
                **dict(zip(TARGETS, means[i], strict=True)),
            }


def _means(trace: pd.DataFrame | None, spans: list[tuple[float, float]]) -> list[list[float]]:
    """Mean of each target over the frames that start in each span; missing where there is none."""
    unknown_means = [float("nan")] * len(TARGETS)
    if trace is None:
        return [unknown_means] * len(spans)
    values = trace[list(TARGETS)].to_numpy(dtype="float64")
    parts = [values[part] for part in files.frame_slices(trace, spans)]
    return [part.mean(axis=0).tolist() if len(part) else unknown_means for part in parts]


def _splits(recordings: pd.DataFrame) -> dict[str, tuple[Fold, ...]]:
    """The official split, and where two cultures have devel recordings, those within and across them."""
    splits: dict[str, tuple[Fold, ...]] = {"official": (_fold("official"),)}
    traced = recordings[recordings["partition"].eq("dev")]["culture"]
    cultures = [c for c in files.CULTURES if traced.eq(c).any()]
    if len(cultures) > 1:
        splits |= {f"within-{c.lower()}": (_fold(f"within-{c.lower()}", c, c),) for c in cultures}
        pairs = [(a, b) for a in cultures for b in cultures if a != b]
        splits |= {f"{a.lower()}-to-{b.lower()}": (_fold(f"{a.lower()}-to-{b.lower()}", a, b),) for a, b in pairs}
    return splits


def _fold(name: str, trained: str | None = None, tested: str | None = None) -> Fold:
    own = {"culture": (trained,)} if trained else {}
    return Fold(
        name,
        test={"partition": ("dev",), "labels": ("given",), **({"culture": (tested,)} if tested else {})},
        dev={"selection": ("dev",), "labels": ("given",), **own},
        train={"selection": ("train",), "labels": ("given",), **own},
    )


def _expected(release: str) -> dict[str, int]:
    """Published numbers of recordings: in all, and of each partition and culture."""
    sizes = RECORDINGS[release]
    each = {f"recordings@partition={part},culture={culture}": n for (part, culture), n in sizes.items()}
    return {"recordings": sum(sizes.values()), **each}


def _digest_of(frame: pd.DataFrame) -> str:
    """Sixteen hexadecimal digits of a trace or of timed words (to six decimals): the corpus digest follows both."""
    numbers = frame.select_dtypes("number")
    texts = [list(frame[column].astype("string").fillna("")) for column in frame.columns.difference(numbers.columns)]
    return digest([np.rint(numbers.to_numpy(dtype="float64") * 1e6).astype("<i8").tobytes().hex(), texts])


def _positive(value: float) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0.5 <= seconds <= 60.0:
        raise SerbenchError(f"segment_seconds={value!r} is out of range. Expected a number of seconds in 0.5 .. 60.")
    return seconds


def _notes(
    package: Package, recordings: pd.DataFrame, utterances: pd.DataFrame, units: str, seconds: float
) -> Iterator[str]:
    hidden = recordings["labels"].eq("hidden")
    test = recordings["partition"].eq("test")
    if (hidden & test).any():
        yield f"{int((hidden & test).sum())} test recordings have no labels (never given out): they belong to no fold"
    if (hidden & ~test).any():
        names = recordings.index[hidden & ~test]
        yield f"{len(names)} training or devel recordings have no label file, such as {names[0]}: is the copy complete?"
    kind = "the person's turns" if units == "turns" else f"segments of {seconds:g} s of traced recordings"
    yield f"utterances are {kind}, with the means of the frames that start inside"
    bare = utterances["labels"].eq("given") & utterances[TARGETS[0]].isna()
    if bare.any():
        yield f"{int(bare.sum())} utterances hold no label frame, such as {utterances.index[bare][0]}"
    yield "annotators react late (2 s and more): the labels are given as they are, shifting them is up to the model"
    yield "the sound of a recording holds both voices; who talked to whom is not given"
