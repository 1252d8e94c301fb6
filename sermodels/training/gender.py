"""Gender as a second task: who is known, and the loss over those."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from ..core.sermodel import Data

GENDERS = ("female", "male")


def genders(data: Data) -> npt.NDArray[np.int64]:
    """0 (female), 1 (male) or -1 (unknown) of each item, (item,)."""
    index = {name: k for k, name in enumerate(GENDERS)}
    return np.array([index.get(str(g), -1) for g in data.items["gender"]], dtype=np.int64)


def gender_loss(logits: Tensor, gender: Tensor) -> Tensor:
    """Cross-entropy over the items whose gender is known; gender (item,) is 0, 1 or -1 (unknown). 0 if none is."""
    known = (gender >= 0).float()
    each = functional.cross_entropy(logits.float(), gender.clamp(min=0), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)
