"""A map between two spaces of word vectors without any pair of words: a mapping and a discriminator play a game.

Conneau, Lample, Ranzato, Denoyer and Jegou, "Word translation without parallel data", ICLR 2018 (arXiv:1710.04087),
sections 2.1 and 3: the discriminator tells mapped source vectors from target vectors, the mapping W is trained to make
that impossible, and is drawn back to the orthogonal matrices after every step (equation 7). The W with the best mean
cosine of CSLS pairs (section 3.5) is kept. Written from the paper; numbers that it leaves open, the smoothing and the
decay are the defaults of the authors' public release (facebookresearch/MUSE), of which no code is used here.

Differs: W starts at a random rotation, where the paper starts at the identity. Two games that make no headway then stay
at different maps, so that their disagreement shows it; from one start they would agree on a map that is wrong.

The method fails on some data and on some seeds of any data: where the cloud of vectors looks the same from several
sides (an isotropic one looks the same from all), no discriminator can help. `spaces/mapping.py` detects that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...datasets.core.config import option
from .orthogonal import mean_cosine

_PAPER, _RELEASE = "section 3.1", "public release"


@dataclass(frozen=True)
class Game:
    """Settings of the adversarial training."""

    hidden: int = option(2048, "units of each of the discriminator's two hidden layers", source=_PAPER, low=1)
    input_dropout: float = option(0.1, "dropout of what the discriminator sees", source=_PAPER, low=0, high=0.9)
    slope: float = option(0.2, "slope of the leaky rectifiers for negative values", source=_RELEASE, low=0, high=1)
    smoothing: float = option(0.1, "labels are this far from 0 and 1", source=_RELEASE, low=0, high=0.49)
    steps: int = option(5, "discriminator steps per step of the mapping", source=_RELEASE, low=1)
    batch: int = option(32, "vectors of each side per step", source=_PAPER, low=1)
    lr: float = option(0.1, "learning rate of both (plain gradient descent)", source=_PAPER, low=0)
    lr_decay: float = option(
        0.98, "factor of the mapping's learning rate after an epoch", source=_RELEASE, low=0, high=1
    )
    lr_shrink: float = option(0.5, "further factor when the criterion falls again", source=_PAPER, low=0, high=1)
    min_lr: float = option(1e-6, "training ends below this learning rate", source=_RELEASE, low=0)
    beta: float = option(0.001, "pull of W towards the orthogonal matrices", source="equation 7", low=0, high=1)
    epochs: int = option(5, "epochs", source=_RELEASE, low=1)
    samples: int = option(1_000_000, "mapped vectors seen per epoch", source=_RELEASE, low=1)
    most_frequent: int = option(75_000, "vectors are drawn from so many words; 0 = all", source=_RELEASE, low=0)


@dataclass(frozen=True)
class Played:
    """What one game led to: the map W (dim, dim), its criterion, and the criterion and loss after each epoch."""

    seed: int
    map: Tensor
    criterion: float
    criteria: tuple[float, ...]
    losses: tuple[float, ...]


def play(
    source: Tensor, target: Tensor, game: Game, seed: int, progress: Callable[[str], None] | None = None
) -> Played:
    """Train a mapping W (dim, dim) of source (word, dim) onto target (word, dim), most frequent words first."""
    devices = [source.device.index or 0] if source.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        return _play(source, target, game, seed, progress)


def random_rotation(dim: int) -> Tensor:
    """An orthogonal matrix (dim, dim) float64, uniformly drawn from torch's generator of the CPU."""
    q, r = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))
    drawn: Tensor = q * r.diagonal().sign()
    return drawn


def orthogonal_step(w: Tensor, beta: float) -> Tensor:
    """Equation 7: a step from W (dim, dim) towards the nearest orthogonal matrix."""
    moved: Tensor = (1 + beta) * w - beta * (w @ w.T) @ w
    return moved


def discriminator(dim: int, game: Game) -> nn.Sequential:
    """(vector, dim) -> (vector, 1): how much a vector looks like one of the target space, as a logit."""
    return nn.Sequential(
        nn.Dropout(game.input_dropout),
        nn.Linear(dim, game.hidden),
        nn.LeakyReLU(game.slope),
        nn.Linear(game.hidden, game.hidden),
        nn.LeakyReLU(game.slope),
        nn.Linear(game.hidden, 1),
    )


def _play(source: Tensor, target: Tensor, game: Game, seed: int, progress: Callable[[str], None] | None) -> Played:
    w = random_rotation(source.shape[1]).to(source.device, source.dtype).requires_grad_()
    judge = discriminator(source.shape[1], game).to(source.device, source.dtype)
    pools = [x[: game.most_frequent or None] for x in (source, target)]
    best, best_value, criteria, losses = w.detach().clone(), -2.0, [], []
    rate, fell = game.lr, False
    for epoch in range(game.epochs):
        losses.append(_epoch(pools, w, judge, game, rate))
        value = mean_cosine(source @ w.detach(), target)
        criteria.append(value)
        if progress is not None:
            progress(f"seed {seed}, epoch {epoch + 1}: criterion {value:.4f}, discriminator's loss {losses[-1]:.4f}")
        rate *= game.lr_decay
        if value > best_value:
            best, best_value = w.detach().clone(), value
        else:
            rate, fell = rate * (game.lr_shrink if fell else 1.0), True
        if rate < game.min_lr:
            break
    return Played(seed, best, best_value, tuple(criteria), tuple(losses))


def _epoch(pools: list[Tensor], w: Tensor, judge: nn.Sequential, game: Game, rate: float) -> float:
    """One epoch; `w` and the discriminator are changed in place. Returns the discriminator's mean loss."""
    total, steps = torch.zeros((), device=w.device, dtype=w.dtype), 0
    truth = torch.full((2 * game.batch, 1), game.smoothing, device=w.device, dtype=w.dtype)
    truth[game.batch :] = 1 - game.smoothing
    weights = list(judge.parameters())
    for _ in range(max(1, game.samples // game.batch)):
        judge.train()
        for _ in range(game.steps):
            loss = functional.binary_cross_entropy_with_logits(judge(_batch(pools, w.detach(), game.batch)), truth)
            _descend(weights, torch.autograd.grad(loss, weights), game.lr)
            total, steps = total + loss.detach(), steps + 1
        judge.eval()
        deceived = functional.binary_cross_entropy_with_logits(judge(_batch(pools, w, game.batch)), 1 - truth)
        _descend([w], torch.autograd.grad(deceived, [w]), rate)
        with torch.no_grad():
            w.copy_(orthogonal_step(w, game.beta))
    return float(total) / steps


def _batch(pools: list[Tensor], w: Tensor, size: int) -> Tensor:
    """Mapped source vectors, then target vectors, drawn with equal chances: (2 x size, dim)."""
    source, target = (x[torch.randint(len(x), (size,), device=x.device)] for x in pools)
    return torch.cat([source @ w, target])


@torch.no_grad()
def _descend(weights: Sequence[Tensor], gradients: tuple[Tensor, ...], rate: float) -> None:
    for weight, gradient in zip(weights, gradients, strict=True):
        weight -= rate * gradient
