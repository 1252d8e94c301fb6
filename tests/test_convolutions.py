"""The stack of convolution, batch normalisation and ReLU against plain modules and autograd, in double precision."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from serbench.sermodels.chunked.fast import convolutions as convolutions_module
from serbench.sermodels.chunked.fast.convolutions import Geometry, fast_stack

Stack = tuple[list[nn.Module], list[nn.Module]]


def make(seed: int, transposed: bool = False) -> Stack:
    """Three layers with random scales, shifts and running statistics, in double precision."""
    torch.manual_seed(seed)
    if transposed:
        convolutions: list[nn.Module] = [
            nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1),
            nn.ConvTranspose2d(6, 5, 3, 2, 1, output_padding=(0, 1)),
            nn.ConvTranspose2d(5, 3, 3, 1, 1),
        ]
        widths = (6, 5, 3)
    else:
        convolutions = [nn.Conv2d(2, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 6, 3, 2, 1)]
        widths = (4, 4, 6)
    norms: list[nn.Module] = []
    for width in widths:
        norm = nn.BatchNorm2d(width)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        norms.append(norm)
    return [c.double() for c in convolutions], [n.double() for n in norms]


def plain(maps: Tensor, stack: Stack, training: bool) -> Tensor:
    for convolution, norm in zip(*stack, strict=True):
        maps = torch.relu(norm.train(training)(convolution(maps)))
    return maps


def stacked(maps: Tensor, stack: Stack, training: bool) -> Tensor:
    convolutions, norms = stack
    return fast_stack(maps, convolutions, [norm.train(training) for norm in norms])


def maps_of(n: int, transposed: bool = False) -> Tensor:
    shape = (n, 4, 4, 8) if transposed else (n, 2, 9, 14)
    return 2 + torch.randn(shape, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


@pytest.fixture(params=[1, 3, 7])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """About so many items in a block of the largest layer."""
    size: int = request.param
    monkeypatch.setattr(convolutions_module, "BLOCK_BYTES", size * 9 * 14 * 4 * 8)
    return size


@pytest.mark.parametrize("transposed", [False, True])
def test_training_equals_autograd_whatever_the_blocks(blocks: int, transposed: bool) -> None:
    ours, theirs = make(1, transposed), make(1, transposed)
    x, y = maps_of(7, transposed).requires_grad_(), maps_of(7, transposed).requires_grad_()
    out, expected = stacked(x, ours, True), plain(y, theirs, True)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-8, atol=1e-9)
    for mine, other in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        for (name, p), q in zip(mine.named_parameters(), other.parameters(), strict=True):
            assert p.grad is not None
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-8, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.usefixtures("blocks")
def test_running_statistics_are_those_of_the_module() -> None:
    ours, theirs = make(2), make(2)
    for n in (7, 5):
        stacked(maps_of(n), ours, True)
        plain(maps_of(n), theirs, True)
    for mine, other in zip(ours[1], theirs[1], strict=True):
        for (name, found), expected in zip(mine.named_buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("transposed", [False, True])
def test_evaluation_equals_the_modules_and_changes_nothing(transposed: bool) -> None:
    stack = make(3, transposed)
    before = copy.deepcopy([m.state_dict() for m in stack[1]])
    x = maps_of(4, transposed)
    found = stacked(x, stack, False)
    torch.testing.assert_close(found, plain(x, stack, False), rtol=1e-10, atol=1e-10)
    for old, module in zip(before, stack[1], strict=True):
        assert all(torch.equal(value, module.state_dict()[key]) for key, value in old.items())


def test_a_batch_without_gradients_is_as_good() -> None:
    stack = make(4)
    with torch.no_grad():
        out = stacked(maps_of(3), stack, True)
    assert not out.requires_grad
    torch.testing.assert_close(out, plain(maps_of(3), make(4), True), rtol=1e-10, atol=1e-10)


def test_single_precision_statistics_of_many_values_are_merged_without_loss() -> None:
    """A large mean against a small spread, over more values than single precision can sum."""
    stack = make(5)
    for module in [*stack[0], *stack[1]]:
        module.float()
    double = [[m.double() for m in copy.deepcopy(part)] for part in stack]
    x = (100 + torch.randn(400, 2, 40, 40, generator=torch.Generator().manual_seed(0))).contiguous()
    stacked(x, stack, True)
    plain(x.double(), (double[0], double[1]), True)
    for mine, other in zip(stack[1], double[1], strict=True):
        assert isinstance(mine, nn.BatchNorm2d)
        assert isinstance(other, nn.BatchNorm2d)
        torch.testing.assert_close(mine.running_var.double(), other.running_var, rtol=1e-4, atol=0)  # type: ignore[union-attr]


def test_under_autocast_the_plain_modules_run() -> None:
    stack = make(6)
    for module in [*stack[0], *stack[1]]:
        module.float()
    with torch.autocast("cpu", torch.bfloat16):
        out = stacked(maps_of(3).float(), stack, True)
    assert out.dtype == torch.bfloat16
    assert torch.isfinite(out).all()


def test_geometry_is_read_from_the_module() -> None:
    assert Geometry.of(nn.Conv2d(1, 2, 3, (1, 2), 1)) == Geometry(2, (3, 3), (1, 2), (1, 1))
    transposed = Geometry.of(nn.ConvTranspose2d(1, 2, 3, 2, 1, output_padding=(0, 1)))
    assert transposed == Geometry(2, (3, 3), (2, 2), (1, 1), True, (0, 1))


@pytest.mark.parametrize("transposed", [False, True])
def test_sizes_are_those_that_the_modules_make(transposed: bool) -> None:
    maps = maps_of(1, transposed)
    for module in make(0, transposed)[0]:
        made = module(maps)
        assert Geometry.of(module).size(maps.shape[1:]) == tuple(made.shape[1:])
        maps = made


def test_small_maps_take_the_plain_way_and_large_ones_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    real = convolutions_module._train_in_blocks

    def counting(*arguments: Any) -> Tensor:
        used.append(1)
        return real(*arguments)

    monkeypatch.setattr(convolutions_module, "_train_in_blocks", counting)
    small = stacked(maps_of(7), make(1), True)
    assert not used
    monkeypatch.setattr(convolutions_module, "BLOCK_BYTES", 9 * 14 * 4 * 8)
    large = stacked(maps_of(7), make(1), True)
    assert used
    torch.testing.assert_close(small, large, rtol=1e-10, atol=1e-10)
