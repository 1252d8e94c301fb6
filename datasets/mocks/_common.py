"""What the miniature corpora have in common: an affective state per emotion, babble that shows it, sentences, files.

The audio comes from the demo synthesiser, so the labels can be heard (and learnt) as far as a miniature goes. Nothing
here is taken from any corpus: sentences are invented, voices are synthetic.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..core.files import atomic_write, write_bytes, write_text
from ..core.stages import noted
from ..schema.labels import VOCABULARIES
from ..voice.synthesis import babble

Array = npt.NDArray[np.float32]
T = TypeVar("T")

AFFECT = {
    "anger": (0.75, -0.7), "boredom": (-0.7, -0.3), "calm": (-0.6, 0.3), "contempt": (0.1, -0.5),
    "disgust": (0.2, -0.7), "excitement": (0.8, 0.7), "fear": (0.6, -0.6), "frustration": (0.4, -0.5),
    "happiness": (0.55, 0.75), "neutral": (0.0, 0.0), "other": (0.1, 0.1), "sadness": (-0.65, -0.6),
    "surprise": (0.7, 0.2),
}  # fmt: skip
"""Canonical emotion -> (arousal, valence), each -1 .. 1."""

SENTENCES = {
    "negative": ("This is the third time today.", "I never wanted any of it.", "Please, just leave it alone."),
    "neutral": ("The bus stops at the corner.", "He put the box on the table.", "It's ten past four."),
    "positive": ("That's the best news of the week!", "I knew it would work out.", "What a lovely surprise."),
}


def write_wav(path: Path, signal: Array, sampling_rate: int) -> None:
    """Write 16-bit PCM; (sample,) or (sample, channel)."""
    import soundfile

    noted(path.name)
    atomic_write(path, lambda stream: soundfile.write(stream, signal, sampling_rate, format="WAV", subtype="PCM_16"))


def voice_of(emotion: str | None, seconds: float, seed: int, gender: str, sampling_rate: int) -> Array:
    """Babble in the state of an emotion (None: a state between all), (sample,) float32."""
    arousal, valence = AFFECT[emotion or "other"]
    return babble(seconds, seed, gender=gender, arousal=arousal, valence=valence, sampling_rate=sampling_rate)


def sentence(emotion: str | None, rng: np.random.Generator) -> str:
    """An invented sentence whose feeling suits the emotion."""
    valence = AFFECT[emotion or "other"][1]
    kind = "negative" if valence < -0.2 else "positive" if valence > 0.4 else "neutral"
    return str(rng.choice(SENTENCES[kind]))


def spread(values: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    """`count` values in random order, each about equally often, every value at least once where there is room."""
    repeated = [values[i % len(values)] for i in range(count)]
    return [repeated[int(i)] for i in rng.permutation(count)]


def on_scale(state: float, low: float, high: float) -> float:
    """A state of -1 .. 1 on a label scale."""
    return low + (state + 1.0) / 2.0 * (high - low)


def write_lines(path: Path, lines: Sequence[str], newline: str = "\n") -> None:
    """Write UTF-8 text, a line each."""
    write_text(path, newline.join(lines) + newline)


def write_stub(path: Path) -> None:
    """An AppleDouble stub beside a real file: 212 bytes that no decoder reads."""
    stub = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "
    write_bytes(path.with_name(f"._{path.name}"), stub.ljust(212, b"\x00"))


def csv_text(header: Sequence[str], rows: Iterable[Mapping[str, object]], **options: Any) -> str:
    """Rows as the text of a CSV file; options are those of `csv.DictWriter`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, header, **{"lineterminator": "\n", **options})
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def share(total: int, parts: int, most: int) -> list[int]:
    """Divide `total` among `parts` as equally as can be, each at most `most`."""
    return [min(most, total // parts + (i < total % parts)) for i in range(parts)]


def speak(
    path: Path, emotion: str | None, gender: str, sampling_rate: int, rng: np.random.Generator, seconds: float = 0.9
) -> None:
    """Write an utterance of about `seconds` in the state of an emotion."""
    length = seconds * float(rng.uniform(0.9, 1.3))
    write_wav(path, voice_of(emotion, length, int(rng.integers(2**31)), gender, sampling_rate), sampling_rate)


def act(
    folder: Path,
    corpus: str,
    takes: Mapping[str, Sequence[tuple[str, str]]],
    genders: Mapping[str, str],
    *,
    utterances: int,
    sampling_rate: int,
    seed: int,
) -> list[str]:
    """Write an acted corpus: for each speaker as many takes as its share of `utterances`, in their order.

    Parameters
    ----------
    corpus : its name among the vocabularies of labels
    takes : speaker -> (path of the file below `folder`, code of the emotion)
    genders : speaker -> "female" or "male"

    Returns
    -------
    paths that were written
    """
    rng = np.random.default_rng((seed, *corpus.encode()))
    counts = share(utterances, len(takes), max(map(len, takes.values())))
    written = []
    for (speaker, own), count in zip(takes.items(), counts, strict=True):
        for path, code in own[:count]:
            speak(folder / path, VOCABULARIES[corpus][code], genders[speaker], sampling_rate, rng)
            written.append(path)
    return written
