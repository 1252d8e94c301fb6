"""What a trained model costs to run: parameters, multiply-accumulates and real-time factor, for every model alike.

- Parameters: those that were trained, and apart from them those of the pre-trained networks that its features run.
- Multiply-accumulates for each second of audio: products, convolutions, attention and recurrent layers of the model and
  of its features' networks, as PyTorch's own counter sees them run (two operations each); of a model without a network
  what it states itself (`SERModel.multiply_accumulates`). Signal processing (openSMILE, spectrograms, decoding) has no
  count and is not in it; element-wise operations are not in it either.
- Real-time factor: seconds that pass from the audio file to the prediction, features made anew, for each second of
  audio; below 1 is faster than real time. On the device and with the threads of the unit, on one utterance after the
  other in extraction and all together in prediction, after a first pass that is not timed. Context turns are taken
  as known.

All three are measured on test utterances around the median length, about ten seconds together (of recordings with a
trace, on the shortest one); of a large test set, of 200 utterances at even steps. Measuring changes nothing that comes
after it: random states and the number of threads are put back.
"""

from __future__ import annotations

import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...datasets.schema.corpus import Corpus
from ...features.core.audio import read_audio
from ...features.core.feature_extractor import FeatureExtractor
from ...sermodels.core.sermodel import Data, SERModel

SECONDS = 10.0
"""About so much audio is measured on."""
MOST_ITEMS = 8
MOST_LENGTHS = 200
"""So many test items are looked at to find those of median length; each may take reading a file's header."""


@dataclass(frozen=True)
class RunningCost:
    """What one model costs; written into the facts of a unit.

    Attributes
    ----------
    parameters : trained scalars
    feature_parameters : scalars of the frozen networks behind its features
    macs_per_second : multiply-accumulates for a second of audio; None where they can't be counted
    real_time_factor : seconds of computing for a second of audio
    items, seconds_of_audio : what was measured on
    """

    parameters: int
    feature_parameters: int
    macs_per_second: float | None
    real_time_factor: float
    items: int
    seconds_of_audio: float

    def facts(self) -> dict[str, Any]:
        """As records hold it, rounded to what a measurement is worth."""
        rounded = {
            "real_time_factor": float(f"{self.real_time_factor:.4g}"),
            "seconds_of_audio": round(self.seconds_of_audio, 2),
        }
        macs = self.macs_per_second
        return asdict(self) | rounded | {"macs_per_second": None if macs is None else float(f"{macs:.6g}")}


def running_cost(
    model: SERModel, corpus: Corpus, data: Data, extractors: Mapping[str, FeatureExtractor]
) -> RunningCost:
    """Measure a trained model on some of its test items.

    Parameters
    ----------
    model : trained
    corpus : where the items' audio lies
    data : test items with features, labels withheld
    extractors : role -> extractor of the model's features
    """
    some, seconds = sample(corpus, data)

    def features(made: Mapping[str, FeatureExtractor], items: Sequence[str]) -> None:
        for role, extractor in made.items():
            for item in items:
                _make(extractor, role, corpus, data, item)

    with undisturbed():
        for extractor in extractors.values():
            extractor.prepare()
        networks = {role: e for role, e in extractors.items() if e.parameters}
        with counting() as counted:
            features(networks, some.ids)
            model.predict(some)
        macs = _macs(model, some, counted())
        for extractor in extractors.values():
            extractor.prepare()  # networks were counted as they were written, not as they run fastest
        features(extractors, some.ids[:1])
        started = time.perf_counter()
        features(extractors, some.ids)
        model.predict(some)
        passed = time.perf_counter() - started
    frozen = sum(e.parameters for e in networks.values())
    for extractor in extractors.values():
        extractor.release()
    return RunningCost(
        model.parameters, frozen, None if macs is None else macs / seconds, passed / seconds, len(some), seconds
    )


def _make(extractor: FeatureExtractor, role: str, corpus: Corpus, data: Data, item: str) -> None:
    """Make the features of an item anew; what is laid out from words alone is made whenever it is asked for."""
    if not extractor.needs_words:
        extractor.extract(signal_of(corpus, data, item, extractor.sampling_rate))
        return
    from ...features.core.word_feature import SpokenWordFeature

    table = data.features[role]
    if isinstance(extractor, SpokenWordFeature):
        said = extractor.times(item, corpus.words)
        heard = extractor.hear(said, signal_of(corpus, data, item, extractor.encoder.sampling_rate))
        extractor.lay_heard(said, heard, table.frames(item))
    else:
        _ = table[item]


def sample(corpus: Corpus, data: Data) -> tuple[Data, float]:
    """The items that are measured on, and their seconds of audio together."""
    looked = data.take(np.unique(np.linspace(0, len(data) - 1, min(len(data), MOST_LENGTHS)).round().astype(np.int64)))
    lengths = durations(corpus, looked)
    chosen = choose(lengths, data.task.kind == "continuous")
    return looked.take(chosen), float(sum(lengths[i] for i in chosen))


def durations(corpus: Corpus, data: Data) -> list[float]:
    """Seconds of each item, from its bounds or, where they are open, from the audio's header."""
    import soundfile

    seconds = []
    for item in data.ids:
        start, end = _bounds(data, item)
        if end is None:
            end = float(soundfile.info(str(corpus.audio_path(item))).duration)
        seconds.append(max(end - (start or 0.0), 1e-3))
    return seconds


def choose(lengths: Sequence[float], shortest: bool) -> list[int]:
    """Positions of the items to measure on: around the median length, or the shortest one alone."""
    order = [int(i) for i in np.argsort(lengths, kind="stable")]
    if shortest:
        return order[:1]
    middle = len(order) // 2
    around = sorted(range(len(order)), key=lambda k: (abs(k - middle), k))
    chosen: list[int] = []
    for k in around[:MOST_ITEMS]:
        if chosen and sum(lengths[i] for i in chosen) >= SECONDS:
            break
        chosen.append(order[k])
    return chosen


def signal_of(corpus: Corpus, data: Data, item: str, sampling_rate: int) -> Any:
    """The samples of an item at a rate; of a video clip, those of its decoded sound."""
    start, end = _bounds(data, item)
    return read_audio(corpus.audio_path(item), sampling_rate, start, end)[0]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Region after which the random states of Python, numpy and torch, and torch's threads, are what they were."""
    own, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 (it is only put back)
    torch = sys.modules.get("torch")
    if torch is not None:
        threads, states = torch.get_num_threads(), torch.get_rng_state()
        cards = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(arrays)  # noqa: NPY002
        if torch is not None:
            torch.set_rng_state(states)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            if cards:
                torch.cuda.set_rng_state_all(cards)


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Region whose multiply-accumulates in PyTorch are counted; gives a function that says how many so far.

    Fused kernels that the counter does not know (attention, LSTM on a processor) are replaced by their parts within.
    """
    if "torch" not in sys.modules:
        yield lambda: 0
        return
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from ...features.encoders.plain import plain_networks
    from .operations import Counter

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    counter = Counter()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN")  # said of any use of these flags
            with plain_networks(), torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter:
                yield lambda: counter.operations // 2
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _macs(model: SERModel, data: Data, counted: int) -> float | None:
    """Multiply-accumulates of a prediction: what was counted, and what the model states; None where both are silent."""
    rows = sum(data.frames[item] for item in data.ids) if data.task.kind == "continuous" else len(data)
    stated = model.multiply_accumulates(rows)
    if stated is not None:
        return float(stated + counted)
    return float(counted) if counted else None


def _bounds(data: Data, item: str) -> tuple[float | None, float | None]:
    row = data.items.loc[[item]].to_dict("records")[0]
    start, end = (row.get(column) for column in ("start", "end"))
    return _number(start), _number(end)


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
