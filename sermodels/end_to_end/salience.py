"""Where a model on spectra listens: its attention over time as segments in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..core.sermodel import Data
from .piece_model import SpectrumModel
from .pieces import padded

Weights = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(frames, lengths) -> attention (piece, column), which sums to 1 over a piece's own columns, and how many it has."""


def segments(model: SpectrumModel[Any], data: Data, weights: Weights, width: int, step: int) -> list[pd.DataFrame]:
    """Start, end [s] and weight of each column of each utterance; a column is `width` frames, one every `step`."""
    source, hop = model.source(data), data.features["input"].hop_seconds
    assert hop is not None
    tables = []
    for piece in model.pieces(data, source):
        frames, lengths = (tensor.to(model.device) for tensor in padded(source, [piece]))
        with torch.inference_mode():
            found, counts = weights(frames, lengths)
        start = np.arange(int(counts[0])) * step
        end = np.minimum(start + width, int(lengths[0]))
        row = found[0, : len(start)].double().cpu().numpy()
        tables.append(pd.DataFrame({"start": start * hop, "end": end * hop, "weight": row}))
    return tables
