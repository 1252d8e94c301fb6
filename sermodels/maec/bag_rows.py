"""Bags of different sizes as rows, one per instance, bag after bag; and where each row goes in other layouts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """How the instances of a batch lie.

    Attributes
    ----------
    counts : instances of each bag, (bag,)
    rows : their sum
    longest : their maximum
    place : position of each row in (bag, instance) laid out with `longest` instances per bag, (row,)
    mask : (bag, longest), True where there is an instance
    packed : rows in the order of a packed sequence: first instances of all bags, longest bag first, then second ones
    unpacked : the inverse of `packed`
    batch_sizes : bags that have an instance 0, 1, 2 ..., on the CPU
    """

    counts: Tensor
    rows: int
    longest: int
    place: Tensor
    mask: Tensor
    packed: Tensor
    unpacked: Tensor
    batch_sizes: Tensor

    @classmethod
    def of(cls, counts: Tensor) -> Layout:
        """The layout of bags with `counts` instances, (bag,) int64."""
        device, counts = counts.device, counts.cpu()
        longest = int(counts.max()) if len(counts) else 0
        mask = torch.arange(longest)[None, :] < counts[:, None]
        place = mask.flatten().nonzero().flatten()
        bag, instance = place // max(longest, 1), place % max(longest, 1)
        rank = torch.argsort(torch.argsort(counts, descending=True, stable=True))
        packed = torch.argsort(instance * len(counts) + rank[bag])
        tensors = (counts, place, mask, packed, torch.argsort(packed))
        counts, place, mask, packed, unpacked = (t.to(device) for t in tensors)
        return cls(counts, len(place), longest, place, mask, packed, unpacked, mask.sum(0).cpu())

    def padded(self, rows: Tensor) -> Tensor:
        """Rows (row, feature) as (bag, longest, feature), zeros where there is no instance."""
        bags = len(self.counts)
        out = rows.new_zeros(bags * self.longest, rows.shape[1]).index_copy(0, self.place, rows)
        return out.reshape(bags, self.longest, rows.shape[1])

    def filled(self, rows: Tensor, instances: int) -> tuple[Tensor, Layout]:
        """The same bags filled up to `instances` with instances of zeros, and their layout."""
        full = Layout.of(torch.full_like(self.counts, instances))
        bag, instance = self.place // max(self.longest, 1), self.place % max(self.longest, 1)
        out = rows.new_zeros(full.rows, rows.shape[1])
        return out.index_copy(0, bag * instances + instance, rows), full

    def starts(self, window: int, hop: int) -> Tensor:
        """First frame of each instance in stretches of (count - 1) hop + window frames that lie end to end, (row,)."""
        lengths = torch.where(self.counts > 0, (self.counts - 1) * hop + window, 0)
        before = torch.cumsum(lengths, 0) - lengths
        bag, instance = self.place // max(self.longest, 1), self.place % max(self.longest, 1)
        return before[bag] + instance * hop
