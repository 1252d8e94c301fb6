"""PCA whitening and length normalisation of points before they are clustered.

The preparation of DeepCluster (Caron et al., 2018, ECCV, section 3.4), which DeepEmoCluster builds on; the release of
the latter has it too, but does not call it.
"""

from __future__ import annotations

import torch

from ...datasets.core.errors import SerbenchError
from ...features.core.process import one_thread
from .kmeans import block_rows, mean_of
from .points import Points, make_points


def whiten(points: Points, dims: int, keep_bytes: int) -> Points:
    """Project points on their first principal components, scale each to variance 1, then each point to length 1.

    Parameters
    ----------
    dims : number of components, at most the width of the points
    keep_bytes : results up to this size stay in the device's memory

    Components whose variance is only rounding become 0, and a point that the projection leaves without length stays 0.
    """
    if not 1 <= dims <= points.dim:
        raise SerbenchError(f"whitening to {dims} dimensions: expected 1 to {points.dim}, the width of the points.")
    with torch.no_grad(), one_thread(points.device):
        mean = mean_of(points)
        covariance = torch.zeros(points.dim, points.dim, dtype=mean.dtype, device=points.device)
        narrow = mean.to(torch.float32)
        for block in points.blocks(block_rows(points, points.dim)):
            centred = block - narrow
            covariance += centred.T @ centred
        variances, axes = torch.linalg.eigh((covariance / points.count).cpu().double())
        variances, axes = variances.flip(0)[:dims], axes.flip(1)[:, :dims]
        scale = torch.where(variances > variances[0] * 1e-10, variances.clamp(min=1e-300).rsqrt(), 0.0)
        project = (axes * scale).to(points.device, torch.float32)
        out = make_points(points.count, dims, points.device, keep_bytes)
        first = 0
        for block in points.blocks(block_rows(points, dims)):
            out.put(first, torch.nn.functional.normalize((block - narrow) @ project, dim=1))
            first += len(block)
        return out
