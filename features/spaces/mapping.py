"""Mapping one space of word vectors into another, with a verdict on whether it worked.

| mode | what it starts from |
|---|---|
| identical | words that both vocabularies have (after normalisation, see `words/vectors.py`), by Procrustes |
| dictionary | pairs of words of a file, by Procrustes |
| adversarial | nothing: the game of `spaces/adversarial.py`, played from several seeds |

Each is refined by Procrustes on dictionaries of CSLS (`_spaces.refine`). Of the pairs of a seeded mode every fifth is
kept apart and tests the map; other pairs to test with may be given.

The criterion that selects a map (mean cosine of CSLS pairs) can't tell that a game has failed: a wrong map scores only
somewhat lower than the right one. So an adversarial map is accepted only

- where both vocabularies share words, or a dictionary is given: if it translates at least half of the most frequent
  words as the map that is fitted to those pairs does;
- else: if it translates at least half of them as the game of another seed does. Games start at different rotations, so
  wrong maps of different seeds do not agree. (Clouds with an exact symmetry would deceive this too.)

About half of the games are lost even where the game can be won. So games are played, seed after seed, until a map is
accepted or `seeds` of them are over.

Otherwise `align` raises and says what was found; nothing falls back to another mode by itself. Speech2Vec's spaces and
others made from small corpora should be expected to fail: the game needs thousands of words and clouds of one shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...datasets.core.config import option, validate
from ...datasets.core.errors import SerbenchError
from ...datasets.core.stages import duration, stage
from ..core.process import one_thread
from ..words.vectors import SILENT, Vectors, normalise
from .adversarial import Game, epoch_seconds, play
from .map_file import prepared
from .orthogonal import METHODS, precision, procrustes, refine, translations

MODES = ("identical", "dictionary", "adversarial")
PREPARE = ("none", "unit", "centre", "unit-centre-unit")
AGREED = 0.5
_HELD_OUT = 5
Pairs = list[tuple[int, int]]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Config:
    """Settings of an alignment."""

    mode: str = option("identical", "what the map starts from", source="free choice", choices=MODES)
    rounds: int = option(5, "rounds of refinement; 0 = none", source="public release", low=0)
    max_rank: int = option(
        15_000, "dictionaries hold the most frequent words up to this rank", source="public release", low=2
    )
    mutual: bool = option(False, "dictionaries hold mutual neighbours alone", source="section 2.2")
    prepare: str = option(
        "none",
        "what is done to both spaces first: vectors to unit length, mean to zero",
        source="public release",
        choices=PREPARE,
    )
    seeds: int = option(10, "games of the adversarial mode at most", source="free choice", low=1)
    seed: int = option(0, "first seed", source="free choice", low=0)


@dataclass(frozen=True)
class MapReport:
    """What is known of a map; numbers are shares in [0, 1].

    Attributes
    ----------
    mode, accepted : how it was made, and whether it is to be trusted
    reason : why, in words
    pairs : pairs of words that a seeded map was fitted to
    criterion : mean cosine of the CSLS pairs
    precision : "nn" and "csls" -> k -> P@k of the final map; empty without pairs to test with
    before : the same before refinement
    tested, targets : words that were asked for, and words that each could have been translated into
    games : adversarial mode: seed, criterion, and agreement with the seeded map and with the best other game
    """

    mode: str
    accepted: bool
    reason: str
    pairs: int
    criterion: float
    precision: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    before: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    tested: int = 0
    targets: int = 0
    games: Sequence[Mapping[str, float]] = ()


@dataclass(frozen=True)
class Alignment:
    """The source vectors in the target space, the target vectors (changed only by `prepare`), the map, the report."""

    source: Vectors
    target: Vectors
    map: np.ndarray[Any, np.dtype[np.float32]]
    report: MapReport


def align(
    source: Vectors,
    target: Vectors,
    config: Config | None = None,
    game: Game | None = None,
    *,
    pairs: Iterable[tuple[str, str]] | None = None,
    test: Iterable[tuple[str, str]] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    failed: Callable[[MapReport], None] | None = None,
) -> Alignment:
    """Map `source` into the space of `target`.

    Parameters
    ----------
    source, target : vectors of one length, the most frequent words first
    config, game : settings
    pairs : (source word, target word) of the mode "dictionary"; in the adversarial mode they only judge the games
    test : pairs that test the map; by default those kept apart, or in the adversarial mode all that are known
    device : of torch, such as "cpu" or "cuda"
    progress : is told what the adversarial mode will take, and of each game how it went
    failed : is handed the report of an adversarial mode that failed, before the error is raised

    Raises
    ------
    SerbenchError
        For spaces of different sizes, too few pairs, and an adversarial mode that failed.
    """
    config = validate(config or Config())
    if source.dim != target.dim:
        raise SerbenchError(
            f"the source vectors have {source.dim} numbers, the target vectors {target.dim}. Expected the same length; "
            "train one of them anew with the other's size."
        )
    xs, xt = (torch.from_numpy(prepared(v.matrix, config.prepare)[0]).to(device) for v in (source, target))
    known = _rows(source, target, pairs) if pairs is not None else _identical(source, target)
    asked = _rows(source, target, test) if test is not None else None
    if config.mode == "adversarial":
        told = progress or (lambda line: None)
        start, w, report = _adversarial(xs, xt, config, validate(game or Game()), known, told)
        asked = known if asked is None else asked
    else:
        fitted, apart = _split(known, asked, config.seed)
        _need(fitted, config.mode, source.dim)
        start = _fitted(xs, xt, fitted)
        w, value = refine(xs, xt, start, rounds=config.rounds, max_rank=config.max_rank, mutual=config.mutual)
        report = MapReport(config.mode, True, f"fitted to {len(fitted)} pairs of words", len(fitted), value)
        asked = apart if asked is None else asked
    report = _tested(report, xs, xt, start, w, asked)
    if not report.accepted:
        if failed is not None:
            failed(report)
        raise SerbenchError(
            f"the adversarial mode failed: {report.reason}. No vectors were written. Type --mode identical where both "
            "vocabularies share words, or give pairs of words with --dictionary; else try more games: --set seeds=20."
        )
    mapped = Vectors(source.words, (xs @ w).cpu().numpy())
    return Alignment(mapped, Vectors(target.words, xt.cpu().numpy()), w.cpu().numpy(), report)


def read_pairs(path: Path | str) -> list[tuple[str, str]]:
    """Pairs of words of a file: source and target word in each line, with a tab or blanks between.

    Raises
    ------
    SerbenchError
        If the file is missing or a line does not hold two words.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SerbenchError(f"the dictionary {str(path)!r} can't be read: {error}. Expected UTF-8 text.") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        cells = line.split("\t") if "\t" in line else line.split()
        if len(cells) != 2 and line.strip():
            raise SerbenchError(f"line {number} of {str(path)!r} is {line!r}. Expected two words with a tab between.")
        if line.strip():
            pairs.append((cells[0].strip(), cells[1].strip()))
    return pairs


def _identical(source: Vectors, target: Vectors) -> Pairs:
    theirs = target.normalised
    return [(row, theirs[word]) for word, row in source.normalised.items() if word in theirs and word not in SILENT]


def _rows(source: Vectors, target: Vectors, pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Rows of the pairs whose words are both known, no pair twice."""
    rows = ((_row(source, one), _row(target, other)) for one, other in pairs)
    return list(dict.fromkeys((s, t) for s, t in rows if s is not None and t is not None))


def _row(vectors: Vectors, word: str) -> int | None:
    return vectors.index[word] if word in vectors.index else vectors.normalised.get(normalise(word))


def _split(known: Pairs, asked: Pairs | None, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to fit to, and pairs kept apart (every fifth source word, at random) unless others test the map."""
    if asked is not None:
        return known, []
    words = sorted({s for s, _ in known})
    apart = set(np.random.default_rng(seed).permutation(words)[: len(words) // _HELD_OUT].tolist())
    return [p for p in known if p[0] not in apart], [p for p in known if p[0] in apart]


def _need(fitted: Pairs, mode: str, dim: int) -> None:
    if len(fitted) < 2:
        what = "words that both vocabularies have" if mode == "identical" else "pairs of words that have vectors"
        raise SerbenchError(
            f"there are {len(fitted)} {what} to fit a map of {dim} x {dim} numbers to. Expected more (as many as "
            f"{dim} at least for a good one); check the languages of both files, or give --dictionary FILE."
        )


def _fitted(xs: Tensor, xt: Tensor, pairs: Pairs) -> Tensor:
    rows = torch.tensor(pairs, device=xs.device)
    return procrustes(xs[rows[:, 0]], xt[rows[:, 1]])


def _adversarial(
    xs: Tensor, xt: Tensor, config: Config, game: Game, known: Pairs, progress: Progress
) -> tuple[Tensor, Tensor, MapReport]:
    """The map of the best game before and after refinement, and the verdict; games are played until one is accepted."""
    seeded = translations(xs @ _fitted(xs, xt, known), xt) if len(known) >= xs.shape[1] else None
    starts, maps, said, values = [], [], [], []
    with one_thread(xs.device), stage("games", config.seeds) as at:
        _announce(xs, xt, config, game, progress)
        for k in range(config.seeds):
            at(k)
            starts.append(play(xs, xt, game, config.seed + k).map)
            w, value = refine(xs, xt, starts[-1], rounds=config.rounds, max_rank=config.max_rank, mutual=config.mutual)
            maps.append(w)
            values.append(value)
            said.append(translations(xs @ w, xt))
            games = _facts(config.seed, values, said, seeded)
            best = max(range(len(games)), key=lambda i: values[i])
            accepted, reason = _verdict(games[best], len(games), len(known) if seeded is not None else 0)
            progress(f"game {k + 1} of {config.seeds} at most: criterion {value:.4f}; {reason}")
            if accepted:
                break
    return starts[best], maps[best], MapReport("adversarial", accepted, reason, 0, values[best], games=games)


def _facts(
    seed: int, values: Sequence[float], said: Sequence[Tensor], seeded: Tensor | None
) -> list[Mapping[str, float]]:
    """Of each game its seed, criterion, and the shares of words that others translate (word,) as it does."""
    games: list[Mapping[str, float]] = []
    for k, (value, words) in enumerate(zip(values, said, strict=True)):
        shares = [_agreement(words, other) for i, other in enumerate(said) if i != k]
        facts = {"seed": float(seed + k), "criterion": value, "agreement_with_another": max(shares, default=0.0)}
        games.append(facts if seeded is None else facts | {"agreement_with_seeded": _agreement(words, seeded)})
    return games


def _agreement(one: Tensor, other: Tensor) -> float:
    return float((one == other).double().mean())


def _announce(xs: Tensor, xt: Tensor, config: Config, game: Game, progress: Progress) -> None:
    """Say what the games will take at most, by a timed piece of one."""
    each = game.epochs * epoch_seconds(xs, xt, game)
    began = time.perf_counter()
    refine(xs, xt, torch.eye(xs.shape[1]).to(xs), rounds=1, max_rank=config.max_rank, mutual=config.mutual)
    each += (config.rounds + 1) * (time.perf_counter() - began) / 2
    progress(
        f"Up to {config.seeds} games of {game.epochs} epochs of {max(1, game.samples // game.batch)} steps, about "
        f"{duration(each)} each: {duration(config.seeds * each)} at most. It ends with the first map that is accepted."
    )


def _verdict(chosen: Mapping[str, float], games: int, known: int) -> tuple[bool, str]:
    if known:
        share = chosen["agreement_with_seeded"]
        return share >= AGREED, (
            f"of {games} games the one with the best criterion translates {share:.1%} of the words as the map does "
            f"that is fitted to {known} known pairs ({AGREED:.0%} are needed)"
        )
    share = chosen["agreement_with_another"]
    if games == 1:
        return False, "one game alone can't be judged: nothing is known to compare it with"
    return share >= AGREED, (
        f"of {games} games the one with the best criterion agrees with another one on {share:.1%} of the words "
        f"({AGREED:.0%} are needed)"
    )


def _tested(report: MapReport, xs: Tensor, xt: Tensor, start: Tensor, w: Tensor, asked: Pairs) -> MapReport:
    if not asked:
        return report
    truth: dict[int, set[int]] = {}
    for s, t in asked:
        truth.setdefault(s, set()).add(t)
    precisions = [{m: dict(precision(xs @ v, xt, truth, method=m).at) for m in METHODS} for v in (w, start)]
    return MapReport(
        report.mode,
        report.accepted,
        report.reason,
        report.pairs,
        report.criterion,
        precisions[0],
        precisions[1],
        len(truth),
        len(xt),
        report.games,
    )
