"""Settings of the ladder network; what these are stands in `ladder/model.py`."""

from __future__ import annotations

from dataclasses import dataclass

from ...datasets.core.config import option
from ..chunked.pool_config import JointConfig


@dataclass(frozen=True)
class Config(JointConfig):
    """Settings of `ladder`: those of the encoder and the pool, of the noise and of what each layer's error weighs."""

    variant: str = option(
        "full",
        "layers that are rebuilt: all, or the Gamma model's top layer alone",
        source="Rasmus, sections 3 and 4.1.3",
        choices=("full", "gamma"),
    )
    noise: float = option(0.6, "sd of the noise on each layer, in sd of its values", source="free choice", low=0)
    input_weight: float = option(1.0, "weight of the error of the spectrum", source="free choice", low=0)
    hidden_weight: float = option(0.1, "weight of the error of each hidden layer", source="free choice", low=0)
    top_weight: float = option(0.1, "weight of the error of the outputs", source="free choice", low=0)
    dropout: float = option(
        0.0, "share of h dropped in training, beside the noise", source="free choice", low=0, high=0.95
    )
