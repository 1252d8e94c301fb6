"""Generated material for benchmarks: sentences without memory of their own, noisy files, networks, and a plain loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ...features.core.feature_table import Array, FeatureTable
from ...sermodels.core.persist import load_model, save_model
from ...sermodels.core.sermodel import Data, Resources
from ...sermodels.deepemocluster.config import PAPER
from ...sermodels.deepemocluster.model import Model
from .parts.training import HOP, TASK, plain_layers


@dataclass(frozen=True)
class Generated(Mapping[str, Callable[[], Array]]):
    """Loaders that copy a stretch of one noisy signal: every sentence its own array, and none of them kept."""

    ids: Mapping[str, int]
    signal: Array
    frames: int

    def __getitem__(self, item: str) -> Callable[[], Array]:
        return partial(self.part, item, 0, self.frames)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, item: str, first: int, stop: int) -> Array:
        """Some frames of a sentence."""
        begin = self.ids[item] * 7 % (len(self.signal) - self.frames)
        return self.signal[begin + first : begin + stop].copy()


def endless(count: int, name: str, frames: int = 172, bands: int = 32) -> Data:
    """Generated sentences that take no memory of their own."""
    generator = np.random.default_rng(len(name))
    ids = {f"{name}{i}": i for i in range(count)}
    signal = generator.gamma(0.5, 1.0, size=(20_000, bands)).astype(np.float32)
    table = FeatureTable(Generated(ids, signal, frames), dict.fromkeys(ids, (frames, bands)), bands, HOP, 16000)
    items = pd.DataFrame(index=pd.Index(list(ids), name="id"))
    return Data(TASK, items, {"input": table}, generator.uniform(1, 7, size=(count, 1)))


def renamed(data: Data, prefix: str) -> Data:
    """The same sentences under other ids."""
    arrays = {f"{prefix}{i}": data.features["input"][i] for i in data.ids}
    items = pd.DataFrame(index=pd.Index(list(arrays), name="id"))
    return replace(data, items=items, features={"input": FeatureTable.from_arrays(arrays, HOP)})


def speech_files(folder: Path, count: int) -> tuple[list[Path], float]:
    """Noise in the lengths of acted sentences: log-normal around 2.8 s, as in EMO-DB."""
    import soundfile

    generator = np.random.default_rng(5)
    lengths = np.clip(generator.lognormal(np.log(2.6), 0.36, size=count), 1.2, 9.0)
    paths = []
    for i, seconds in enumerate(lengths):
        paths.append(folder / f"{i:03d}.wav")
        soundfile.write(paths[-1], 0.1 * generator.standard_normal(int(16000 * seconds)), 16000)
    return paths, float(lengths[1:].sum())


def three_networks(folder: Path) -> list[Path]:
    """Untrained networks of the released size, for three targets; what they cost does not depend on their weights."""
    paths = []
    for k, target in enumerate(("arousal", "dominance", "valence")):
        task = replace(TASK, name=target, targets=(target,), scales={target: (1.0, 7.0)})
        model = Model(PAPER, task, Resources(seed=k))
        sizes = {"bands": 128, "frames": 62, "chunks": 11}
        network = model.build(sizes, torch.Generator().manual_seed(k))
        model.restore({key: value.numpy() for key, value in network.state_dict().items()}, {"sizes": sizes})
        paths.append(save_model(model, folder / f"{target}.safetensors"))
    return paths


def plain_loop(weights: Sequence[Path]) -> Callable[[Path], list[float]]:
    """One file after the other through librosa and each network's plain layers."""
    from .parts.features import librosa_mel

    networks: list[Any] = [getattr(load_model(path), "network") for path in weights]  # noqa: B009 (a torch model's)
    plain = [torch.nn.Sequential(*plain_layers(n.encoder), *n.emotion).eval() for n in networks]

    def one(path: Path) -> list[float]:
        mel = librosa_mel(path)
        step = (len(mel) - 62) // 10
        chunks = torch.from_numpy(np.stack([mel[k * step : k * step + 62] for k in range(11)]))
        with torch.inference_mode():
            normed = [((chunks - n.normaliser.mean) * n.normaliser.inverse).clamp(-3, 3)[:, None] for n in networks]
            return [float(layers(x).mean()) for layers, x in zip(plain, normed, strict=True)]

    return one
