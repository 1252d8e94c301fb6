"""Whisper's encoder at base size: our extraction beside transformers and faster-whisper called clip by clip.

    python -m serbench.benchmarks.performance.parts.whisper --data EMODB_ROOT [--out FILE.json]

Clips of EMO-DB at even steps through its lengths, the last layer, torch's default threads, which are those of
CTranslate2 here too. One side is the loop that a user writes: preprocessor, encoder with `output_hidden_states=True`,
clip after clip. Another is faster-whisper's: its own spectrogram, and the encoder that CTranslate2 runs in float32 and,
as most users do, in eight bits; it gives the last layer alone. Ours is `extract` into an empty cache, with Whisper's
own window of 30 s and with one of 10 s, which holds every clip of EMO-DB but gives other numbers.

Whisper base is looked for in `whisper_base` beside EMO-DB's folder. Without it the weights are random ones, which cost
the same, and the rows of faster-whisper, which takes whole checkpoints, are left out, as where it is not installed.
Each side is a process of its own, the sides take turns three times, and the median counts; starting Python, loading and
converting weights are not counted. CPU-seconds and wall seconds both have to keep the limit.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..rows import DATA, DEFAULT_THREADS, Facts, Row, apart, interleaved, main, row
from .transformers import LIMIT, ROUNDS, clips, extracted, heard

CLIPS = 8
OURS = {"serbench": "0", "serbench, window of 10 s": "10"}
"""Our sides, and `feature.window_seconds` of each."""
LOOP = "transformers, clip by clip"
PEERS = {"faster-whisper, float32": "float32", "faster-whisper, int8": "int8"}
"""The sides of faster-whisper, and CTranslate2's `compute_type`."""
RANDOM = "random:whisper-base"


def encoder_of(data: Path) -> str:
    """Whisper base beside the corpus, or random weights of its size."""
    folder = data.resolve().parent / "whisper_base"
    return str(folder) if (folder / "config.json").is_file() else RANDOM


def why_no_peer(encoder: str) -> str | None:
    """Why faster-whisper can't be measured, None if it can."""
    if importlib.util.find_spec("faster_whisper") is None:
        return "it is not installed (pip install faster-whisper)"
    return "there is no whisper_base beside EMO-DB's folder" if encoder == RANDOM else None


def ours(data: str, encoder: str, window: str) -> Facts:
    """`extract` in this process, into an empty cache."""
    settings = {"device": "cpu", "window_seconds": window}
    return extracted(Path(data), f"transformers:{encoder}", settings, CLIPS)


def clip_by_clip(data: str, encoder: str) -> Facts:
    """The network of transformers, called for one clip after the other."""
    import soundfile
    import torch
    from transformers import WhisperFeatureExtractor

    from ....features.encoders.checkpoint import locate
    from ....features.encoders.loading import load

    source = locate(encoder)
    network = load(source).model.eval()
    preprocess = WhisperFeatureExtractor(**dict(source.preprocessor))  # type: ignore[no-untyped-call]

    def work() -> float:
        audio = 0.0
        for path in clips(Path(data), CLIPS):
            signal, rate = soundfile.read(path, dtype="float32")
            inputs = preprocess(signal, sampling_rate=rate, return_tensors="pt").input_features
            with torch.no_grad():
                network(inputs, output_hidden_states=True).last_hidden_state[0].numpy()
            audio += len(signal) / rate
        return audio

    return heard(work)


def faster_whisper(data: str, encoder: str, compute_type: str) -> Facts:
    """faster-whisper's spectrogram and CTranslate2's encoder, one clip after the other."""
    import ctranslate2
    import numpy as np
    import soundfile
    from faster_whisper.feature_extractor import FeatureExtractor

    with tempfile.TemporaryDirectory() as folder:
        ctranslate2.converters.TransformersConverter(encoder).convert(folder, force=True)
        threads = os.cpu_count() or 1
        model = ctranslate2.models.Whisper(folder, device="cpu", compute_type=compute_type, intra_threads=threads)
        spectrogram = FeatureExtractor()

        def work() -> float:
            audio = 0.0
            for path in clips(Path(data), CLIPS):
                signal, rate = soundfile.read(path, dtype="float32")
                padded = np.pad(signal, (0, spectrogram.n_samples - len(signal)))
                mel = spectrogram(padded)[:, : spectrogram.nb_max_frames]
                features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None], dtype=np.float32))
                np.array(model.encode(features, to_cpu=True))
                audio += len(signal) / rate
            return audio

        return heard(work)


def rows(data: Path) -> list[Row]:
    """One row per side; ratios are those of the loop's seconds to a side's."""
    encoder = encoder_of(data)
    start = partial(apart, __spec__.name, env=DEFAULT_THREADS, data=data, encoder=encoder)
    sides = {LOOP: partial(start, "loop"), **{name: partial(start, "ours", window=w) for name, w in OURS.items()}}
    reason = why_no_peer(encoder)
    if reason is None:
        sides |= {name: partial(start, "peer", compute_type=kind) for name, kind in PEERS.items()}
    measured = interleaved(sides, ROUNDS)
    loop = measured[LOOP]
    rows = [row(_title(LOOP, loop), loop)]
    for name, cost in list(measured.items())[1:]:
        cpu, wall = (loop[key] / cost[key] for key in ("cpu_seconds", "wall_seconds"))
        limit = {"limit": f">= {LIMIT:g} x", "met": min(cpu, wall) >= LIMIT} if name in OURS else {}
        rows.append(row(f"{_title(name, cost)}, {wall:.2f} x in wall seconds", cost, ratio=cpu, **limit))
    return rows if reason is None else [*rows, row(f"faster-whisper: not measured, {reason}", {})]


def _title(side: str, cost: Facts) -> str:
    audio, factor = cost["audio_seconds"], cost["wall_seconds"] / cost["audio_seconds"]
    return f"whisper-base, {CLIPS} clips, {audio:.0f} s, {side} (real-time factor {factor:.3f})"


RUNS: dict[str, Callable[..., Facts]] = {"loop": clip_by_clip, "ours": ours, "peer": faster_whisper}

if __name__ == "__main__":
    main(__doc__, rows, RUNS, {"data": DATA})
