"""Convolutions over time with long kernels, by products of spectra (the convolution theorem).

A kernel of half a second has thousands of steps: computed step by step it costs as many products for every sample of
the result, by way of the spectra a few. The two agree up to rounding, gradients included.
"""

from __future__ import annotations

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional

from .layers import around

LONG = 128
"""Steps from which on a kernel goes by way of the spectra."""


def convolve(maps: Tensor, weight: Tensor) -> Tensor:
    """Maps (item, channel, time), zeros around them, with kernels (filter, channel, step): (item, filter, time)."""
    kernel = weight.shape[2]
    padded = functional.pad(maps, around(kernel))
    return functional.conv1d(padded, weight) if kernel < LONG else by_spectra(padded, weight)


def by_spectra(padded: Tensor, weight: Tensor) -> Tensor:
    """The places where the kernels fit into padded maps (item, channel, time): (item, filter, time - steps + 1)."""
    length, kernel = padded.shape[2], weight.shape[2]
    size = next_fast_len(length, real=True)
    with torch.autocast(padded.device.type, enabled=False):
        of_maps, of_kernels = torch.fft.rfft(padded.float(), size), torch.fft.rfft(weight.float(), size).conj()
        product = torch.einsum("ict,fct->ift", of_maps, of_kernels)
        whole: Tensor = torch.fft.irfft(product, size)
        return whole[:, :, : length - kernel + 1]
