"""Two spaces of word vectors: orthogonal maps between them, hubness-corrected neighbours, precision of translation.

- Procrustes: the orthogonal W that minimises ||source W - target||, W = U V^T with U S V^T the singular value
  decomposition of source^T target (Schoenemann, "A generalized solution of the orthogonal Procrustes problem",
  Psychometrika 31, 1966, doi 10.1007/BF02289451). Vectors are rows here, so W is the transpose of the papers'.
- CSLS(x, y) = 2 cos(x, y) - r(x) - r(y), r being a vector's mean cosine with its 10 nearest neighbours in the other
  space: Conneau, Lample, Ranzato, Denoyer and Jegou, "Word translation without parallel data", ICLR 2018
  (arXiv:1710.04087), section 2.3; refinement by dictionaries of CSLS, and the mean cosine as a criterion that needs no
  labels, sections 2.2 and 3.5. Numbers that the paper leaves open (dictionary of the 15,000 most frequent words, order
  by the distance of best and second best) are those of the authors' public release.

All functions are pure; matrices are torch tensors (word, dim) on any one device, float32 or float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from ...datasets.core.errors import SerbenchError

METHODS = ("nn", "csls")
NEIGHBOURS = 10
_CHUNK_ELEMENTS = 1 << 24


def unit_rows(x: Tensor) -> Tensor:
    """Rows (word, dim) at length 1; rows of zeros stay."""
    lengths: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / lengths.clamp_min(torch.finfo(x.dtype).tiny)


def procrustes(source: Tensor, target: Tensor) -> Tensor:
    """The orthogonal W (dim, dim) for which source W comes closest to target, row by row.

    Raises
    ------
    SerbenchError
        If the two are not of one shape, or empty.
    """
    if source.shape != target.shape or not len(source):
        raise SerbenchError(
            f"pairs of shapes {tuple(source.shape)} and {tuple(target.shape)} were given. Expected the same number of "
            "vectors (at least one) of the same length; both spaces must have one dimension."
        )
    u, _, vh = torch.linalg.svd(source.T @ target)
    best: Tensor = u @ vh
    return best


def neighbourhood(x: Tensor, y: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Mean cosine (row of x,) of each row of x with its k nearest rows of y (all of them where there are fewer)."""
    ours, theirs = unit_rows(x), unit_rows(y)
    count = min(k, len(y))
    return torch.cat([(part @ theirs.T).topk(count, dim=1).values.mean(1) for part in _parts(ours, len(y))])


def nearest(
    x: Tensor, y: Tensor, count: int, method: str = "csls", *, rows: Tensor | None = None, k: int = NEIGHBOURS
) -> tuple[Tensor, Tensor]:
    """The best rows of y for rows of x.

    Parameters
    ----------
    x, y : the two whole spaces (the neighbourhoods of CSLS are taken over all of x and y)
    count : how many to find for each row
    method : "nn" (cosine) or "csls"
    rows : numbers of the rows of x that are asked for; None = all

    Returns
    -------
    scores, indices : (asked row, count), the best first
    """
    if method not in METHODS:
        raise SerbenchError(f"method={method!r} is not known. Expected one of: {', '.join(METHODS)}.")
    asked = x if rows is None else x[rows]
    theirs, best = unit_rows(y), []
    far = neighbourhood(y, x, k) if method == "csls" else None
    for part in _parts(unit_rows(asked), len(y)):
        scores = part @ theirs.T
        if far is not None:
            near = scores.topk(min(k, len(y)), dim=1).values.mean(1, keepdim=True)
            scores = 2 * scores - near - far
        best.append(scores.topk(min(count, len(y)), dim=1))
    return torch.cat([f.values for f in best]), torch.cat([f.indices for f in best])


def dictionary(
    mapped: Tensor, target: Tensor, *, method: str = "csls", max_rank: int = 15_000, mutual: bool = False
) -> Tensor:
    """Pairs (pair, 2) of rows that translate one another, the surest first.

    Each of the first `max_rank` rows of `mapped` goes with its best row of `target` if that is among the first
    `max_rank` too; with `mutual` only if that one's best row is the first again. Sure means far ahead of the second.
    """
    pairs, margins = _best(mapped, target, method, max_rank)
    if mutual:
        back, _ = _best(target, mapped, method, max_rank)
        there = {(int(s), int(t)) for t, s in back.tolist()}
        keep = torch.tensor([tuple(p) in there for p in pairs.tolist()], dtype=torch.bool, device=pairs.device)
        pairs, margins = pairs[keep], margins[keep]
    order = margins.argsort(descending=True, stable=True)
    return pairs[order]


def mean_cosine(mapped: Tensor, target: Tensor, *, most: int = 10_000) -> float:
    """Mean cosine of the pairs that CSLS makes of the `most` most frequent words: the criterion without labels."""
    pairs = dictionary(mapped[:most], target[:most], max_rank=most)
    if not len(pairs):
        return -1.0
    return float((unit_rows(mapped[pairs[:, 0]]) * unit_rows(target[pairs[:, 1]])).sum(1).mean())


def refine(
    source: Tensor,
    target: Tensor,
    start: Tensor,
    *,
    rounds: int = 5,
    max_rank: int = 15_000,
    mutual: bool = False,
    criterion: Callable[[Tensor, Tensor], float] = mean_cosine,
) -> tuple[Tensor, float]:
    """Improve a map W (dim, dim): translate by CSLS, fit Procrustes to the pairs, and again.

    Returns
    -------
    the map with the best criterion among the start and all rounds, and that criterion
    """
    best, value = start, criterion(source @ start, target)
    current = start
    for _ in range(rounds):
        pairs = dictionary(source @ current, target, max_rank=max_rank, mutual=mutual)
        if len(pairs) < 2:
            break
        current = procrustes(source[pairs[:, 0]], target[pairs[:, 1]])
        reached = criterion(source @ current, target)
        if reached > value:
            best, value = current, reached
    return best, value


@dataclass(frozen=True)
class Precision:
    """P@k in [0, 1] by k, and how many words were asked for."""

    at: Mapping[int, float]
    words: int


def precision(
    mapped: Tensor,
    target: Tensor,
    truth: Mapping[int, Set[int]],
    *,
    method: str = "csls",
    ks: Sequence[int] = (1, 5, 10),
) -> Precision:
    """P@k: the share of source rows one of whose true target rows is among the k best.

    Parameters
    ----------
    truth : row of `mapped` -> its true rows of `target`; words outside the vocabularies are not in it
    """
    if not truth:
        raise SerbenchError("no pair to test with was given. Expected pairs with both words in the vocabularies.")
    rows = torch.tensor(sorted(truth), device=mapped.device)
    _, neighbours = nearest(mapped, target, max(ks), method, rows=rows)
    answers = zip(rows.tolist(), neighbours.tolist(), strict=True)
    hits = torch.tensor([[column in truth[row] for column in best] for row, best in answers])
    return Precision({k: float(hits[:, :k].any(1).double().mean()) for k in ks}, len(rows))


def translations(mapped: Tensor, target: Tensor, *, most: int = 10_000) -> Tensor:
    """The row of target (word,) that CSLS gives for each of the `most` most frequent rows of `mapped`."""
    rows = torch.arange(min(most, len(mapped)), device=mapped.device)
    return nearest(mapped, target, 1, rows=rows)[1][:, 0]


def _best(x: Tensor, y: Tensor, method: str, max_rank: int) -> tuple[Tensor, Tensor]:
    """Pairs (pair, 2) of a row of x and its best row of y, both among the first `max_rank`, and their margins."""
    rows = torch.arange(min(max_rank, len(x)), device=x.device)
    scores, indices = nearest(x, y, 2, method, rows=rows)
    margins = scores[:, 0] - scores[:, 1] if scores.shape[1] > 1 else scores[:, 0]
    keep = indices[:, 0] < max_rank
    return torch.stack([rows, indices[:, 0]], 1)[keep], margins[keep]


def _parts(rows: Tensor, columns: int) -> tuple[Tensor, ...]:
    """Rows in parts whose product with `columns` others fits into memory."""
    return torch.split(rows, max(1, _CHUNK_ELEMENTS // max(1, columns)))
