"""Word times and word vectors as files: the steps of `serbench words`, each a function.

Every file of vectors gets a JSON file beside it (`NAME.json`) that says what it was made from and how.

Vectors are made from all partitions but the test ones, unless partitions are named: no labels are used, but vectors
that have seen the test partition's text or sound are not those of a system that meets it for the first time. Corpora
without partitions (with folds) are used whole, and the JSON file says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...datasets.core.config import override, to_dict
from ...datasets.core.errors import SerbenchError, unknown
from ...datasets.core.files import write_json
from ...datasets.schema.corpus import Corpus
from ...features.spaces.mapping import Alignment, Config as SpaceConfig, MapReport, align, read_pairs
from ...features.words.agreement import Agreement
from ...features.words.aligner import Aligner
from ...features.words.spoken_words import Cuts
from ...features.words.times import WordTimes, align_words, load, save, word_source
from ...features.words.vectors import Vectors, read_vectors, write_vectors
from ..core.machine import versions
from ..core.progress import Display, Silent

KINDS = ("utterances", "recordings", "all")
AUTO = "auto"
Settings = Mapping[str, str]


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
    model : folder of a CTC or a Whisper checkpoint of the transformers library
    language : of items whose language the corpus does not say
    again : align even where the corpus has times of its own
    partitions : default: all
    """
    aligner = None
    if model is not None:
        aligner = open_aligner(model, device)
    elif again:
        raise SerbenchError("--again aligns anew, which needs a model. Type --model FOLDER.")
    chosen = chosen_items(corpus, items, partitions or None)
    with (display or Silent()).extraction("words", len(chosen)) as progress:
        times = align_words(corpus, chosen, aligner, again=again, language=language, progress=steps_of(progress))
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


def open_aligner(model: Path, device: str = "cpu") -> Aligner:
    """The aligner of a checkpoint: by the cross-attention of a Whisper model, else by a CTC model."""
    from ...features.words.whisper import Whisper, is_whisper

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
    preset : "default", "quick", or "auto": by the number of spoken words
    settings : KEY=VALUE of the training, `cut.KEY` of the cuts
    """
    from ...features.spoken.encoder import beside, encoder_of, save_encoder
    from ...features.words.speech2vec import PRESETS, TARGETS, Config, preset_for, train
    from ...features.words.spoken_words import CutConfig, cut_words

    if preset not in (AUTO, *PRESETS):
        raise unknown("preset of speech2vec", preset, [AUTO, *PRESETS])
    seed = override(Config(), _part(settings)).seed
    cut_config = override(CutConfig(), _part(settings, "cut."), "cut.")
    shown = display or Silent()
    items = training_items(corpus, partitions)
    with shown.extraction("cutting words", len(items)) as progress:
        cuts = cut_words(corpus, items, word_source(corpus, words), cut_config, seed=seed, progress=steps_of(progress))
    if preset == AUTO:
        preset = preset_for(len(cuts))
        shown.message(f"{len(cuts)} spoken words: --preset {preset}")
    config = override(PRESETS[preset], _part(settings))
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
        config = override(Config(), _part(settings))
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


def align_spaces(
    source: Path,
    target: Path,
    out: Path,
    *,
    mode: str | None = None,
    dictionary: Path | None = None,
    test: Path | None = None,
    preset: str = "default",
    settings: Settings | None = None,
    out_target: Path | None = None,
    device: str = "cpu",
    display: Display | None = None,
) -> Alignment:
    """Map a file of vectors into the space of another one and write the mapped vectors, and the map beside them.

    The JSON file beside `out` holds the report, also that of an adversarial mode that failed; vectors are written only
    where the map was accepted.

    Parameters
    ----------
    mode : "identical", "dictionary" or "adversarial"; default: dictionary where one is given, else identical
    dictionary, test : files of pairs of words, to fit to (or to judge games with) and to test with
    preset : of the adversarial game: "default", or "published" for a graphics card
    settings : KEY=VALUE of the alignment, `game.KEY` of the adversarial game
    out_target : write the target vectors too, as `prepare` has changed them
    """
    from ...features.spaces.adversarial import PRESETS
    from ...features.spaces.map_file import beside, map_of, save_map

    if preset not in PRESETS:
        raise unknown("preset of the adversarial game", preset, PRESETS)
    shown = display or Silent()
    mode = mode or ("identical" if dictionary is None else "dictionary")
    if mode == "dictionary" and dictionary is None:
        raise SerbenchError("--mode dictionary needs pairs of words. Type --dictionary FILE.")
    config = override(SpaceConfig(), {**_part(settings), "mode": mode})
    game = override(PRESETS[preset], _part(settings, "game."), "game.")
    if out_target is None and config.prepare != "none":
        raise SerbenchError(f"prepare={config.prepare} changes the target vectors as well. Type --out-target FILE.")
    note = _beside(out)

    def write(report: MapReport) -> None:
        facts = {
            "made_by": "align-spaces",
            "source": str(source),
            "target": str(target),
            "config": to_dict(config),
            "game": to_dict(game) if mode == "adversarial" else None,
            "versions": versions(),
        }
        write_json(note, {**facts, "report": _plain(asdict(report))})

    given = read_vectors(source)
    aligned = align(
        given,
        read_vectors(target),
        config,
        game,
        device=device,
        progress=shown.message,
        failed=write,
        pairs=None if dictionary is None else read_pairs(dictionary),
        test=None if test is None else read_pairs(test),
    )
    write_vectors(out, aligned.source)
    save_map(beside(out), map_of(given, config.prepare, aligned.map))
    if out_target is not None:
        write_vectors(out_target, aligned.target)
    write(aligned.report)
    return aligned


def report_lines(report: MapReport) -> list[str]:
    """A report for people to read."""
    lines = [
        f"{report.mode}: {'accepted' if report.accepted else 'FAILED'}; {report.reason}",
        f"mean cosine of CSLS pairs: {report.criterion:.4f}",
    ]
    for game in report.games:
        shares = ", ".join(f"{key.replace('_', ' ')} {value:.1%}" for key, value in game.items() if "agree" in key)
        lines.append(f"  seed {game['seed']:.0f}: criterion {game['criterion']:.4f}, {shares}")
    for name, precision in (("before refinement", report.before), ("after refinement", report.precision)):
        for method, at in precision.items():
            shares = "  ".join(f"P@{k} {value:6.1%}" for k, value in at.items())
            lines.append(f"{name:<18} {method:<5} {shares}  ({report.tested} words)")
    if report.precision:
        by_chance = "  ".join(f"P@{k} {min(1, k / report.targets):6.1%}" for k in report.precision["csls"])
        lines.append(f"{'by chance':<24} {by_chance}")
        if not beats_chance(report):
            lines.append(
                "The map translates words that it was not fitted to no better than chance: these two spaces "
                "have no shape in common, and the mapped vectors are of no use."
            )
    return lines


def beats_chance(report: MapReport) -> bool:
    """Whether P@10 by CSLS is more than two standard errors above that of guessing."""
    guess = min(1.0, 10 / report.targets)
    return report.precision["csls"][10] > guess + 2 * math.sqrt(guess * (1 - guess) / report.tested)


def chosen_items(corpus: Corpus, kind: str, partitions: Sequence[str] | None = None) -> list[str]:
    """Ids of utterances, recordings or both, of some partitions (None = all)."""
    if kind not in KINDS:
        raise unknown("kind of items", kind, KINDS)
    tables = [corpus.utterances] if kind != "recordings" else []
    if corpus.recordings is not None and kind != "utterances":
        tables.append(corpus.recordings)
    if not tables:
        raise SerbenchError(f"{corpus.name} has no recordings. Type --items utterances.")
    return [str(i) for table in tables for i in _of_partitions(corpus, table, partitions).index]


def _of_partitions(corpus: Corpus, table: pd.DataFrame, partitions: Iterable[str] | None) -> pd.DataFrame:
    if partitions is None:
        return table
    there = sorted(set(table["partition"].dropna()))
    for name in partitions:
        if name not in there:
            raise unknown(f"partition of {corpus.name}", name, there)
    return table[table["partition"].isin(list(partitions)).fillna(False)]


def training_items(corpus: Corpus, partitions: Sequence[str]) -> list[str]:
    """Ids of the utterances that vectors are made from: of the named partitions, else of all but the test ones."""
    table = corpus.utterances
    if partitions:
        return [str(i) for i in _of_partitions(corpus, table, partitions).index]
    tested = table["partition"].str.startswith("test").fillna(False)
    return [str(i) for i in table.index[~tested.to_numpy(dtype=bool)]]


def test_items(corpus: Corpus, partitions: Sequence[str]) -> list[str]:
    """Ids of the utterances that vectors are judged on: of the named partitions, else of the test ones, else all."""
    if partitions:
        return [str(i) for i in _of_partitions(corpus, corpus.utterances, partitions).index]
    left = set(training_items(corpus, ()))
    return [str(i) for i in corpus.utterances.index if str(i) not in left] or sorted(left)


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
    write_json(_beside(out), {**facts, **shape, "versions": versions()})


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def _part(settings: Settings | None, prefix: str = "") -> dict[str, str]:
    """The settings of one config: those that begin with `prefix`, or for an empty one those without any."""
    given = settings or {}
    if prefix:
        return {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
    return {key: value for key, value in given.items() if not key.startswith(("cut.", "game."))}


def _plain(value: Any) -> Any:
    """JSON-able: keys of tables of P@k are numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def steps_of(progress: Callable[[int, int, float], None] | None) -> Callable[[int, int], None] | None:
    """What counts steps, of what counts steps and seconds."""
    return None if progress is None else lambda done, total: progress(done, total, 0.0)
