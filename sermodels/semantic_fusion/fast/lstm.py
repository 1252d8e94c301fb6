"""The LSTM with peepholes of `semantic_fusion/layers.py` with the gradients written out.

Left to automatic differentiation each frame records some twenty small operations; here the product with the inputs is
made once for all frames, a frame takes a dozen operations in place, forth and back, and the gradient of R is one
product at the end.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....features.core.process import one_thread

GATES = 4


def states_in_place(lstm: Any, inputs: Tensor) -> Tensor:
    """`PeepholeLstm.forward`."""
    steps = lstm.driven(inputs).to(lstm.kernel.dtype).transpose(0, 1)
    with torch.autocast(steps.device.type, enabled=False), one_thread(steps.device):
        states: Tensor = Recurrence.apply(  # type: ignore[no-untyped-call]
            steps, lstm.kernel[lstm.inputs :], lstm.peepholes, lstm.cell_clip
        )
    return states.transpose(0, 1)


class Recurrence(torch.autograd.Function):
    """States (frame, batch, units) from driven (frame, batch, 4 units), recurrent (units, 4 units) and peepholes."""

    @staticmethod
    def forward(ctx: Any, driven: Tensor, recurrent: Tensor, peepholes: Tensor, clip: float) -> Tensor:
        """The equations, frame by frame; cell states are clipped at `clip`."""
        frames, batch, width = driven.shape
        units = width // GATES
        gates = driven.clone(memory_format=torch.contiguous_format)
        cells, tanhs, states = (gates.new_empty(frames, batch, units) for _ in range(3))
        inner, outer = peepholes[:2].reshape(-1), peepholes[2]
        for t in range(frames):
            now = gates[t]
            if t:
                torch.addmm(now, states[t - 1], recurrent, out=now)
                now[:, : 2 * units].addcmul_(cells[t - 1].repeat(1, 2), inner)
            i, f, g, o = now.view(batch, GATES, units).unbind(1)
            now[:, : 2 * units].sigmoid_()
            g.tanh_()
            torch.mul(i, g, out=cells[t])
            if t:
                cells[t].addcmul_(f, cells[t - 1])
            cells[t].clamp_(-clip, clip)
            o.addcmul_(cells[t], outer).sigmoid_()
            torch.tanh(cells[t], out=tanhs[t])
            torch.mul(o, tanhs[t], out=states[t])
        ctx.save_for_backward(gates, cells, tanhs, states, recurrent, peepholes)
        ctx.clip = clip
        return states

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """See `_backward`."""
        with one_thread(gradient.device):
            return Recurrence._backward(ctx, gradient)

    @staticmethod
    def _backward(ctx: Any, gradient: Tensor) -> Any:
        """From the last frame to the first; all that is known of a gate's slope is computed for all frames at once."""
        gates, cells, tanhs, states, recurrent, peepholes = ctx.saved_tensors
        frames, batch, width = gates.shape
        units = width // GATES
        i, f, g, o = gates.view(frames, batch, GATES, units).unbind(2)
        before = torch.cat([torch.zeros_like(cells[:1]), cells[:-1]])
        slopes = torch.stack([g * i * (1 - i), before * f * (1 - f), i * (1 - g * g)], dim=2)
        of_output, of_cell = tanhs * o * (1 - o), o * (1 - tanhs * tanhs)
        within = cells.abs() < ctx.clip
        within = None if bool(within.all()) else within
        by_gates = torch.empty_like(gates)
        by_cell, by_state, back = torch.zeros_like(cells[0]), gradient[-1], recurrent.t()
        for t in range(frames - 1, -1, -1):
            now = by_gates[t].view(batch, GATES, units)
            torch.mul(by_state, of_output[t], out=now[:, 3])
            by_cell.addcmul_(by_state, of_cell[t]).addcmul_(now[:, 3], peepholes[2])
            if within is not None:
                by_cell.mul_(within[t])
            torch.mul(by_cell[:, None], slopes[t], out=now[:, :3])
            if t:
                by_cell.mul_(f[t]).addcmul_(now[:, 0], peepholes[0]).addcmul_(now[:, 1], peepholes[1])
                by_state = torch.addmm(gradient[t - 1], by_gates[t], back)
        by_recurrent = states[:-1].flatten(0, 1).t() @ by_gates[1:].flatten(0, 1)
        each = by_gates.view(frames, batch, GATES, units)
        sums = [(each[:, :, 0] * before), (each[:, :, 1] * before), (each[:, :, 3] * cells)]
        return by_gates, by_recurrent, torch.stack([s.sum((0, 1)) for s in sums]), None
