"""Counting the operations of products and convolutions that PyTorch runs.

The formulas are those of `torch.utils.flop_counter`; its own counter also follows the modules that are called, which
fails on parametrised weights in inference, and it does not know products of a matrix and a vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Counter(TorchDispatchMode):
    """Region in which operations are counted; two make a multiply-accumulate."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, or the parts of one that has no formula, and add it up."""
        given = kwargs or {}
        formula = _FORMULAS.get(function._overloadpacket)
        if formula is None and function is not torch.ops.prim.device.default:
            with self:
                parts = function.decompose(*args, **given)
            if parts is not NotImplemented:
                return parts
        result = function(*args, **given)
        if formula is not None:
            self.operations += int(formula(*args, **given, out_val=result))
        return result


def _matrix_vector(matrix: torch.Tensor, *_: Any, **__: Any) -> int:
    return 2 * matrix.numel()


_FORMULAS: dict[Any, Callable[..., Any]] = {
    **flop_registry,
    torch.ops.aten.mv: _matrix_vector,
    torch.ops.aten.dot: _matrix_vector,
}
