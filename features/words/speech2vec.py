"""Speech2Vec: a vector of a word from its sound and the sounds of the words around it.

Chung and Glass, "Speech2Vec: A sequence-to-sequence framework for learning word embeddings from speech", Interspeech
2018 (arXiv:1803.08976), skip-gram form: an encoder reads a spoken word, and a decoder, shared by all positions of the
context, writes the words before and behind it, frame by frame. A word's vector is the mean of the encoder's last
states over all of its occurrences. A vector has 100 numbers, as in the spaces that the semantic-fusion authors trained
and aligned (their network reads 100; `words/word2vec.py` has the same), where Chung and Glass find 50 best. What the
paper leaves open follows the public reproduction by Chen (arXiv:2209.10791; my-yy/s2v_rc): bidirectional LSTM of 2 x
25 units, LSTM decoder with Luong's dot attention (arXiv:1508.04025), squared error, plain
gradient descent; vectors of occurrences have length 1 before and after the mean.

What these vectors mean is disputed: Chen finds that the released vectors look like those of a text model, and that the
method as published learns little of meaning; Sayeed and Aldarmaki ("Spoken Word2Vec", arXiv:2311.09319) find that such
vectors tell how a word sounds. With full teacher forcing, as in the reproduction (`forcing=1`), a decoder gets far by
copying the frame before; by default it is told no frame at all, which brings words of one meaning much nearer where
meaning is planted (docs/words.md). Frames that it is not told are zeros, as in the word dropout of Bowman et al.
(arXiv:1511.06349), so that all frames are still written at once. Additions: a decoder for each distance, a word as its
own neighbour, targets standardised by speaker or heard by a frozen encoder, and neighbours that are chosen, not
written (`words/speech2vec_network.py`).

Context runs through the whole stream of words, over the ends of utterances, unless `across` is false. Words rarer than
`min_count` are taken out of the stream first; frequent words are skipped as centres at random in each epoch, with
word2vec's probability. `padding`: "zero" lets the networks read, and be judged on, the zeros behind a word's end;
"masked" leaves them out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...datasets.core.config import to_dict, validate
from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import digest
from ...datasets.core.stages import stage, track
from ..core.course import Course
from .speech2vec_network import Material, Network, pair_loss, written_of
from .speech2vec_settings import (
    PRESETS as PRESETS,
    QUICK as QUICK,
    TARGETS as TARGETS,
    Config as Config,
    preset_for as preset_for,
)
from .spoken_words import Cuts
from .vectors import Vectors

_ENCODED_AT_ONCE = 4096
Progress = Callable[[str], None]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """Vectors (the most frequent words first), the network, and mean squared errors after each epoch."""

    vectors: Vectors
    network: Network
    losses: Sequence[float]
    held_out_losses: Sequence[float]
    best_epoch: int


@dataclass
class _Training(Course):
    """A training in progress, and mean squared errors after each epoch."""

    network: Network
    settings: Config
    optimisers: dict[str, torch.optim.Optimizer]
    epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)


def train(
    cuts: Cuts,
    config: Config | None = None,
    *,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train on the words of a corpus.

    Parameters
    ----------
    cuts : occurrences in the order in which they are said
    device : of torch, such as "cpu" or "cuda"
    checkpoint : file that holds the state after each epoch. A training of the same words, settings and device that
        finds it there goes on from it, to the same numbers as an unbroken one; the caller deletes it
    progress : is told a line after each epoch

    Raises
    ------
    SerbenchError
        If fewer than two words occur often enough, or the loss stops being a number.
    """
    config = validate(config or Config())
    cuts = frequent(cuts, config.min_count)
    where = torch.device(device)
    training = _fresh(cuts, config, where)
    identity = digest([to_dict(config), cuts.sha256, where.type, torch.__version__], 64)
    held = None if checkpoint is None else training.take_up(checkpoint, identity)
    if held is not None:
        training.losses, training.held_out = held[0]["losses"], held[0]["held_out"]
    material = Material.of(cuts, config, where)
    apart = _kept_apart(len(cuts), config)
    dev = pairs_of(cuts, np.flatnonzero(apart), config)
    with stage("epochs", config.epochs) as at:
        while not training.finished:
            at(training.epoch)
            rng = np.random.default_rng((config.seed, training.epoch, 1))
            training.epoch += 1
            pairs = pairs_of(cuts, _centres(cuts, ~apart, config, rng), config)
            loss = _epoch(training, material, rng.permutation(pairs))
            apart_loss = _mean_loss(training.network, material, dev, config) if len(dev) else loss
            _note(training, loss, apart_loss)
            if checkpoint is not None:
                facts = {"losses": training.losses, "held_out": training.held_out}
                training.save_state(checkpoint, identity, facts, {})
            if progress is not None:
                number, best = training.epoch, training.best_epoch
                progress(f"epoch {number}: loss {loss:.4f}, of words kept apart {apart_loss:.4f} (best: {best})")
    network = training.network
    network.load_state_dict(training.best)
    vectors = average(cuts.words, embed(network, material.sound, material.lengths))
    return Trained(vectors, network, training.losses, training.held_out, training.best_epoch)


def frequent(cuts: Cuts, min_count: int) -> Cuts:
    """The occurrences of words that occur `min_count` times or more."""
    counts = Counter(cuts.words)
    rows = [k for k, word in enumerate(cuts.words) if counts[word] >= min_count]
    kept = len({cuts.words[k] for k in rows})
    if kept < 2:
        raise SerbenchError(
            f"{kept} of {len(counts)} different words occur {min_count} times or more. Expected two at least; give "
            "more speech, or lower the bound: --set min_count=1."
        )
    return cuts.take(rows)


def pairs_of(cuts: Cuts, centres: Indices, config: Config) -> Indices:
    """Pairs (pair, 2) of a centre and each word at most `window` places from it, with `own` itself too."""
    offsets = np.array([o for o in range(-config.window, config.window + 1) if o or config.own])
    pairs = np.stack(np.broadcast_arrays(centres[:, None], centres[:, None] + offsets), axis=-1).reshape(-1, 2)
    pairs = pairs[(pairs[:, 1] >= 0) & (pairs[:, 1] < len(cuts))]
    if not config.across:
        items = np.unique(np.array(cuts.items, dtype=object).astype(str), return_inverse=True)[1]
        pairs = pairs[items[pairs[:, 0]] == items[pairs[:, 1]]]
    return np.asarray(pairs, np.int64)


def keep_probability(words: Sequence[str], threshold: float) -> npt.NDArray[np.float64]:
    """Chance (occurrence,) that an occurrence is used as a centre: word2vec's sqrt(t / f) + t / f, at most 1."""
    counts = Counter(words)
    share = np.array([counts[word] / len(words) for word in words])
    return np.asarray(np.minimum(1.0, np.sqrt(threshold / share) + threshold / share))


@torch.inference_mode()
def embed(network: Network, sound: Tensor, lengths: Tensor) -> npt.NDArray[np.float32]:
    """The encoder's last states (occurrence, dim) for words (occurrence, frame, coefficient)."""
    network.eval()
    parts = zip(*(torch.split(x, _ENCODED_AT_ONCE) for x in (sound, lengths)), strict=True)
    return np.concatenate([network.encode(s, n)[1][0].cpu().numpy() for s, n in parts])


def average(words: Sequence[str], states: npt.NDArray[np.float32]) -> Vectors:
    """One vector of length 1 for each word: the mean of its occurrences' vectors, each brought to length 1 before."""
    unit = _unit(states.astype(np.float64))
    counts = Counter(words)
    order = sorted(counts, key=lambda word: (-counts[word], word))
    row = {word: k for k, word in enumerate(order)}
    sums = np.zeros((len(order), states.shape[1]))
    np.add.at(sums, [row[word] for word in words], unit)
    return Vectors(order, _unit(sums).astype(np.float32))


def _unit(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def fresh(coefficients: int, config: Config, written: int | None = None) -> Network:
    """The network as it is before it is trained, of words of so many coefficients that are read and written."""
    writers = (
        {"shared": 1, "distance": 2 * config.window + config.own}[config.decoders] if config.objective == "write" else 0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Network(coefficients, config.dim, config.padding == "masked", writers, written)


def _fresh(cuts: Cuts, config: Config, device: torch.device) -> _Training:
    network = fresh(cuts.mfcc.shape[2], config, written_of(cuts, config)[0].shape[2]).to(device)
    kind = torch.optim.SGD if config.optimiser == "sgd" else torch.optim.Adam
    return _Training(network, config, {"": kind(network.parameters(), lr=config.lr)})


def _kept_apart(count: int, config: Config) -> npt.NDArray[np.bool_]:
    return np.asarray(np.random.default_rng((config.seed, 0)).random(count) < config.held_out)


def _centres(cuts: Cuts, allowed: npt.NDArray[np.bool_], config: Config, rng: np.random.Generator) -> Indices:
    if config.subsample > 0:
        allowed = allowed & (rng.random(len(cuts)) < keep_probability(cuts.words, config.subsample))
    return np.flatnonzero(allowed)


def _epoch(training: _Training, material: Material, pairs: Indices) -> float:
    """One pass over the pairs; returns the mean loss. The sum stays on the device, so that nothing waits for it."""
    training.network.train()
    config, optimiser = training.settings, training.optimisers[""]
    total = torch.zeros((), device=material.sound.device, dtype=torch.float64)
    drawn = torch.Generator().manual_seed(config.seed * 1_000_003 + training.epoch)
    for batch in track(material.batches(pairs, config.batch), "batches"):
        loss = pair_loss(training.network, material, batch, config, drawn)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += loss.detach().double() * len(batch)
    return float(total) / max(1, len(pairs))


@torch.inference_mode()
def _mean_loss(network: Network, material: Material, pairs: Indices, config: Config) -> float:
    network.eval()
    drawn = torch.Generator().manual_seed(config.seed)
    parts = material.batches(pairs, config.batch)
    return sum(float(pair_loss(network, material, p, config, drawn)) * len(p) for p in parts) / len(pairs)


def _note(training: _Training, loss: float, held_out: float) -> None:
    """Log the losses of an epoch, and keep the best weights."""
    training.losses.append(loss)
    training.held_out.append(held_out)
    if not np.isfinite([loss, held_out]).all():
        raise SerbenchError(f"the loss of epoch {training.epoch} is {loss}. Try a lower learning rate: --set lr=1e-4.")
    if held_out <= min(training.held_out):
        training.keep_best()
