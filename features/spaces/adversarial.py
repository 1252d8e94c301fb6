"""A map between two spaces of word vectors without any pair of words: a mapping and a discriminator play a game.

Conneau, Lample, Ranzato, Denoyer and Jegou, "Word translation without parallel data", ICLR 2018 (arXiv:1710.04087),
sections 2.1 and 3: the discriminator tells mapped source vectors from target vectors, the mapping W is trained to make
that impossible, and is drawn back to the orthogonal matrices after every step (equation 7). The W with the best mean
cosine of CSLS pairs (section 3.5) is kept. Written from the paper; numbers that it leaves open, the smoothing and the
decay are the defaults of the authors' public release (facebookresearch/MUSE), of which no code is used here.

Two sets of settings: `PUBLISHED`, the authors' numbers, meant for a graphics card, and the defaults, which end within
minutes on two cores. What the defaults do otherwise:

- A smaller discriminator, larger batches and longer steps: less noise for the same time.
- Both clouds are scaled to a mean square of 1 per dimension for the game (a rotation can't make good for a difference
  of lengths, and the discriminator would see nothing else).
- After each epoch Procrustes refines W on the most frequent words; where that has the better criterion, the game goes
  on from there. Refinement makes the right map of one that is right for a tenth of the words, long before the game.
- A game ends when its criterion has not become better by 0.001 for `patience` epochs.

In both, W starts at a random rotation, where the paper starts at the identity. Two games that make no headway then stay
at different maps, so that their disagreement shows it; from one start they would agree on a map that is wrong.

Gradients are written out: on vectors this short a tape of operations costs more than the operations. On a processor a
game takes one thread, so its numbers do not depend on the number of cores.

The method fails on some data and on some seeds of any data: where the cloud of vectors looks the same from several
sides (an isotropic one looks the same from all), no discriminator can help. `spaces/mapping.py` detects that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ...datasets.core.config import option
from ...datasets.core.stages import stage
from ..core.process import one_thread
from .orthogonal import mean_cosine, refine

_PAPER, _RELEASE, _FREE = "section 3.1", "public release", "free choice"
_ROUNDS, _BETTER = 2, 1e-3


@dataclass(frozen=True)
class Game:
    """Settings of the adversarial training."""

    hidden: int = option(256, "units of each of the discriminator's two hidden layers", source=_FREE, low=1)
    input_dropout: float = option(0.1, "dropout of what the discriminator sees", source=_PAPER, low=0, high=0.9)
    slope: float = option(0.2, "slope of the leaky rectifiers for negative values", source=_RELEASE, low=0, high=1)
    smoothing: float = option(0.1, "labels are this far from 0 and 1", source=_RELEASE, low=0, high=0.49)
    steps: int = option(3, "discriminator steps per step of the mapping", source=_FREE, low=1)
    batch: int = option(128, "vectors of each side per step", source=_FREE, low=1)
    lr: float = option(0.5, "learning rate of both (plain gradient descent)", source=_FREE, low=0)
    lr_decay: float = option(
        0.98, "factor of the mapping's learning rate after an epoch", source=_RELEASE, low=0, high=1
    )
    lr_shrink: float = option(0.5, "further factor when the criterion falls again", source=_PAPER, low=0, high=1)
    min_lr: float = option(1e-6, "training ends below this learning rate", source=_RELEASE, low=0)
    beta: float = option(0.001, "pull of W towards the orthogonal matrices", source="equation 7", low=0, high=1)
    epochs: int = option(12, "epochs at most", source=_FREE, low=1)
    samples: int = option(12_800, "mapped vectors seen per epoch", source=_FREE, low=1)
    patience: int = option(
        4, "epochs without a criterion that is better by 0.001 after which a game ends; 0 = never", source=_FREE, low=0
    )
    refined: int = option(2_000, "Procrustes refines W on so many words after an epoch; 0 = never", source=_FREE, low=0)
    scaled: bool = option(True, "both clouds have a mean square of 1 per dimension in the game", source=_FREE)
    most_frequent: int = option(75_000, "vectors are drawn from so many words; 0 = all", source=_RELEASE, low=0)


PUBLISHED = Game(
    hidden=2048, steps=5, batch=32, lr=0.1, epochs=5, samples=1_000_000, patience=0, refined=0, scaled=False
)
"""The paper's and the release's numbers: 156,250 steps of the mapping a game. For a graphics card."""
PRESETS = {"default": Game(), "published": PUBLISHED}


@dataclass(frozen=True)
class Played:
    """What one game led to: the map W (dim, dim), its criterion, and the criterion and loss after each epoch."""

    seed: int
    map: Tensor
    criterion: float
    criteria: tuple[float, ...]
    losses: tuple[float, ...]


class Judge(NamedTuple):
    """The discriminator: weights (out, in) and biases (out,) of its three layers."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    w3: Tensor
    b3: Tensor


class Seen(NamedTuple):
    """What the discriminator makes of vectors: layers before and after the rectifiers, and the logit (vector, 1)."""

    h1: Tensor
    a1: Tensor
    h2: Tensor
    a2: Tensor
    logit: Tensor


def play(source: Tensor, target: Tensor, game: Game, seed: int) -> Played:
    """Train a mapping W (dim, dim) of source (word, dim) onto target (word, dim), most frequent words first."""
    criteria: list[float] = []
    losses: list[float] = []
    best_value, height, since, rate, fell = -2.0, -2.0, 0, game.lr, False
    with one_thread(source.device), stage(f"game of seed {seed}: epoch", game.epochs) as at:
        match = Match(source, target, game, seed)
        best = match.w.clone()
        for epoch in range(1, game.epochs + 1):
            losses.append(match.epoch(rate, at.within))
            value = match.look()
            criteria.append(value)
            rate *= game.lr_decay
            if value > best_value:
                best, best_value = match.w.clone(), value
            else:
                rate, fell = rate * (game.lr_shrink if fell else 1.0), True
            height, since = (value, epoch) if value > height + _BETTER else (height, since)
            at(epoch, f"criterion {value:.4f}, best {best_value:.4f}, discriminator's loss {losses[-1]:.4f}")
            if rate < game.min_lr or not match.sound or 0 < game.patience <= epoch - since:
                break
    return Played(seed, best, best_value, tuple(criteria), tuple(losses))


def epoch_seconds(source: Tensor, target: Tensor, game: Game, steps: int = 10) -> float:
    """Seconds that an epoch takes here, from a few steps and one look at the criterion."""
    match = Match(source, target, game, 0)
    match.round(game.lr)
    began = time.perf_counter()
    float(sum(match.round(game.lr) for _ in range(steps)))  # a graphics card is waited for
    stepped = time.perf_counter()
    match.look()
    looked = time.perf_counter() - stepped
    return max(1, game.samples // game.batch) * (stepped - began) / steps + looked


class Match:
    """A game under way: two clouds, the map, the discriminator and the dice."""

    def __init__(self, source: Tensor, target: Tensor, game: Game, seed: int) -> None:
        self.source, self.target, self.game = source, target, game
        pools = [x[: game.most_frequent or None] for x in (source, target)]
        self.pools = [x / x.square().mean().sqrt().clamp_min(1e-12) for x in pools] if game.scaled else pools
        start = torch.Generator().manual_seed(seed)
        self.w = random_rotation(source.shape[1], start).to(source)
        self.judge = Judge(*(x.to(source) for x in discriminator(source.shape[1], game.hidden, start)))
        self.truth = _truth(game.batch, game.smoothing).to(source)
        self.dice = torch.Generator(source.device).manual_seed(seed)

    @property
    def sound(self) -> bool:
        """Whether the map still consists of numbers."""
        return bool(torch.isfinite(self.w).all())

    def look(self) -> float:
        """The criterion of the map, which is replaced by its refinement where that has a better one."""
        if not self.sound:
            return -2.0
        if not self.game.refined:
            return mean_cosine(self.source @ self.w, self.target)
        source, target = (x[: self.game.refined] for x in (self.source, self.target))
        self.w, value = refine(source, target, self.w, rounds=_ROUNDS)
        return value

    def epoch(self, rate: float, part: Callable[[float], None] | None = None) -> float:
        """One epoch; returns the discriminator's mean loss. `part` is told the share that is done."""
        total = torch.zeros((), device=self.w.device, dtype=self.w.dtype)
        count = max(1, self.game.samples // self.game.batch)
        for k in range(count):
            total += self.round(rate)
            if part is not None:
                part(k / count)
        return float(total) / (count * self.game.steps)

    def round(self, rate: float) -> Tensor:
        """Steps of the discriminator, then one of the mapping; returns the sum of the discriminator's losses."""
        game, truth, total = self.game, self.truth, self.w.new_zeros(())
        for _ in range(game.steps):
            _, x = self.batch()
            if game.input_dropout:
                kept = torch.rand(x.shape, generator=self.dice, device=x.device, dtype=x.dtype) >= game.input_dropout
                x = x * kept / (1 - game.input_dropout)
            seen = see(self.judge, x, game.slope)
            total += functional.binary_cross_entropy_with_logits(seen.logit, truth)
            descend(self.judge, x, seen, truth, game.slope, game.lr)
        drawn, x = self.batch()
        seen = see(self.judge, x, game.slope)
        back = towards_input(self.judge, seen, 1 - truth, game.slope)[: game.batch]
        self.w = orthogonal_step(self.w - rate * drawn.T @ back, game.beta)
        return total

    def batch(self) -> tuple[Tensor, Tensor]:
        """Drawn source vectors (size, dim), and those mapped with drawn target vectors behind them (2 x size, dim)."""
        source, target = (
            x[torch.randint(len(x), (self.game.batch,), generator=self.dice, device=x.device)] for x in self.pools
        )
        return source, torch.cat([source @ self.w, target])


def random_rotation(dim: int, generator: torch.Generator) -> Tensor:
    """An orthogonal matrix (dim, dim) float64, uniformly drawn."""
    q, r = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator))
    drawn: Tensor = q * r.diagonal().sign()
    return drawn


def orthogonal_step(w: Tensor, beta: float) -> Tensor:
    """Equation 7: a step from W (dim, dim) towards the nearest orthogonal matrix."""
    moved: Tensor = (1 + beta) * w - beta * (w @ w.T) @ w
    return moved


def discriminator(dim: int, hidden: int, generator: torch.Generator) -> Judge:
    """Start values, uniform within one over the root of a layer's inputs."""
    sizes = [(hidden, dim), (hidden, hidden), (1, hidden)]
    shapes = [(shape, inputs**-0.5) for out, inputs in sizes for shape in ((out, inputs), (out,))]
    return Judge(*((torch.rand(shape, generator=generator) * 2 - 1) * most for shape, most in shapes))


def see(judge: Judge, x: Tensor, slope: float) -> Seen:
    """How much vectors (vector, dim) look like those of the target space, as logits, and the layers on the way."""
    h1 = torch.addmm(judge.b1, x, judge.w1.T)
    a1 = functional.leaky_relu(h1, slope)
    h2 = torch.addmm(judge.b2, a1, judge.w2.T)
    a2 = functional.leaky_relu(h2, slope)
    return Seen(h1, a1, h2, a2, torch.addmm(judge.b3, a2, judge.w3.T))


def descend(judge: Judge, x: Tensor, seen: Seen, truth: Tensor, slope: float, rate: float) -> None:
    """A step of the discriminator, in place, down the mean cross-entropy of its logits with `truth` (vector, 1)."""
    d3, d2, d1 = _backwards(judge, seen, truth, slope)
    for weight, bias, back, inputs in (
        (judge.w3, judge.b3, d3, seen.a2),
        (judge.w2, judge.b2, d2, seen.a1),
        (judge.w1, judge.b1, d1, x),
    ):
        weight.addmm_(back.T, inputs, alpha=-rate)
        bias.sub_(back.sum(0), alpha=rate)


def towards_input(judge: Judge, seen: Seen, truth: Tensor, slope: float) -> Tensor:
    """Gradient (vector, dim) of the mean cross-entropy with `truth` by the vectors that were seen."""
    return _backwards(judge, seen, truth, slope)[2] @ judge.w1


def _backwards(judge: Judge, seen: Seen, truth: Tensor, slope: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients by the logit, and by the second and the first layer before their rectifiers."""
    d3 = (torch.sigmoid(seen.logit) - truth) / len(truth)
    d2 = (d3 @ judge.w3) * torch.where(seen.h2 > 0, 1.0, slope)
    d1 = (d2 @ judge.w2) * torch.where(seen.h1 > 0, 1.0, slope)
    return d3, d2, d1


def _truth(size: int, smoothing: float) -> Tensor:
    """What the discriminator should say (2 x size, 1): 0 for mapped source vectors, 1 for target vectors, smoothed."""
    truth = torch.full((2 * size, 1), smoothing)
    truth[size:] = 1 - smoothing
    return truth
