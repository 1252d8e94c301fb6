"""Spaces of word vectors: Procrustes against scipy, CSLS against a plain double loop, dictionaries, precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from serbench.datasets.core.errors import SerbenchError
from serbench.features.spaces import orthogonal
from serbench.features.spaces.orthogonal import (
    dictionary,
    mean_cosine,
    nearest,
    neighbourhood,
    precision,
    procrustes,
    refine,
    translations,
)

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.standard_normal((37, 6)))
Y = torch.from_numpy(RNG.standard_normal((29, 6)))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))


def plain_csls(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """The definition, one pair after the other."""
    out = np.empty((len(x), len(y)))
    for i, a in enumerate(x):
        for j, b in enumerate(y):
            near_a = sorted((cosine(a, c) for c in y), reverse=True)[:k]
            near_b = sorted((cosine(b, c) for c in x), reverse=True)[:k]
            out[i, j] = 2 * cosine(a, b) - sum(near_a) / len(near_a) - sum(near_b) / len(near_b)
    return out


@pytest.mark.parametrize("k", [1, 10, 100])
def test_csls_is_the_plain_double_loop(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain_csls(X.numpy(), Y.numpy(), k)
    order = np.argsort(-expected, axis=1)
    for elements in (orthogonal._CHUNK_ELEMENTS, 64):  # all at once, two rows at a time
        monkeypatch.setattr(orthogonal, "_CHUNK_ELEMENTS", elements)
        for count in (3, len(Y)):
            scores, indices = nearest(X, Y, count, "csls", k=k)
            best = order[:, :count]
            np.testing.assert_array_equal(indices.numpy(), best)
            np.testing.assert_allclose(scores.numpy(), np.take_along_axis(expected, best, 1), atol=1e-12)


def test_neighbours_of_some_rows() -> None:
    rows = torch.tensor([5, 0, 36])
    cosines = np.array([[cosine(a, b) for b in Y.numpy()] for a in X.numpy()])
    scores, indices = nearest(X, Y, 4, "nn", rows=rows)
    np.testing.assert_array_equal(indices.numpy(), np.argsort(-cosines[rows.numpy()], axis=1)[:, :4])
    np.testing.assert_allclose(scores.numpy(), -np.sort(-cosines[rows.numpy()], axis=1)[:, :4], atol=1e-12)
    np.testing.assert_allclose(neighbourhood(X, Y, 2), -np.sort(-cosines, axis=1)[:, :2].mean(1), atol=1e-12)
    np.testing.assert_array_equal(nearest(X, Y, 1, rows=rows)[1], nearest(X, Y, 1)[1][rows])
    with pytest.raises(SerbenchError, match="nn, csls"):
        nearest(X, Y, 1, "euclid")


def test_procrustes_is_scipys() -> None:
    source, target = RNG.standard_normal((50, 7)), RNG.standard_normal((50, 7))
    found = procrustes(torch.from_numpy(source), torch.from_numpy(target)).numpy()
    np.testing.assert_allclose(found, orthogonal_procrustes(source, target)[0], atol=1e-12)
    np.testing.assert_allclose(found @ found.T, np.eye(7), atol=1e-12)
    hidden = ortho_group.rvs(7, random_state=1)
    np.testing.assert_allclose(
        procrustes(torch.from_numpy(source), torch.from_numpy(source @ hidden)), hidden, atol=1e-12
    )
    with pytest.raises(SerbenchError, match="one dimension"):
        procrustes(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(SerbenchError, match="at least one"):
        procrustes(torch.zeros(0, 4), torch.zeros(0, 4))


def test_dictionary() -> None:
    scores = plain_csls(X.numpy(), Y.numpy(), 10)
    best = scores.argmax(1)
    ordered = -np.sort(-scores, axis=1)
    margins = {i: ordered[i, 0] - ordered[i, 1] for i in range(len(X))}
    expected = sorted(((i, int(best[i])) for i in range(len(X))), key=lambda pair: -margins[pair[0]])
    assert [tuple(pair) for pair in dictionary(X, Y).tolist()] == expected
    back = scores.argmax(0)
    mutual = [(i, j) for i, j in expected if back[j] == i]
    assert 0 < len(mutual) < len(expected)
    assert [tuple(pair) for pair in dictionary(X, Y, mutual=True).tolist()] == mutual
    ranked = [(i, j) for i, j in expected if i < 9 and j < 9]
    assert [tuple(pair) for pair in dictionary(X, Y, max_rank=9).tolist()] == ranked
    cosines = [cosine(X[i].numpy(), Y[j].numpy()) for i, j in expected]
    assert mean_cosine(X, Y) == pytest.approx(np.mean(cosines), abs=1e-12)


def test_precision_counts_any_true_translation() -> None:
    truth = {0: {3}, 4: {1, 7}, 9: {0}, 12: {28}}
    order = np.argsort(-plain_csls(X.numpy(), Y.numpy(), 10), axis=1)
    found = precision(X, Y, truth)
    assert found.words == 4
    for k in (1, 5, 10):
        assert found.at[k] == np.mean([bool(truth[i] & set(order[i, :k].tolist())) for i in truth])
    best = {i: {int(order[i, 0])} for i in range(10)}
    assert precision(X, Y, best).at == {1: 1.0, 5: 1.0, 10: 1.0}
    with pytest.raises(SerbenchError, match="no pair to test"):
        precision(X, Y, {})


def test_refinement_finds_the_rotation_from_near_it() -> None:
    rng = np.random.default_rng(3)
    source = rng.standard_normal((400, 10)) * np.linspace(1.5, 0.5, 10)
    hidden = ortho_group.rvs(10, random_state=2)
    target = source @ hidden + 0.02 * rng.standard_normal(source.shape)
    off, _ = np.linalg.qr(hidden + 0.19 * rng.standard_normal(hidden.shape))
    off *= np.sign(np.diag(off.T @ hidden))
    s, t, w = (torch.from_numpy(a) for a in (source, target, off))
    truth = {i: {i} for i in range(400)}
    before = precision(s @ w, t, truth).at[1]
    found, value = refine(s, t, w)
    assert before < 0.9
    assert precision(s @ found, t, truth).at[1] == 1.0
    assert value > mean_cosine(s @ w, t)
    np.testing.assert_array_equal(translations(s @ found, t), np.arange(400))
    assert (translations(s @ w, t, most=50).numpy() == nearest(s @ w, t, 1)[1][:50, 0].numpy()).all()
    assert refine(s, t, w, rounds=0)[0] is w
