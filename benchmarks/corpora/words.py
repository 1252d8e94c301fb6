"""Word times and word vectors as files: steps of `serbench words`, each a function.

Every file of vectors gets a JSON file beside it (`NAME.json`) that says what it was made from and how.

Vectors are made from all partitions but the test ones, unless partitions are named: no labels are used, but vectors
that have seen the test partition's text or sound are not those of a system that meets it for the first time. Corpora
without partitions (with folds) are used whole, and the JSON file says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.config import override, to_dict
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.files import write_json
from ...datasets.schema.corpus import Corpus
from ...features.words.agreement import Agreement
from ...features.words.aligner import Aligner
from ...features.words.spoken_words import Cuts
from ...features.words.times import WordTimes, align_words, load, save, word_source
from ...features.words.vectors import Vectors, read_vectors, write_vectors
from ..core.machine import versions
from ..core.progress import Display, Silent
from .items import chosen_items, needed_language, training_items

AUTO = "auto"
Settings = Mapping[str, str]


@dataclass(frozen=True)
class AlignmentCost:
    """What an alignment took: seconds of sound, seconds of time with loading the model, and the process's memory."""

    heard_seconds: float
    seconds: float
    peak_mib: float

    def line(self) -> str:
        """One line for people to read."""
        return (
            f"{self.heard_seconds / 60:.1f} min of sound in {self.seconds / 60:.1f} min: "
            f"{self.heard_seconds / self.seconds:.1f} x real time, at most {self.peak_mib:,.0f} MiB of memory"
        )


def word_times(
    corpus: Corpus,
    out: Path,
    *,
    items: str = "all",
    model: Path | None = None,
    device: str = "cpu",
    language: str | None = None,
    again: bool = False,
    partitions: Sequence[str] = (),
    display: Display | None = None,
) -> WordTimes:
    """Write word times of a corpus: the corpus's own, else by alignment with `model`, else spread evenly.

    Parameters
    ----------
    out : a CSV file, or a folder for one CSV file per item
    items : "utterances", "recordings" or "all"
    model : folder of a CTC or a Whisper checkpoint of the transformers library, or `pocketsphinx` (English alone)
    language : of items whose language the corpus does not say
    again : align even where the corpus has times of its own
    partitions : default: all

    Raises
    ------
    SerbenchError
        If no item has words, or `language` is given and the corpus says the language of all items.
    """
    if again and model is None:
        raise SerbenchError("--again aligns anew, which needs a model. Type --model FOLDER.")
    chosen = chosen_items(corpus, items, partitions or None)
    language = needed_language(corpus, chosen, language)
    aligner = None if model is None else open_aligner(model, device)
    with (display or Silent()).extraction("words", len(chosen)) as progress:
        times = align_words(corpus, chosen, aligner, again=again, language=language, progress=progress)
    if not len(times.table):
        first = next(iter(times.failed.values()), "there are neither word times nor transcripts")
        raise SerbenchError(f"no item of {corpus.name} has words: {first}.")
    save(times, out)
    return times


def onset_errors(times: Path, corpus: Corpus, truth: Path | None = None) -> Agreement:
    """How far the word times of a file lie from the corpus's own, or from those of another file.

    Raises
    ------
    SerbenchError
        If no item has both.
    """
    from ...features.words.agreement import agreement

    given = load(times)
    found = agreement(given, word_source(corpus, truth), dict.fromkeys(given.table["item"]))
    if not found.items:
        raise SerbenchError(
            f"no item of {str(times)!r} has words that {corpus.name if truth is None else repr(str(truth))} has times "
            "of. Expected word times of the same items: serbench words align DATASET --out WORDS.csv"
        )
    return found


def against_own(times: WordTimes, corpus: Corpus) -> Agreement | None:
    """How far word times lie from the corpus's own, of items whose own were not spread; None where there are none."""
    from ...features.words.agreement import agreement

    def own(item: str) -> pd.DataFrame:
        words = corpus.words(item)
        return words.iloc[:0] if "source" in words and words["source"].eq("spread").any() else words

    found = agreement(times, own, dict.fromkeys(times.table["item"]))
    return found if found.items else None


def open_aligner(model: Path, device: str = "cpu") -> Aligner:
    """The aligner of a checkpoint, by the cross-attention of a Whisper model or by a CTC model; or `pocketsphinx`."""
    from ...features.spoken import phone_alignment
    from ...features.words.whisper import Whisper, is_whisper

    if str(model) == phone_alignment.NAME and not (model / "config.json").is_file():
        return phone_alignment.PhoneAligner()
    if is_whisper(model):
        from ...features.words.cross_attention import CrossAttentionAligner

        return CrossAttentionAligner(Whisper(model, device))
    from ...features.words.forced_alignment import CTCAligner

    return CTCAligner(model, device)


def speech2vec(
    corpus: Corpus,
    out: Path,
    *,
    words: Path | None = None,
    preset: str = "auto",
    settings: Settings | None = None,
    partitions: Sequence[str] = (),
    device: str = "cpu",
    display: Display | None = None,
) -> Vectors:
    """Train Speech2Vec on the spoken words of a corpus, write its vectors, and the encoder beside them.

    A killed training goes on where it was when the same call is made again (`OUT.training.safetensors`).

    Parameters
    ----------
    words : word times to use instead of the corpus's own
    preset : "default", "quick", "paper", or "auto": by the number of spoken words
    settings : KEY=VALUE of the training, `cut.KEY` of the cuts
    """
    from ...features.spoken.encoder import beside, encoder_of, save_encoder
    from ...features.words.speech2vec import PRESETS, TARGETS, Config, preset_for, train
    from ...features.words.spoken_words import CutConfig, cut_words

    if preset not in (AUTO, *PRESETS):
        raise unknown("preset of speech2vec", preset, [AUTO, *PRESETS])
    seed = override(Config(), part_of(settings)).seed
    cut_config = override(CutConfig(), part_of(settings, "cut."), "cut.")
    shown = display or Silent()
    items = training_items(corpus, partitions)
    with shown.extraction("cutting words", len(items)) as progress:
        cuts = cut_words(corpus, items, word_source(corpus, words), cut_config, seed=seed, progress=steps_of(progress))
    if preset == AUTO:
        preset = preset_for(len(cuts))
        shown.message(f"{len(cuts)} spoken words: --preset {preset}")
    config = override(PRESETS[preset], part_of(settings))
    if config.target not in TARGETS:
        cuts = _heard(corpus, cuts, Path(config.target), device)
    if cuts.failed:
        shown.message(f"{len(cuts.failed)} items are left out, the first: {next(iter(cuts.failed.values()))}")
    if cuts.short:
        shown.message(f"{cuts.short} words are left out: under {cut_config.min_seconds:g} s, or behind the sound.")
    state = out.with_name(f"{out.name}.training.safetensors")
    trained = train(cuts, config, device=device, checkpoint=state, progress=shown.message)
    write_vectors(out, trained.vectors)
    encoder = encoder_of(trained, cuts, config, cut_config)
    save_encoder(beside(out), encoder)
    _describe(
        out,
        trained.vectors,
        {
            "made_by": "speech2vec",
            "encoder": {"file": beside(out).name, "sha256": encoder.sha256},
            **_corpus_facts(corpus, partitions),
            "config": to_dict(config),
            "cuts": to_dict(cut_config),
            "occurrences": len(cuts),
            "failed": dict(cuts.failed),
            "short": cuts.short,
            "word_times": None if words is None else str(words),
            "losses": list(trained.losses),
            "held_out_losses": list(trained.held_out_losses),
            "best_epoch": trained.best_epoch,
        },
    )
    state.unlink(missing_ok=True)
    return trained.vectors


def word2vec(
    out: Path,
    *,
    corpus: Corpus | None = None,
    text: Path | None = None,
    vectors: Path | None = None,
    settings: Settings | None = None,
    partitions: Sequence[str] = (),
    limit: int | None = None,
) -> Vectors:
    """Train Word2Vec on a corpus's transcripts or a text file, or take a file of vectors, and write the vectors.

    Exactly one of `corpus`, `text` and `vectors` is given; `limit` keeps the first vectors of `vectors`.
    """
    from ...features.words.word2vec import Config, read_sentences, sentences_of, train

    if sum(given is not None for given in (corpus, text, vectors)) != 1:
        raise SerbenchError("expected one of a dataset, --text FILE and --vectors FILE.")
    if vectors is not None:
        made = read_vectors(vectors, limit=limit)
        facts: dict[str, Any] = {"made_by": "conversion", "source": str(vectors), "doubled": made.doubled}
    else:
        config = override(Config(), part_of(settings))
        if corpus is not None:
            sentences = sentences_of(corpus.utterances.loc[training_items(corpus, partitions)])
            facts = _corpus_facts(corpus, partitions)
        else:
            assert text is not None
            sentences, facts = read_sentences(text), {"text": str(text)}
        made = train(sentences, config)
        facts |= {"made_by": "word2vec", "config": to_dict(config), "sentences": len(sentences)}
    write_vectors(out, made)
    _describe(out, made, facts)
    return made


def _corpus_facts(corpus: Corpus, partitions: Sequence[str]) -> dict[str, Any]:
    used = corpus.utterances.loc[training_items(corpus, partitions)]["partition"]
    return {
        "corpus": {"name": corpus.name, "release": corpus.release, "digest": corpus.digest()},
        "partitions": sorted(used.dropna().unique().tolist()) or ["all: the corpus has none"],
    }


def _heard(corpus: Corpus, cuts: Cuts, folder: Path, device: str) -> Cuts:
    """The words with what the encoder of a checkpoint hears in them."""
    from ...features.judging.hearing import hear_words
    from ...features.words.whisper import Whisper, is_whisper

    if not is_whisper(folder):
        raise SerbenchError(
            f"target={str(folder)!r} is no folder of a Whisper checkpoint. Expected mfcc, speaker, or such a folder."
        )
    return replace(cuts, heard=hear_words(Whisper(folder, device), corpus, cuts))


def _describe(out: Path, vectors: Vectors, facts: Mapping[str, Any]) -> None:
    shape = {"words": len(vectors), "dim": vectors.dim, "sha256": vectors.sha256}
    write_json(note_beside(out), {**facts, **shape, "versions": versions()})


def note_beside(out: Path) -> Path:
    """The JSON file beside a file of vectors."""
    return out.with_name(f"{out.name}.json")


def part_of(settings: Settings | None, prefix: str = "") -> dict[str, str]:
    """The settings of one config: those that begin with `prefix`, or for an empty one those without any."""
    given = settings or {}
    if prefix:
        return {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
    return {key: value for key, value in given.items() if not key.startswith(("cut.", "game."))}


def steps_of(progress: Callable[[int, int, float], None] | None) -> Callable[[int, int], None] | None:
    """What counts steps, of what counts steps and seconds."""
    return None if progress is None else lambda done, total: progress(done, total, 0.0)
