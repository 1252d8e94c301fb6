"""A perturbation of the utterances of a corpus: what changes each, and what decides the samples that come of it.

The randomness of an utterance (noise, room, voices) follows from its samples, the perturbation and nothing else: the
same for every model, feature, order and machine. Babble is of other speakers of the corpus: a few of a fixed choice of
voices, none of them the utterance's own speaker's.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ..core.audio import audio_sha256, read_audio
from .kinds import VERSION
from .noise import babble, mixed
from .perturbation import Perturbation, check

if TYPE_CHECKING:
    import pandas as pd

    from ...datasets.schema.corpus import Corpus

Array = npt.NDArray[np.float32]
TALKERS = 5
"""So many speak together in babble, fewer where a corpus has no more others."""
VOICES, EACH = 32, 2
"""Babble is made of at most so many speakers of a corpus, and so many utterances of each."""
LONGEST_SECONDS = 20.0


@dataclass(frozen=True)
class Voice:
    """An utterance that babble is made of: file, bounds in seconds, speaker."""

    path: str
    start: float | None
    end: float | None
    speaker: str


@dataclass(frozen=True)
class Change:
    """What is done to the samples of one utterance; plain data, so that it can be sent to another process."""

    perturbation: Perturbation
    speaker: str = ""
    voices: tuple[Voice, ...] = ()

    def __call__(self, signal: Array, rate: int) -> Array:
        """The changed samples of a signal (samples,) at a rate in Hz, as float32.

        Raises
        ------
        SerbenchError
            Where nothing of the signal is left, or the perturbation can't be made of it.
        """
        draw = np.random.default_rng(_seed(signal, self.perturbation))
        of = self.perturbation.of
        if of.change is None:
            out = mixed(signal, self._others(len(signal), rate, draw), self.perturbation.level)
        else:
            out = of.change(signal, rate, self.perturbation.level, draw)
        if not len(out) or not np.any(out):
            raise SerbenchError(
                f"{self.perturbation.name} ({of.says}, in {of.unit}) leaves nothing of its {len(signal) / rate:.2f} s. "
                "Expected a milder level."
            )
        peak = float(np.abs(out).max())
        return out if peak <= 1 else np.asarray(out / np.float32(peak), dtype=np.float32)

    def _others(self, count: int, rate: int, draw: np.random.Generator) -> npt.NDArray[np.float64]:
        """Babble of other speakers, (samples,)."""
        others = [voice for voice in self.voices if voice.speaker != self.speaker]
        speakers = sorted({voice.speaker for voice in others})
        chosen = draw.permutation(len(speakers))[:TALKERS]
        of = [[voice for voice in others if voice.speaker == speakers[k]] for k in chosen]
        heard = [voices[int(draw.integers(len(voices)))] for voices in of]
        return babble([_sound(voice, rate) for voice in heard], count, draw)


@dataclass(frozen=True)
class Perturbed:
    """A perturbation of a corpus: `speakers` is id -> speaker, `voices` what babble is made of, `sounds` their
    digests."""

    perturbation: Perturbation
    speakers: Mapping[str, str]
    voices: tuple[Voice, ...] = ()
    sounds: tuple[str, ...] = ()

    def of(self, item: str) -> Change | None:
        """What is done to an utterance; None = nothing."""
        speaker = self.speakers.get(item, item)
        return Change(self.perturbation, speaker, self.voices) if self.perturbation.changes else None

    def identity(self) -> dict[str, Any] | None:
        """Everything but the utterance that decides its samples, a part of the cache's key; None = nothing is done."""
        if not self.perturbation.changes:
            return None
        made = {
            "name": self.perturbation.name,
            "version": VERSION,
            "libraries": {name: importlib.metadata.version(name) for name in self.perturbation.of.libraries},
        }
        if self.perturbation.of.change is not None:
            return made
        speakers = [voice.speaker for voice in self.voices]
        return {**made, "babble": digest([list(self.sounds), speakers, dict(self.speakers)])}


def perturbed(corpus: Corpus, perturbation: Perturbation) -> Perturbed:
    """A perturbation with the voices of a corpus, if it needs them.

    Raises
    ------
    SerbenchError
        Where this machine can't do it, or babble is asked for and the corpus has no two speakers that can be heard.
    """
    check([perturbation])
    if perturbation.of.change is not None or not perturbation.changes:
        return Perturbed(perturbation, {})
    spoken = corpus.utterances if len(corpus.utterances) or corpus.recordings is None else corpus.recordings
    names = spoken["speaker"].astype("string").fillna(spoken.index.to_series().astype("string"))
    voices, sounds = _voices(corpus, spoken, names)
    if len({voice.speaker for voice in voices}) < 2:
        raise SerbenchError(
            f"babble is of other speakers, and {corpus.name} has {names.nunique()} that can be heard. Leave it out of "
            "--with."
        )
    table = names if corpus.recordings is None else _with_recordings(names, corpus.recordings)
    return Perturbed(perturbation, {str(i): str(who) for i, who in table.items()}, voices, sounds)


def _with_recordings(names: pd.Series[str], recordings: pd.DataFrame) -> pd.Series[str]:
    import pandas as pd

    own = recordings["speaker"].astype("string").fillna(recordings.index.to_series().astype("string"))
    return pd.concat([names, own[~own.index.isin(names.index)]])


def _voices(corpus: Corpus, spoken: pd.DataFrame, names: pd.Series[str]) -> tuple[tuple[Voice, ...], tuple[str, ...]]:
    """A choice of utterances that does not depend on their order, and the digests of their sound."""
    from ..extraction.file_tasks import tasks_of

    order = sorted((digest(["voice", str(i)]), str(i)) for i in spoken.index)
    who = {str(i): str(name) for i, name in names.items()}
    chosen: dict[str, list[str]] = {}
    for _, item in order:
        held = chosen.setdefault(who[item], []) if who[item] in chosen or len(chosen) < VOICES else None
        if held is not None and len(held) < EACH:
            held.append(item)
    wanted = spoken.loc[[item for items in chosen.values() for item in items]]
    tasks, _ = tasks_of(wanted, corpus.root, corpus.audio_source)
    voices, sounds = [], []
    for task in tasks:
        for segment in task.segments:
            voice = Voice(task.path, segment.start, segment.end, who[segment.item])
            try:
                heard = bool(np.any(_sound(voice, None)))
            except SerbenchError:
                continue  # the extraction of its own features says why
            if heard:
                voices.append(voice)
                sounds.append(f"{audio_sha256(task.path)} {segment.start} {segment.end}")
    return tuple(voices), tuple(sounds)


@lru_cache(maxsize=VOICES * EACH)
def _sound(voice: Voice, rate: int | None) -> Array:
    """The first samples of a voice at a rate, (samples,); kept, since every utterance hears some of the same."""
    signal, own = read_audio(voice.path, rate, voice.start, voice.end)
    return signal[: round(LONGEST_SECONDS * own)]


def _seed(signal: Array, perturbation: Perturbation) -> list[int]:
    """Numbers that follow from the samples and the perturbation."""
    said = hashlib.sha256(np.ascontiguousarray(signal).tobytes() + perturbation.name.encode()).digest()
    return [int.from_bytes(said[k : k + 4], "little") for k in range(0, 16, 4)]
