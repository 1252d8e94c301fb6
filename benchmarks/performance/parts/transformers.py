"""Hidden states of pre-trained encoders: our extraction beside transformers called clip by clip, and an hour on a card.

    python -m serbench.benchmarks.performance.parts.transformers --data EMODB_ROOT [--out FILE.json]

Random weights of a stated architecture, the last layer, clips of EMO-DB at even steps through its lengths. The other
side is the loop that a user writes: preprocessor, `model(**inputs, output_hidden_states=True)` under `torch.no_grad()`,
one clip after the other. Each side runs in a process of its own, with torch's default threads and with one; the sides
take turns three times, and the median counts. Reading, decoding and, on our side, hashing and writing to an empty cache
are included, starting Python and loading the weights are not. Peak memory is the process's. The limit is held against
the default threads, and has to be kept in CPU-seconds and in wall seconds; on a busy machine threads that wait for each
other make that loop look worse than on a quiet one, so the row with one thread is the one to read there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ...core.machine import peak_mib
from ..measure import timed
from ..rows import DATA, DEFAULT_THREADS, ONE_THREAD, Facts, Row, apart, interleaved, main, row, wav_files

ENCODERS = (("wav2vec2-base", 24), ("wavlm-base", 24), ("wav2vec2-reduced", 120), ("wav2vec2-tiny", 240))
"""Random encoder, and number of clips."""
THREADS = ("default", "1")
LIMIT = 1.5
SIDES = ("clip by clip", "serbench")
ROUNDS = 3


def clips(data: Path, count: int) -> list[Path]:
    """So many files of EMO-DB at even steps through its lengths."""
    files = sorted(wav_files(data), key=lambda p: (p.stat().st_size, p.name))
    return [files[i] for i in np.linspace(0, len(files) - 1, count).round().astype(int)]


def heard(work: Callable[[], float]) -> Facts:
    """CPU and wall seconds of `work`, and the seconds of audio that it says it went through."""
    with timed() as spent:
        audio = work()
    return {**spent, "audio_seconds": audio}


def clip_by_clip(data: str, name: str, count: str) -> Facts:
    """The network of transformers, called for one clip after the other."""
    import soundfile
    import torch
    from transformers import Wav2Vec2FeatureExtractor

    from ....features.encoders.checkpoint import locate
    from ....features.encoders.loading import load

    source = locate(f"random:{name}")
    network = load(source).model.eval()
    preprocess = Wav2Vec2FeatureExtractor(**source.preprocessor)  # type: ignore[no-untyped-call]

    def work() -> float:
        audio = 0.0
        for path in clips(Path(data), int(count)):
            signal, rate = soundfile.read(path, dtype="float32")
            inputs = preprocess(signal, sampling_rate=rate, return_tensors="pt")
            with torch.no_grad():
                network(**inputs, output_hidden_states=True).last_hidden_state[0].numpy()
            audio += len(signal) / rate
        return audio

    return heard(work)


def ours(data: str, name: str, count: str) -> Facts:
    """`extract` in this process, into an empty cache."""
    return extracted(Path(data), f"transformers:random:{name}", {"device": "cpu"}, int(count))


def extracted(data: Path, feature: str, settings: Mapping[str, str], count: int) -> Facts:
    """A feature of some clips of EMO-DB, extracted into an empty cache."""
    import pandas as pd

    from ....features.cache.cache import FeatureCache
    from ....features.core.feature_extractor import FeatureRequest, build
    from ....features.extraction.extract import extract

    made = build(FeatureRequest(feature, tuple(settings.items())))
    made.prepare()
    names = [f"wav/{p.name}" for p in clips(data, count)]
    table = pd.DataFrame({"path": names}, index=range(len(names)))
    seen = [0.0]
    with tempfile.TemporaryDirectory() as folder:

        def work() -> float:
            extract(
                table,
                data,
                made,
                FeatureCache(Path(folder) / "features"),
                progress=lambda _done, _total, seconds: seen.__setitem__(0, seconds),
            )
            return seen[0]

        return heard(work)


def card_row(name: str = "wav2vec2-base", precision: str = "float16", seconds: float = 3600.0) -> Row:
    """An hour of audio in clips of 1 to 9 s on a CUDA card: times real time, and share of its measured matrix rate."""
    import torch

    from ....features.core.feature_extractor import FeatureRequest, build
    from ...grid.cost import counting
    from ..device_speed import matrix_speed

    generator = np.random.default_rng(0)
    lengths = np.clip(generator.gamma(7.3, 0.38, size=round(seconds / 2.78)), 1.2, 9.0)
    signals = [generator.standard_normal(int(n * 16000)).astype(np.float32) * 0.1 for n in lengths]
    made = build(FeatureRequest(f"transformers:random:{name}", (("precision", precision), ("pooling", "mean"))))
    made.prepare()
    made.extract_many(signals[:32])
    with counting() as counted:
        made.extract_many(signals[:32])
    operations = 2 * counted() * float(lengths.sum() / lengths[:32].sum())
    facts = {**heard(lambda: float(len(made.extract_many(signals)) and lengths.sum())), "peak_mib": peak_mib()}
    wall, limit = facts["wall_seconds"], matrix_speed("cuda", getattr(torch, precision))
    speed, share = facts["audio_seconds"] / wall, operations / wall / limit
    where = f"{name}, an hour of clips on {torch.cuda.get_device_name()}, {precision}"
    return row(f"{where}: {speed:.0f} x real time, {share:.1%} of its matrix rate", facts)


def rows(data: Path) -> list[Row]:
    """One row per encoder, number of threads and side; ratios of both kinds of seconds stand on our own side."""
    import torch

    shown = []
    for name, count in ENCODERS:
        for threads in THREADS:
            shown += compared(data, name, count, threads)
    return [*shown, card_row()] if torch.cuda.is_available() else shown


def compared(data: Path, name: str, count: int, threads: str) -> list[Row]:
    """Both sides with one encoder and number of threads."""
    sides = {side: partial(_in_process, data, side, name, count, threads) for side in SIDES}
    theirs, own = interleaved(sides, ROUNDS).values()
    cpu, wall = (theirs[key] / own[key] for key in ("cpu_seconds", "wall_seconds"))
    limit = {"limit": f">= {LIMIT:g} x", "met": min(cpu, wall) >= LIMIT} if threads == "default" else {}
    title = _title(name, count, threads, SIDES[1], own)
    return [
        row(_title(name, count, threads, SIDES[0], theirs), theirs),
        row(f"{title}, {wall:.2f} x in wall seconds", own, ratio=cpu, **limit),
    ]


def _title(name: str, count: int, threads: str, side: str, cost: Facts) -> str:
    number = "one thread" if threads == "1" else "default threads"
    audio, factor = cost["audio_seconds"], cost["wall_seconds"] / cost["audio_seconds"]
    return f"{name}, {count} clips, {audio:.0f} s, {number}, {side} (real-time factor {factor:.3f})"


def _in_process(data: Path, side: str, name: str, count: int, threads: str) -> Facts:
    env = DEFAULT_THREADS if threads == "default" else ONE_THREAD
    return apart(__spec__.name, side, env=env, data=data, name=name, count=count)


RUNS = dict(zip(SIDES, (clip_by_clip, ours), strict=True))

if __name__ == "__main__":
    main(__doc__, rows, RUNS, {"data": DATA})
