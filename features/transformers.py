"""Hidden states of a pre-trained speech encoder: wav2vec 2.0, HuBERT, WavLM, data2vec-audio, Whisper, AST.

Any checkpoint of these families that the Hugging Face transformers library loads: `transformers:FOLDER`,
`transformers:OWNER/NAME` (looked up in the local Hugging Face cache; nothing is downloaded), or random weights of a
stated architecture as a floor for comparisons, `transformers:random:NAME`. What is told from a checkpoint's files: its
family, sampling rate, frames, and whether waveforms are normalised; what is told from the family: how lengths, padding
and masks are treated (the table in `encoders/families.py`).

Output: (frames, layers x width), the chosen hidden states one after another on the last axis, lowest first. Layer 0
enters the first transformer block, layer k leaves the k-th; the last is `last_hidden_state`. All layers of a
base-size encoder are 2 MB for each second of speech; `pooling=mean` keeps one frame per utterance, which is all that a
linear probe with mean pooling can see.

Frames: wav2vec 2.0, HuBERT, WavLM and data2vec-audio have one every 20 ms, for which their front end sees 25 ms;
Whisper every 20 ms (65 ms); AST every 100 ms (175 ms), the mean over the patches of all frequencies. The transformer
above sees the whole window: at most `chunk_seconds`, Whisper 30 s, AST 10.24 s. Longer signals are cut into windows
that overlap; signals shorter than the front end's field are followed by zeros.

The numbers of an utterance do not depend on the company it is batched with beyond rounding (1e-4 is tested).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..datasets.core.config import option, to_dict
from ..datasets.core.errors import SerbenchError
from ..datasets.core.files import digest
from .core.feature_extractor import Array, FeatureExtractor
from .core.process import give_back_memory, keep_freed_memory
from .encoders.checkpoint import RANDOM_PREFIX, Checkpoint, locate, windowed
from .encoders.families import WAVEFORM, chosen_layers

if TYPE_CHECKING:
    import torch

    from .encoders.encoder import SpeechEncoder
    from .encoders.long_signals import Recipe

_FREE = "free choice"
_WAY = ("device", "batch_seconds", "checkpoint", "revision")
"""Settings that say how features are made, or that the checkpoint's identity stands for; no part of a cache key."""


@dataclass(frozen=True)
class Config:
    """Settings of the hidden states."""

    checkpoint: str = option("", "folder, name on the Hugging Face hub, or random:NAME", source=_FREE)
    revision: str = option("main", "branch, tag or commit of a repository", source=_FREE)
    layers: str = option("last", "hidden states: last, all, 5, a range such as 4-8, or several (0,6,12)", source=_FREE)
    pooling: str = option("none", "over all frames of an utterance", source=_FREE, choices=("none", "mean", "mean+std"))
    average_seconds: float = option(
        0.0, "mean over windows of this width [s]; 0 = the encoder's own frames", source=_FREE, low=0
    )
    normalise: str = option(
        "checkpoint",
        "waveforms to mean 0 and variance 1, or as preprocessor_config.json says",
        source="checkpoint",
        choices=("checkpoint", "yes", "no"),
    )
    sampling_rate: int = option(0, "rate in Hz; 0 = the encoder's, no other is taken", source="checkpoint", low=0)
    chunk_seconds: float = option(30.0, "longest input [s] of an encoder of waveforms", source=_FREE, low=1)
    window_seconds: float = option(
        0.0,
        "length [s] that Whisper's inputs are padded to; 0 = that of its training, 30 s",
        source=_FREE,
        low=0,
        later=True,
    )
    overlap_seconds: float = option(2.0, "overlap of two windows of a longer signal [s]", source=_FREE, low=0)
    precision: str = option(
        "float32",
        "number format of the network; the half ones need a graphics card",
        source=_FREE,
        choices=("float32", "float16", "bfloat16"),
    )
    device: str = option("auto", "where the network runs: auto, cpu, cuda, cuda:1, mps", source=_FREE)
    batch_seconds: float = option(
        -1.0, "seconds of audio in a batch, zeros included; 0 = one utterance; -1 = by the device", source=_FREE, low=-1
    )

    @classmethod
    def from_argument(cls, text: str) -> Config:
        """Settings for the text behind `transformers:`."""
        return cls(checkpoint=text)


class Extractor(FeatureExtractor):
    """Hidden states of one checkpoint, (frames, layers x width)."""

    version: ClassVar[int] = 2
    libraries: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.source: Checkpoint = windowed(locate(config.checkpoint, config.revision), config.window_seconds)
        geometry = self.source.geometry
        self.name = f"transformers:{self.source.short}"
        self.sampling_rate = geometry.sampling_rate
        if config.sampling_rate not in (0, self.sampling_rate):
            raise SerbenchError(
                f"feature.sampling_rate={config.sampling_rate} does not fit {config.checkpoint}, which was trained at "
                f"{self.sampling_rate} Hz. Leave the setting out: audio is resampled to the encoder's rate."
            )
        self.layers = chosen_layers(config.layers, geometry.layers)
        self.dim = len(self.layers) * geometry.width * (2 if config.pooling == "mean+std" else 1)
        hop = geometry.hop / self.sampling_rate
        if 0 < config.average_seconds < hop:
            raise SerbenchError(
                f"feature.average_seconds={config.average_seconds:g} is shorter than the encoder's frames, which are "
                f"{hop:g} s apart. Type 0 for these, or {hop:g} or more."
            )
        self.hop_seconds = None if config.pooling != "none" else config.average_seconds or hop
        self._check_windows()

    @property
    def parallel(self) -> bool:  # type: ignore[override]
        """Whether several processes may extract side by side: on the processor alone."""
        return self._device.type == "cpu"

    @property
    def batch_seconds(self) -> float:
        """Seconds of audio that `extract_many` puts into one batch."""
        given = float(self.config.batch_seconds)
        return given if given >= 0 else 20.0 if self._device.type == "cpu" else 320.0

    @property
    def parameters(self) -> int:
        """Number of scalars of the encoder; loads it if that has not been done."""
        return sum(p.numel() for p in self._encoder.parameters())

    def prepare(self) -> None:
        """Load the checkpoint."""
        _ = self._encoder

    def release(self) -> None:
        """Give the memory of the checkpoint back."""
        _loaded.cache_clear()
        give_back_memory()

    def extract(self, signal: Array) -> Array:
        """Hidden states (frames, dim) of a signal (samples,)."""
        return self.extract_many([signal])[0]

    def extract_many(self, signals: Sequence[Array]) -> list[Array]:
        """Hidden states (frames, dim) of each signal (samples,), computed in batches of similar lengths."""
        from .encoders.long_signals import encode

        if not all(len(signal) for signal in signals):
            raise SerbenchError("the signal is empty. Expected at least one sample.")
        made = dict(encode(self._encoder, signals, self._recipe, self._device, self._dtype))
        return [made[i] for i in range(len(signals))]

    def wider(self) -> Sequence[Extractor]:
        """All hidden states, pooled likewise and frame by frame."""
        whole = replace(self.config, layers="all")
        frames = replace(whole, pooling="none", average_seconds=0.0)
        return [Extractor(c) for c in dict.fromkeys((whole, frames)) if c != self.config]

    def narrowed(self, array: Array, wider: FeatureExtractor) -> Array:
        """The chosen layers of all hidden states, pooled if they are not yet."""
        import torch

        from .encoders.long_signals import reduce

        apart = torch.from_numpy(array).reshape(len(array), -1, len(self._every_layer), self.source.geometry.width)
        chosen = apart[:, :, list(self.layers)]  # (frame, part, layer, width); "mean+std" has two parts
        if all(getattr(wider.config, key) == getattr(self.config, key) for key in ("pooling", "average_seconds")):
            kept: Array = chosen.flatten(1).contiguous().numpy()
            return kept
        return reduce(chosen[:, 0], self._recipe, self.source.geometry)

    def identity(self) -> dict[str, Any]:
        """Everything but the audio that decides the output, wherever the checkpoint lies and the network runs."""
        return {**super().identity(), "config": self._decisive}

    def signature(self) -> str:
        """Short text for a score's signature: name, version, digest of the settings and of the checkpoint."""
        return f"{self.name}.v{self.version}+{digest([self._decisive, dict(self.extra_identity())], 8)}"

    def extra_identity(self) -> Mapping[str, str]:
        """The checkpoint: its commit, the digests of its files, or the seed of random weights."""
        return dict(self.source.identity)

    def __getstate__(self) -> dict[str, Any]:
        """Another process loads the checkpoint by itself."""
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"])  # type: ignore[misc]

    @property
    def _every_layer(self) -> tuple[int, ...]:
        return chosen_layers("all", self.source.geometry.layers)

    @property
    def _decisive(self) -> dict[str, Any]:
        return {key: value for key, value in to_dict(self.config).items() if key not in _WAY}

    @cached_property
    def _device(self) -> torch.device:
        import torch

        name = self.config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name.split(":")[0] == "cuda" and not torch.cuda.is_available():
            raise SerbenchError(f"feature.device={name}: there is no CUDA card here. Type auto or cpu.")
        if name.split(":")[0] not in ("cpu", "cuda", "mps"):
            raise SerbenchError(f"feature.device={name!r} is not known. Expected auto, cpu, cuda or mps.")
        device = torch.device(name)
        if self.config.precision != "float32" and device.type == "cpu":
            raise SerbenchError(
                f"feature.precision={self.config.precision} needs a graphics card, the device is {device}. Type "
                "--set feature.precision=float32."
            )
        return device

    @property
    def _dtype(self) -> torch.dtype:
        import torch

        kind = getattr(torch, self.config.precision)
        assert isinstance(kind, torch.dtype)
        return kind

    @property
    def _encoder(self) -> SpeechEncoder:
        from .encoders.plain import accelerated

        device = str(self._device)
        return _loaded(self.source, device, self.config.precision, accelerated(device, self.config.precision))

    @property
    def _recipe(self) -> Recipe:
        from .encoders.long_signals import Recipe

        c, geometry = self.config, self.source.geometry
        stated = bool(self.source.preprocessor.get("do_normalize", False))
        return Recipe(
            self.layers,
            {"yes": True, "no": False}.get(c.normalise, stated),
            c.pooling,
            c.average_seconds,
            self._chunk_frames,
            self._overlap_frames,
            round(self.batch_seconds * geometry.sampling_rate),
            0.95 if self._device.type == "cpu" else 0.85,
        )

    @property
    def _chunk_frames(self) -> int:
        geometry = self.source.geometry
        return geometry.window_frames or geometry.frames(round(self.config.chunk_seconds * geometry.sampling_rate))

    @property
    def _overlap_frames(self) -> int:
        frames: float = self.config.overlap_seconds * self.sampling_rate / self.source.geometry.hop
        return round(frames)

    def _check_windows(self) -> None:
        if self.source.geometry.kind != WAVEFORM and self.config.normalise == "yes":
            raise SerbenchError(f"feature.normalise=yes has no meaning for {self.name}, which is fed a spectrogram.")
        if self._overlap_frames >= self._chunk_frames:
            longest = self._chunk_frames * self.source.geometry.hop / self.sampling_rate
            raise SerbenchError(
                f"feature.overlap_seconds={self.config.overlap_seconds:g} is not shorter than a window of {longest:g} "
                "s. Expected an overlap below it, such as 1."
            )


@lru_cache(maxsize=1)
def _loaded(source: Checkpoint, device: str, precision: str, fast: bool) -> SpeechEncoder:
    """The encoder on its device, loaded once in each process."""
    import torch

    from .encoders.fast.on_processor import accelerate
    from .encoders.loading import freeze_for_extraction, load

    if device == "cpu":
        keep_freed_memory()
    encoder = freeze_for_extraction(load(source)).to(device=device, dtype=getattr(torch, precision))
    return accelerate(encoder) if fast else encoder


__all__ = ["RANDOM_PREFIX", "Config", "Extractor", "chosen_layers"]
