"""Stacks of convolution, batch normalisation and ReLU, computed so that memory traffic does not rule the time.

Computed as `chunked/network.py` writes it, a training step on 704 chunks of 62 x 128 spends as much processor time on
getting, clearing and crossing gigabytes of temporary maps as on the convolutions. Three things bring that down, with
the same mathematics:

- maps are in channels-last order, which the kernels want;
- in evaluation mode, batch normalisation is folded into the convolution;
- in training mode on a CPU, when maps are large, a layer works through the batch in blocks that stay in the cache.
  Only the convolutions' outputs z are kept for the backward pass; normalised maps are made again from them. The
  statistics of batch normalisation are those of the whole batch, merged over the blocks in double precision
  (Chan, Golub and LeVeque 1983), so the result does not depend on the blocks beyond rounding.

With a = relu(gamma * zhat + beta), zhat = (z - mean) / sqrt(var + eps), P positions (batch, time, mel) per channel and
dy the gradient at the ReLU's input, batch normalisation passes back (Ioffe and Szegedy 2015, section 3)

    dz = gamma / sqrt(var + eps) * (dy - sum(dy) / P - zhat * sum(dy * zhat) / P).

The first factor times dy is stored as g; the rest is linear in z and is added when a block of dz is needed. The bias of
a convolution before batch normalisation has no effect, and its gradient is exactly 0 here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

aten = torch.ops.aten
BLOCK_BYTES = 28 * 2**20
"""Largest map of a block. The C library gives blocks above 32 MiB back to the system each time and gets them anew."""
NO_EPS = 1e-30
"""1 + NO_EPS is 1: torch 2.11 refuses a batch normalisation whose eps is 0."""


class Geometry(NamedTuple):
    """Geometry of one convolution or transposed convolution."""

    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    transposed: bool = False
    output_padding: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, module: nn.Module) -> Geometry:
        """The geometry of a module."""
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        assert isinstance(module.padding, tuple)
        kernel, stride, padding = _pair(module.kernel_size), _pair(module.stride), _pair(module.padding)
        extra = _pair(module.output_padding)
        return cls(module.out_channels, kernel, stride, padding, isinstance(module, nn.ConvTranspose2d), extra)

    def size(self, maps: Sequence[int]) -> tuple[int, int, int]:
        """(channel, time, mel) of what the layer makes of maps of such a size."""
        axes = zip(maps[1:], self.kernel, self.stride, self.padding, self.output_padding, strict=True)
        if self.transposed:
            time, mel = ((n - 1) * s - 2 * p + k + extra for n, k, s, p, extra in axes)
        else:
            time, mel = ((n + 2 * p - k) // s + 1 for n, k, s, p, _ in axes)
        return self.channels, time, mel

    def convolve(self, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(item, channel in, time, mel) -> (item, channel out, time, mel)."""
        out: Tensor = aten.convolution(
            maps, weight, bias, self.stride, self.padding, (1, 1), self.transposed, self.output_padding, 1
        )
        return out

    def backward(self, gradient: Tensor, maps: Tensor, weight: Tensor, want_maps: bool) -> tuple[Tensor, Tensor]:
        """Gradients for the maps (if wanted) and for the weight."""
        geometry = (self.stride, self.padding, (1, 1), self.transposed, self.output_padding, 1)
        by_maps, by_weight, _ = aten.convolution_backward(
            gradient, maps, weight, None, *geometry, (want_maps, True, False)
        )
        return by_maps, by_weight


@dataclass
class Norm:
    """Batch normalisation of one layer: scale and shift, and the whole batch's mean and population variance."""

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor
    eps: float
    positions: int
    """Values per channel in the batch."""

    def active(self, z: Tensor) -> Tensor:
        """relu(gamma * zhat + beta)."""
        normed = functional.batch_norm(z, self.mean, self.variance, self.gamma, self.beta, False, 0.0, self.eps)
        return functional.relu_(normed)

    def pull(self, dy: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """gamma / sqrt(var + eps) * dy, sum(dy * zhat), sum(dy) of a block."""
        pulled: tuple[Tensor, Tensor, Tensor] = aten.native_batch_norm_backward(
            dy, z, self.gamma, self.mean, self.variance, None, None, False, self.eps, (True, True, True)
        )
        return pulled

    def rest(self, dy_zhat: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
        """Factor and shift of the part of dz that is linear in z, from the sums over the whole batch."""
        inverse = (self.variance + self.eps).rsqrt()
        factor = -self.gamma * inverse.square() * dy_zhat / self.positions
        return factor, -self.gamma * inverse * dy / self.positions - factor * self.mean


def can_stack(maps: Tensor, convolutions: Iterable[nn.Module], norms: Iterable[nn.Module], slope: float = 0.0) -> bool:
    """Whether the layers are those that `fast_stack` computes: batch normalisation and ReLU behind each of some."""
    each = list(norms)
    return slope == 0 and bool(each) and all(isinstance(norm, nn.BatchNorm2d) for norm in each)


def fast_stack(
    maps: Tensor, convolutions: Iterable[nn.Module], norms: Iterable[nn.Module], slope: float = 0.0
) -> Tensor:
    """`convolution_stack` of `chunked/network.py`, where it `can_stack`; weights in channels-last order."""
    pairs = list(zip(convolutions, norms, strict=True))
    layers, training = [Geometry.of(convolution) for convolution, _ in pairs], pairs[0][1].training
    if training and _pays(maps, layers):
        return _train_in_blocks(maps, layers, pairs)
    for layer, (convolution, norm) in zip(layers, pairs, strict=True):
        z = norm(convolution(maps)) if training else layer.convolve(maps, *folded(convolution, norm))
        maps = functional.relu_(z)
    return maps


def _pays(maps: Tensor, layers: Sequence[Geometry]) -> bool:
    """Whether blocks are for this device and number format, and some layer's maps are too large for one block."""
    if maps.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    size: Sequence[int] = maps.shape[1:]
    for layer in layers:
        if len(_blocks(layer, len(maps), size, maps.element_size())) > 1:
            return True
        size = layer.size(size)
    return False


def _train_in_blocks(maps: Tensor, layers: list[Geometry], pairs: Sequence[tuple[nn.Module, nn.Module]]) -> Tensor:
    parameters = [p for module, norm in pairs for p in (module.weight, module.bias, norm.weight, norm.bias)]
    epsilons = [float(norm.eps) for _, norm in pairs if isinstance(norm, nn.BatchNorm2d)]
    batches: list[Norm] = []
    out: Tensor = _Blocks.apply(maps, layers, epsilons, batches, *parameters)  # type: ignore[no-untyped-call]
    for (_, norm), batch in zip(pairs, batches, strict=True):
        assert isinstance(norm, nn.BatchNorm2d)
        _update_running(norm, batch)
    return out


class _Blocks(torch.autograd.Function):
    """The stack in training mode, block by block; see the module's docstring for the equations."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, layers: list[Geometry], epsilons: list[float], norms: list[Norm], *parameters: Tensor
    ) -> Tensor:
        """Returns the last layer's active maps; `norms` takes them with the batch's statistics."""
        outputs: list[Tensor] = []
        weights, biases, gammas, betas = (parameters[k::4] for k in range(4))
        before = maps
        for k, layer in enumerate(layers):
            z, mean, variance = _layer_forward(layer, before, norms[-1] if k else None, weights[k], biases[k])
            norms.append(Norm(gammas[k], betas[k], mean, variance, epsilons[k], z.numel() // z.shape[1]))
            outputs.append(z)
            before = z
        active = norms[-1].active(before)
        ctx.save_for_backward(maps, active, *weights, *outputs)
        ctx.layers, ctx.norms = layers, list(norms)
        return active

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        """Gradients for the maps (where wanted) and for every parameter."""
        maps, active, *saved = ctx.saved_tensors
        layers, norms = ctx.layers, ctx.norms
        weights, outputs = saved[: len(layers)], saved[len(layers) :]
        pulled = norms[-1].pull(aten.threshold_backward(gradients[0], active, 0), outputs[-1])
        by_parameter: list[Any] = []
        for k in reversed(range(len(layers))):
            _, gamma_gradient, beta_gradient = pulled
            below = _Below(outputs[k - 1], norms[k - 1]) if k else _Below(maps, None)
            want = k > 0 or bool(ctx.needs_input_grad[0])
            weight_gradient, pulled = _layer_backward(layers[k], pulled, outputs[k], norms[k], weights[k], below, want)
            own = (weight_gradient, torch.zeros_like(beta_gradient), gamma_gradient, beta_gradient)
            by_parameter = [*own, *by_parameter]
        return (pulled[0], None, None, None, *by_parameter)


class _Below(NamedTuple):
    """What a layer reads: the maps below it, and the norm that makes them active (None: they are the input)."""

    maps: Tensor
    norm: Norm | None


def _layer_forward(
    layer: Geometry, below: Tensor, norm: Norm | None, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Convolution outputs z of the whole batch, with their mean and population variance per channel."""
    z: Tensor | None = None
    total: _Total | None = None
    blocks = _blocks(layer, len(below), below.shape[1:], below.element_size())
    for block in blocks:
        maps = below[block] if norm is None else norm.active(below[block])
        out = layer.convolve(maps, weight, bias)
        if z is None:
            shape = (below.shape[0], *out.shape[1:])
            z = out if len(blocks) == 1 else torch.empty(shape, dtype=out.dtype, memory_format=torch.channels_last)
        if len(blocks) > 1:
            z[block] = out
        mean, variance = aten.batch_norm_update_stats(out, None, None, 0.0)
        part = _Total(out.numel() // out.shape[1], mean.double(), variance.double())
        total = part if total is None else total.merge(part)
    assert z is not None
    assert total is not None
    return z, total.mean.to(z.dtype), total.variance.to(z.dtype)


def _layer_backward(
    layer: Geometry, pulled: Sequence[Tensor], z: Tensor, norm: Norm, weight: Tensor, below: _Below, want: bool
) -> tuple[Tensor, tuple[Any, Any, Any]]:
    """The weight's gradient, and what the layer below gets: its pulled gradient (or that of the input) and its sums.

    The pulled gradient of this layer is overwritten where the one below has its shape.
    """
    gradient, dy_zhat, dy = pulled
    factor, shift = norm.rest(dy_zhat, dy)
    zero, one = torch.zeros_like(factor), torch.ones_like(factor)
    lower = None if not want else gradient if gradient.shape == below.maps.shape else torch.empty_like(below.maps)
    weight_gradient = torch.zeros_like(weight)
    sums = (torch.zeros_like(dy[:0]), torch.zeros_like(dy[:0]))
    for block in _blocks(layer, len(z), below.maps.shape[1:], z.element_size()):
        rest = functional.batch_norm(z[block], zero, one, factor, shift, False, 0.0, NO_EPS)
        maps = below.maps[block] if below.norm is None else below.norm.active(below.maps[block])
        into, part = layer.backward(rest.add_(gradient[block]), maps, weight, want)
        weight_gradient += part
        if lower is None:
            continue
        if below.norm is not None:
            into, *more = below.norm.pull(aten.threshold_backward(into, maps, 0), below.maps[block])
            sums = (more[0], more[1]) if not len(sums[0]) else (sums[0] + more[0], sums[1] + more[1])
        lower[block] = into
    return weight_gradient, (lower, *sums)


class _Total(NamedTuple):
    """Number of values, mean and population variance per channel, in double precision."""

    n: int
    mean: Tensor
    variance: Tensor

    def merge(self, other: _Total) -> _Total:
        """Of both together."""
        n = self.n + other.n
        gap, share = other.mean - self.mean, other.n / n
        variance = self.variance * (1 - share) + other.variance * share + gap.square() * share * (1 - share)
        return _Total(n, self.mean + gap * share, variance)


def _blocks(layer: Geometry, count: int, below: Sequence[int], item_bytes: int) -> list[slice]:
    """Even blocks of `count` items, so that the larger of the maps read and made stays under `BLOCK_BYTES`."""
    largest = max(math.prod(below), math.prod(layer.size(below))) * item_bytes
    parts = min(count, max(1, -(-count * largest // BLOCK_BYTES)))
    return [slice(count * i // parts, count * (i + 1) // parts) for i in range(parts)]


def _update_running(norm: nn.BatchNorm2d, batch: Norm) -> None:
    """The exponential averages of the mean and of the unbiased variance, as `nn.BatchNorm2d` keeps them."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(batch.mean, norm.momentum)
        norm.running_var.lerp_(batch.variance * (batch.positions / max(batch.positions - 1, 1)), norm.momentum)


def folded(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of convolution and batch normalisation as one convolution, which evaluation mode allows."""
    assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert convolution.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    turned = isinstance(convolution, nn.ConvTranspose2d)
    weight = convolution.weight * (scale[None, :, None, None] if turned else scale[:, None, None, None])
    return weight, (convolution.bias - norm.running_mean) * scale + norm.bias


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1]))
