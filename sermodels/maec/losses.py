"""The adversarial side of MAEC: prior, losses, and how far Z is from the prior.

MAEC, section 2, with eps drawn from the prior and Z = Enc(X):

    L_D   = max  E[log D(eps)] + E[log(1 - D(Z))]                                     (6)
    L_C   = min  CE(C_g(Z)) + CE(C_e(Z))                                              (7)
    L_Enc = min  E[log(1 - D(Z))] + CE(C_g(Z)) + CE(C_e(Z))                           (8)

The paper prints (7) and (8) with log C and no sign; cross-entropy is meant. The discriminator's loss here is -(6). The
encoder's first term of (8) is flat where the discriminator is sure; -log D(Z) (Goodfellow et al. 2014) is not, and is
the default. The prior's moments are a free choice: the authors' code (github.com/CZFuChason/ISEMOR) had N(0, 1) first,
then N(1, 0.3), and for their follow-up a mixture of N(0 | 1 | 2 | 3, 0.3) in all dimensions, a quarter of each batch
from each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Prior:
    """A mixture, in equal parts, of normal distributions with the same mean in every dimension."""

    means: tuple[float, ...]
    std: float

    def draw(self, count: int, dim: int, generator: torch.Generator) -> Tensor:
        """(count, dim) on the CPU; each component has floor or ceil(count / components) rows, in random order."""
        which = torch.arange(count) % len(self.means)
        rows = torch.tensor(self.means)[which[torch.randperm(count, generator=generator)]]
        return rows[:, None] + self.std * torch.randn(count, dim, generator=generator)

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and standard deviation of one dimension."""
        mean = sum(self.means) / len(self.means)
        spread = sum((m - mean) ** 2 for m in self.means) / len(self.means)
        return mean, (spread + self.std**2) ** 0.5


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-(E[log D(eps)] + E[log(1 - D(Z))]) from logits (item,), Eq. 6; 2 log 2 for a discriminator that guesses."""
    return drawn_loss(real) + encoded_loss(fake)


def drawn_loss(real: Tensor) -> Tensor:
    """-E[log D(eps)] from the logits of drawn vectors, (item,)."""
    return functional.softplus(-real).mean()


def encoded_loss(fake: Tensor) -> Tensor:
    """-E[log(1 - D(Z))] from the logits of encoded vectors, (item,)."""
    return functional.softplus(fake).mean()


def encoder_loss(fake: Tensor, saturating: bool) -> Tensor:
    """First term of Eq. 8 from the logits of Z, (item,): E[log(1 - D(Z))], or -E[log D(Z)]."""
    return -functional.softplus(fake).mean() if saturating else functional.softplus(-fake).mean()


def accuracy(real: Tensor, fake: Tensor) -> Tensor:
    """Share of right judgements, drawn and encoded vectors weighing the same; a logit of 0 counts for neither."""
    return ((real > 0).float().mean() + (fake < 0).float().mean()) / 2


@dataclass
class LatentMoments:
    """Moments of Z over an epoch, and their distance from the prior's."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, latent: Tensor) -> None:
        """Take a batch (item, dim)."""
        rows = latent.detach().double() if latent.device.type != "mps" else latent.detach().float()
        self.count += len(rows)
        self.total = self.total.to(rows) + rows.sum(0)
        self.squares = self.squares.to(rows) + rows.square().sum(0)

    def distance(self, prior: Prior) -> float:
        """2-Wasserstein distance of two normal distributions with these moments, root mean square over dimensions.

        sqrt(mean over dimensions of (mean - mean')^2 + (std - std')^2); 0 when every dimension has the prior's moments.
        """
        mean = self.total / max(self.count, 1)
        std = (self.squares / max(self.count, 1) - mean.square()).clamp(min=0).sqrt()
        wanted_mean, wanted_std = prior.moments
        return float(((mean - wanted_mean).square() + (std - wanted_std).square()).mean().sqrt())
