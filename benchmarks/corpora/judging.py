"""What `serbench words judge` does: vectors of words beside what they have to be better than, on one sample of words.

Lexical precision: of pairs of occurrences by different speakers, those of the same word come first. Semantic precision:
of pairs of words, those of one class come first. Both are average precisions (`features/judging/precision.py`). Rows of
sound are judged by the mean over a word's judged occurrences; the file's vectors and Word2Vec know words alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ...datasets.core.errors import SerbenchError
from ...datasets.schema.corpus import Corpus
from ...features.judging.classes import Meaning, misleading, read_classes, same_class
from ...features.judging.hearing import hear_words
from ...features.judging.precision import average_precision, cosines, percentile
from ...features.judging.warped import warped_distances
from ...features.spoken.encoder import WordEncoder, beside, load_encoder
from ...features.words import word2vec
from ...features.words.coverage import Coverage, coverage
from ...features.words.speech2vec import QUICK, average, fresh
from ...features.words.spoken_words import CutConfig, Cuts, cut_words, standardised_by
from ...features.words.times import word_source
from ...features.words.vectors import SILENT, Vectors, normalise, read_vectors
from ..core.progress import Display, Silent
from .items import test_items, training_items
from .words import steps_of

OCCURRENCES = 1000
SOUND = CutConfig(hop=320)
"""How words are cut where no encoder says it."""
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """A row; what can't be said of it is NaN.

    Attributes
    ----------
    lexical, semantic : average precisions
    homophones, minimal : mean percentile of the similarity of such pairs of different classes among all pairs
    """

    name: str
    lexical: float
    semantic: float
    homophones: float
    minimal: float


@dataclass(frozen=True)
class Judgement:
    """Rows, and on what they were judged."""

    rows: tuple[Precision, ...]
    coverage: Coverage
    occurrences: int
    speakers: int
    words: int
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The table for people to read, at most 80 columns wide."""
        head = f"{'':<28}{'lexical':>9}{'semantic':>10}{'homophones':>12}{'minimal pairs':>15}"
        shown = [[r.lexical, r.semantic, r.homophones, r.minimal] for r in self.rows]
        texts = [["-" if math.isnan(v) else f"{v:.3f}" for v in values] for values in shown]
        rows = [
            f"{row.name:<28}{a:>9}{b:>10}{c:>12}{d:>15}" for row, (a, b, c, d) in zip(self.rows, texts, strict=True)
        ]
        judged = f"{self.occurrences} occurrences by {self.speakers} speakers, {self.words} words with a class"
        return [head, *rows, judged, self.coverage.line(), *self.notes]


@dataclass(frozen=True)
class _Sample:
    """Judged occurrences, and the words that the semantic rows share."""

    cuts: Cuts
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    words: list[str]
    classes: dict[str, Meaning]

    def row(self, name: str, between: Array | None, types: Array | None) -> Precision:
        """A row of similarities of the pairs of occurrences (pair,), and of words (word, word)."""
        lexical = math.nan
        speakers = np.array(self.cuts.speakers)
        across = speakers[self.first] != speakers[self.second]
        if between is not None:
            words = np.array(self.cuts.words)
            lexical = average_precision((words[self.first] == words[self.second])[across], between[across])
        if types is None or len(self.words) < 2:
            return Precision(name, lexical, math.nan, math.nan, math.nan)
        pairs = np.triu_indices(len(self.words), 1)
        similar, same = types[pairs], same_class(self.words, self.classes)[pairs]
        homophones, minimal = (percentile(similar, flags[pairs]) for flags in misleading(self.words, self.classes))
        return Precision(name, lexical, average_precision(same, similar), homophones, minimal)

    def of_states(self, name: str, states: npt.NDArray[np.float32]) -> Precision:
        """A row of vectors (occurrence, dim)."""
        return self.row(name, cosines(states)[self.first, self.second], self._types(average(self.cuts.words, states)))

    def of_vectors(self, name: str, vectors: Vectors) -> Precision:
        """A row of vectors of words."""
        return self.row(name, None, self._types(vectors))

    def _types(self, vectors: Vectors) -> Array | None:
        rows = [vectors.normalised[word] for word in self.words]
        return cosines(vectors.matrix[rows]) if rows else None

    def warped(self) -> Precision:
        """The row of MFCCs by dynamic time warping; of two words, the mean over their occurrences."""
        similar = -warped_distances(self.cuts.mfcc, self.cuts.lengths, self.first, self.second)
        number = {word: k for k, word in enumerate(self.words)}
        of = np.array([number.get(word, len(number)) for word in self.cuts.words])
        total, count = np.zeros((2, len(number) + 1, len(number) + 1))
        for a, b in ((self.first, self.second), (self.second, self.first)):
            np.add.at(total, (of[a], of[b]), similar)
            np.add.at(count, (of[a], of[b]), 1)
        types = total[:-1, :-1] / np.maximum(count[:-1, :-1], 1)
        return self.row("MFCCs, time-warped", similar, types)


def judge(
    vectors: Path,
    corpus: Corpus,
    *,
    words: Path | None = None,
    classes: Path | None = None,
    model: Path | None = None,
    partitions: Sequence[str] = (),
    occurrences: int = OCCURRENCES,
    device: str = "cpu",
    seed: int = 0,
    display: Display | None = None,
) -> Judgement:
    """Judge the vectors of a file, and the encoder beside it, on the spoken words of a corpus.

    Parameters
    ----------
    words : word times to use instead of the corpus's own
    classes : CSV file `word, class` (and `sound`), for semantic precision
    model : folder of a Whisper checkpoint, for a row of its encoder's means
    partitions : that are judged; default: the test ones, or all where there is none
    occurrences : how many are judged at most, drawn with `seed`
    """
    known, shown = read_vectors(vectors), display or Silent()
    encoder = load_encoder(beside(vectors)) if beside(vectors).is_file() else None
    items = test_items(corpus, partitions)
    settings = SOUND if encoder is None else encoder.cuts
    with shown.extraction("cutting words", len(items)) as progress:
        cuts = cut_words(corpus, items, word_source(corpus, words), settings, progress=steps_of(progress))
    text = _word2vec(vectors, corpus, words, encoder)
    chosen = np.random.default_rng(seed).permutation(len(cuts))[:occurrences]
    sample = _sample(cuts.take(np.sort(chosen)), known, text, {} if classes is None else read_classes(classes))
    rows = tuple(_rows(sample, known, encoder, text, corpus, model, device))
    speakers = len({speaker for speaker in sample.cuts.speakers if speaker})
    notes = tuple(_notes(sample, encoder, classes, vectors, cuts))
    covered = coverage(cuts.words, known)
    return Judgement(rows, covered, len(sample.cuts), speakers, len(sample.words), notes)


def _rows(
    sample: _Sample,
    known: Vectors,
    encoder: WordEncoder | None,
    text: Vectors | None,
    corpus: Corpus,
    model: Path | None,
    device: str,
) -> Iterator[Precision]:
    yield _chance(sample)
    if encoder is None:
        yield sample.of_vectors("vectors of the file", known)
    else:
        yield sample.of_states("encoder, trained", _states(encoder, sample.cuts))
        yield sample.of_vectors("  its vectors in the file", known)
    yield sample.of_states("encoder, untrained", _states(_untrained(encoder, sample.cuts), sample.cuts))
    yield sample.warped()
    if text is not None:
        yield sample.of_vectors("Word2Vec of the same words", text)
    if model is not None:
        from ...features.words.whisper import Whisper

        yield sample.of_states("Whisper's encoder, means", hear_words(Whisper(model, device), corpus, sample.cuts))


def _chance(sample: _Sample) -> Precision:
    """Shares of true pairs; what is random has a percentile of one half."""
    equal = np.zeros(len(sample.first))
    types = np.zeros((len(sample.words), len(sample.words)))
    return sample.row("chance", equal, types)


def _sample(cuts: Cuts, known: Vectors, text: Vectors | None, classes: dict[str, Meaning]) -> _Sample:
    first, second = np.triu_indices(len(cuts), 1)
    has: list[Mapping[str, object]] = [known.normalised, classes, *([] if text is None else [text.normalised])]
    words = sorted(word for word in set(cuts.words) if all(word in one for one in has))
    return _Sample(cuts, first, second, words, classes)


def _untrained(encoder: WordEncoder | None, cuts: Cuts) -> WordEncoder:
    assert cuts.mean is not None
    assert cuts.deviation is not None
    if encoder is not None:
        return replace(encoder, lstm=fresh(encoder.cuts.coefficients, encoder.config).encoder.eval())
    return WordEncoder(fresh(SOUND.coefficients, QUICK).encoder.eval(), QUICK, SOUND, cuts.mean, cuts.deviation)


def _states(encoder: WordEncoder, cuts: Cuts) -> npt.NDArray[np.float32]:
    cuts = standardised_by(cuts, encoder.mean, encoder.deviation)
    states = encoder.states(torch.from_numpy(cuts.mfcc), torch.from_numpy(cuts.lengths))
    return np.asarray(states.numpy())


def _word2vec(vectors: Path, corpus: Corpus, words: Path | None, encoder: WordEncoder | None) -> Vectors | None:
    """Word2Vec on the words that the file's vectors were made from, where some are said often enough."""
    note = vectors.with_name(f"{vectors.name}.json")
    made_from = json.loads(note.read_text(encoding="utf-8")).get("partitions", []) if note.is_file() else []
    there = set(corpus.utterances["partition"].dropna())
    source = word_source(corpus, words)
    said = [source(item)["word"] for item in training_items(corpus, [p for p in made_from if p in there])]
    sentences = [[w for w in map(normalise, map(str, one)) if w not in SILENT] for one in said]
    rarest = (QUICK if encoder is None else encoder.config).min_count
    try:
        return word2vec.train(sentences, word2vec.Config(min_count=rarest))
    except SerbenchError:
        return None


def _notes(
    sample: _Sample, encoder: WordEncoder | None, classes: Path | None, vectors: Path, cuts: Cuts
) -> Iterator[str]:
    speakers = {speaker for speaker in sample.cuts.speakers if speaker}
    words = np.array(sample.cuts.words)
    if len(speakers) < 2:
        yield "no lexical precision: the corpus names fewer than two speakers among these items."
    elif not (words[sample.first] == words[sample.second]).any():
        yield "no lexical precision: no word was said twice."
    if classes is None:
        yield "no semantic precision: type --classes FILE, a CSV file with the columns word, class (and sound)."
    elif len(sample.words) < 2:
        yield "no semantic precision: fewer than two words have a class, a vector and an occurrence."
    if encoder is None:
        yield f"no encoder beside the vectors ({beside(vectors).name}): they are judged as they stand, without sound."
    if cuts.failed:
        yield f"{len(cuts.failed)} items are left out, the first: {next(iter(cuts.failed.values()))}"
    if cuts.short:
        yield f"{cuts.short} words are left out: too short, or behind the sound."
