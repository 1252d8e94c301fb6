"""Maps shared by overlapping chunks equal those of the chunks taken by themselves, for any stack, length and step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from serbench.sermodels.chunked.fast.shared_maps import Folded, _shared, best_depth, chunk_maps, reaches
from serbench.sermodels.chunked.network import STRIDES, EncoderConfig
from serbench.sermodels.inputs.chunks import Chunking

STACKS = {
    "release": ((4, 4, 6, 6, 8, 8, 8), STRIDES), "small": ((4, 6, 6, 8, 8), (2, 2, 1, 2, 2)),
    "threes": ((4, 5), (3, 1)), "one": ((3,), (1,)), "flat": ((4, 4, 4), (1, 1, 1)), "four": ((4, 3), (4, 4)),
}  # fmt: skip


def modules(stack: str) -> tuple[list[nn.Conv2d], list[nn.BatchNorm2d]]:
    channels, strides = STACKS[stack]
    torch.manual_seed(3)
    shapes = zip((1, *channels[:-1]), channels, strides, strict=True)
    convolutions = [nn.Conv2d(i, o, 3, s, 1) for i, o, s in shapes]
    norms = [nn.BatchNorm2d(o) for o in channels]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return convolutions, norms


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize(("length", "count"), [(62, 11), (15, 2), (16, 5), (7, 3), (62, 1), (31, 4)])
@pytest.mark.parametrize("rule", ["floor", "round"])
@torch.no_grad()
def test_shared_maps_are_the_chunks_own(stack: str, length: int, count: int, rule: str) -> None:
    convolutions, norms = modules(stack)
    layers = [Folded.of(c, n) for c, n in zip(convolutions, norms, strict=True)]
    plain = nn.Sequential(*[m for c, n in zip(convolutions, norms, strict=True) for m in (c, n, nn.ReLU())]).eval()
    reach = reaches(length, [layer.stride for layer in layers])
    for total in (length, length + 1, length + 13, 2 * length + 5, 9 * length):
        frames = torch.randn(total, 10, generator=torch.Generator().manual_seed(total))
        starts = Chunking(length, count, rule).starts([total])[0]
        expected = plain(torch.stack([frames[s : s + length] for s in starts])[:, None])
        scale = expected.abs().max().item()
        torch.testing.assert_close(chunk_maps(frames, starts, length, layers), expected, rtol=0, atol=1e-5 * scale)
        for depth in range(1, len(layers) + 1):
            if reach[depth].low > reach[depth].high:
                break
            maps = _shared(frames, starts, layers[:depth], reach)
            for layer in layers[depth:]:
                maps = layer(maps)
            torch.testing.assert_close(maps, expected, rtol=0, atol=1e-5 * scale)


def test_rows_that_see_no_padding_are_counted_right() -> None:
    """A chunk of ones through kernels of ones: rows that see padding are smaller than those in the middle."""
    for strides in (STRIDES, (3, 1), (2, 2, 2)):
        maps = torch.ones(1, 1, 62, 64, dtype=torch.float64)
        for k, reach in enumerate(reaches(62, strides)):
            if k:
                kernel = torch.ones(1, 1, 3, 3, dtype=torch.float64)
                maps = nn.functional.conv2d(maps, kernel, stride=strides[k - 1], padding=1)
            assert maps.shape[2] == reach.rows
            column = maps[0, 0, :, maps.shape[3] // 2]
            full = torch.nonzero(column == 9.0**k).flatten().tolist()
            assert full == list(range(reach.low, reach.high + 1))
            if not full:
                break


def test_how_much_is_shared_follows_the_overlap() -> None:
    config = EncoderConfig()
    shapes = zip((1, *config.channels[:-1]), config.channels, config.strides, strict=True)
    layers = [Folded(torch.empty(o, i, 3, 3), torch.empty(o), s) for i, o, s in shapes]
    reach = reaches(62, config.strides)
    depths = [best_depth(t, Chunking(62, 11).starts([t])[0], layers, reach, 128) for t in (62, 174, 300, 688, 2000)]
    assert depths[0] >= depths[1] >= depths[2] > depths[3] == depths[4] == 0
    assert best_depth(500, np.array([0]), layers, reach, 128) == 0, "a single chunk has no company"
