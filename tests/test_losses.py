"""The losses against numpy and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from serbench.sermodels.training.losses import balanced_weights, ccc_losses


def ccc_loss(prediction: torch.Tensor, target: torch.Tensor, **settings: Any) -> torch.Tensor:
    """The joint loss of several attributes: the mean over them."""
    return ccc_losses(prediction, target, **settings).mean()


def ccc(prediction: np.ndarray, target: np.ndarray, variance_ddof: int = 0) -> float:
    """Lin's (1989) concordance correlation coefficient of two vectors, in float64."""
    p, t = prediction.astype(np.float64), target.astype(np.float64)
    covariance = np.cov(p, t, ddof=0)[0, 1]
    return 2 * covariance / (p.var(ddof=variance_ddof) + t.var(ddof=variance_ddof) + (p.mean() - t.mean()) ** 2)


def draw(seed: int, n: int = 50, targets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.normal(2.0, 1.5, size=(n, targets))
    return 0.6 * target + generator.normal(0.5, 1.0, size=(n, targets)), target


@pytest.mark.parametrize("correction", [0, 1])
def test_ccc_losses_equal_numpy(correction: int) -> None:
    p, t = draw(1)
    found = ccc_losses(torch.tensor(p), torch.tensor(t), epsilon=0.0, correction=correction)
    expected = [1 - ccc(p[:, k], t[:, k], correction) for k in range(3)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    joint = ccc_loss(torch.tensor(p), torch.tensor(t), epsilon=0.0, correction=correction)
    assert joint.item() == pytest.approx(np.mean(expected), abs=1e-6)


def test_perfect_prediction_costs_nothing_and_its_mirror_two() -> None:
    t = torch.tensor(draw(2)[1])
    t = t - t.mean(0)
    assert ccc_loss(t, t).item() == pytest.approx(0, abs=1e-6)
    assert ccc_loss(-t, t).item() == pytest.approx(2, abs=1e-6)


def test_a_shift_costs_what_the_closed_form_says() -> None:
    t = torch.tensor(draw(3, targets=1)[1])
    variance = t.var(correction=0).item()
    shifted = ccc_loss(t + 0.7, t, epsilon=0.0).item()
    assert shifted == pytest.approx(1 - 2 * variance / (2 * variance + 0.49), abs=1e-6)


@pytest.mark.parametrize("n", [1, 4])
def test_batches_without_variance_have_the_loss_one_and_a_finite_gradient(n: int) -> None:
    p = torch.full((n, 2), 0.3, requires_grad=True)
    loss = ccc_loss(p, torch.full((n, 2), 0.3))
    loss.backward()
    assert loss.item() == 1.0
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()


def test_masked_items_count_for_nothing() -> None:
    p, t = draw(4, n=30, targets=2)
    mask = np.random.default_rng(5).random((30, 2)) > 0.4
    expected = [1 - ccc(p[mask[:, k], k], t[mask[:, k], k]) for k in range(2)]
    hidden = np.where(mask, t, np.nan)
    wild = torch.tensor(np.where(mask, p, 1e3), requires_grad=True)
    found = ccc_losses(wild, torch.tensor(hidden), torch.tensor(mask), epsilon=0.0)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)
    found.sum().backward()
    assert wild.grad is not None
    assert torch.isfinite(wild.grad).all()
    assert (wild.grad.numpy()[~mask] == 0).all()


def test_a_target_that_is_masked_throughout_has_the_loss_one() -> None:
    p, t = draw(6, targets=2)
    mask = torch.tensor([[True, False]]).expand(50, 2)
    found = ccc_losses(torch.tensor(p), torch.tensor(t), mask)
    assert found[1].item() == 1.0
    assert found[0].item() == pytest.approx(1 - ccc(p[:, 0], t[:, 0]), abs=1e-5)


def test_gradient_equals_differences() -> None:
    p, t = draw(7, n=6, targets=2)
    prediction, target = torch.tensor(p, requires_grad=True), torch.tensor(t)
    ccc_loss(prediction, target).backward()
    step = 1e-6
    for i, k in [(0, 0), (3, 1), (5, 0)]:
        up, down = p.copy(), p.copy()
        up[i, k] += step
        down[i, k] -= step
        difference = sum(ccc(down[:, j], t[:, j]) - ccc(up[:, j], t[:, j]) for j in range(2)) / 2 / (2 * step)
        assert prediction.grad is not None
        assert prediction.grad[i, k].item() == pytest.approx(difference, abs=1e-5)


def test_half_precision_predictions_are_scored_in_single_precision() -> None:
    p, t = draw(8)
    half = torch.tensor(p).bfloat16()
    found = ccc_loss(half, torch.tensor(t))
    assert found.dtype == torch.float32
    expected = np.mean([1 - ccc(half.double().numpy()[:, k], t[:, k]) for k in range(3)])
    assert found.item() == pytest.approx(expected, abs=1e-5)


def test_balanced_weights_give_each_class_present_the_same_sum() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = balanced_weights(labels, 4)
    np.testing.assert_allclose(weights * np.bincount(labels, minlength=4), [10 / 3, 10 / 3, 0, 10 / 3], rtol=1e-6)
    assert weights.dtype == np.float32
