"""The same speech encoder, faster on a processor: linear layers, WavLM's attention, the convolutional front end.

Rewritings, each algebraically equal to what transformers computes, in float32 and for inference alone:

- Linear layers take weights that oneDNN has laid out for its own matrix product once, instead of in every call.
- WavLM's attention goes through torch's fused kernel.
- Whisper's last block computes the frames that are kept alone (`fast/last_block.py`).
- The front end of encoders of waveforms runs with channels last, so that a convolution of kernel k and stride s is a
  matrix product over k neighbouring rows, and in blocks of time that stay in the processor's cache. A group norm
  over time, one group per channel, would need all of time first. But its moments follow from those of the
  waveform: with u the vector of k samples under a kernel w, mean(w.u) = w.mean(u) and var(w.u) = w'cov(u)w; so the norm
  becomes part of the kernel, and the pass over the largest array of the network is gone.

A network whose parts are not recognised keeps its own; so does one whose numbers change by more than rounding when the
two are compared, as they are once after loading.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from ..encoder import Inputs, SpeechEncoder, no_mask_warnings
from ..families import WAVEFORM
from .last_block import swap_last_block

LEAST_WEIGHTS = 1 << 16
"""Smaller weight matrices stay as they are: calling them costs more than multiplying with them."""
BLOCK_ROWS = 128
"""Frames that leave the blocked layers at a time; with what leads to them they fill a cache of 1 to 2 MB."""
BLOCKED_HOP = 40
"""Layers are computed in blocks while their frames are less than so many samples apart; later ones are small."""
LARGEST_CHANGE = 1e-4
"""Share of the largest value by which the two ways may differ."""
ELEMENTWISE = ("GELUActivation", "GELU", "FastGELUActivation", "NewGELUActivation", "ReLU", "SiLU")
"""Activations that treat each number by itself, so that axes may lie in any order."""
_CHECK_SECONDS = (0.6, 0.4)


@torch.inference_mode()
def accelerate(encoder: SpeechEncoder) -> SpeechEncoder:
    """Put the faster parts into an encoder that was frozen for extraction; the encoder itself is changed."""
    batches = _noise(encoder)
    with _called(encoder) as linears:
        truth = [state for batch in batches for state in _states(encoder, batch)]
    undo: list[Callable[[], None]] = []
    try:
        for module in (m for m in encoder.modules() if _own_attention(m)):
            undo.append(_swap_attention(module))
            linears += [getattr(module, name) for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
        if (swapped := swap_last_block(encoder)) is not None:
            undo.append(swapped)
        own: Any = getattr(encoder.model, "feature_extractor", None)
        if encoder.geometry.kind == WAVEFORM and (front := FrontEnd.of(own)) is not None:
            undo.append(_swap_front_end(encoder, front))
        if packs():
            undo += [_pack(linear) for linear in linears if linear.weight.numel() >= LEAST_WEIGHTS]
        changed = [state for batch in batches for state in _states(encoder, batch)]
        same = all(_close(a, b) for a, b in zip(changed, truth, strict=True))
    except Exception:  # an operation that this build of torch lacks, or another release of transformers calls otherwise
        same = False
    for back in undo if not same else ():
        back()
    return encoder


def _noise(encoder: SpeechEncoder) -> list[Inputs]:
    """What the two ways are compared on: one signal, and two of different lengths where that makes a difference."""
    rate, generator = encoder.geometry.sampling_rate, torch.Generator()
    long, short = ((torch.rand(round(s * rate), generator=generator) - 0.5).numpy() for s in _CHECK_SECONDS)
    batches = [[short], *([[long, short]] if encoder.geometry.mixes_lengths and not encoder.geometry.window else [])]
    return [encoder.inputs(batch, normalise=encoder.normalises) for batch in batches]


def _states(encoder: SpeechEncoder, batch: Inputs) -> list[Tensor]:
    """All hidden states of each utterance of a batch, without what lies behind its end."""
    with no_mask_warnings():
        states = encoder(batch)
    return [state[row, :n] for state in states for row, n in enumerate(encoder.frames(batch))]


def packs() -> bool:
    """Whether this build of torch and this processor have oneDNN's product with weights in its own layout."""
    operations = all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise"))
    available = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return operations and available and platform.machine() in ("x86_64", "AMD64")


def packed(weight: Tensor) -> Tensor:
    """A weight (outputs, inputs) in oneDNN's layout."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)  # type: ignore[no-any-return]


def product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """rows (..., inputs) times a packed weight, plus bias: (..., outputs)."""
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], None)  # type: ignore[no-any-return]


class FrontEnd:
    """The convolutions of an encoder of waveforms, (batch, samples) to (batch, dim, frame), frame by frame in memory.

    Parameters
    ----------
    layers : each from rows (time, channel) to rows; the first from samples (time,)
    norm : the group norm behind the first convolution, if there is one
    """

    def __init__(self, layers: Sequence[FrontLayer], norm: nn.GroupNorm | None) -> None:
        self.layers, self.norm = tuple(layers), norm
        self.field, self.hop, self.blocked = 1, 1, 0
        for layer in self.layers:
            if self.blocked and self.hop * layer.stride >= BLOCKED_HOP:
                break
            self.field, self.hop = self.field + (layer.kernel - 1) * self.hop, self.hop * layer.stride
            self.blocked += 1

    @classmethod
    def of(cls, module: nn.Module) -> FrontEnd | None:
        """The convolutions of a feature extractor of transformers, None if they are not the known ones."""
        parts = list(getattr(module, "conv_layers", ()))
        if not parts or set(dict(module.named_children())) != {"conv_layers"}:
            return None
        layers: list[FrontLayer] = []
        norm: nn.GroupNorm | None = None
        for part in parts:
            conv, own, activation = (getattr(part, name, None) for name in ("conv", "layer_norm", "activation"))
            if isinstance(own, nn.GroupNorm) and not layers and own.num_groups == own.num_channels:
                norm, own = own, None
            if not _plain_convolution(conv) or not (own is None or isinstance(own, nn.LayerNorm)):
                return None
            if not isinstance(activation, nn.Module) or type(activation).__name__ not in ELEMENTWISE:
                return None
            if conv.in_channels != (layers[-1].width if layers else 1):
                return None
            layers.append(FrontLayer(conv, own, activation))
        return cls(layers, norm)

    def __call__(self, values: Tensor) -> Tensor:
        """(batch, dim, frame) of waveforms (batch, samples) of one length."""
        return torch.stack([self.rows(signal) for signal in values]).transpose(1, 2)

    def rows(self, signal: Tensor) -> Tensor:
        """Frames (frame, dim) of a waveform (samples,)."""
        first = self.layers[0]
        if self.norm is not None:
            signal = signal - signal.mean()  # the norm takes an offset away; without it, fewer digits are lost
            first = first.with_norm(signal, self.norm)
        low, high = (first, *self.layers[1 : self.blocked]), self.layers[self.blocked :]
        count = (len(signal) - self.field) // self.hop + 1
        frames = signal.new_empty(count, low[-1].width)
        for start in range(0, count, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, count)
            part = signal[start * self.hop : (stop - 1) * self.hop + self.field]
            for layer in low:
                part = layer(part)
            frames[start:stop] = part
        for layer in high:
            frames = layer(frames)
        return frames


class FrontLayer:
    """Convolution, norm over channels and activation, with time first: (time, inputs) to (time, outputs)."""

    def __init__(self, conv: nn.Conv1d, norm: nn.LayerNorm | None, activation: nn.Module) -> None:
        self.kernel, self.stride, self.width = conv.kernel_size[0], conv.stride[0], conv.out_channels
        self.bias, self.norm, self.activation = conv.bias, norm, activation
        weight = conv.weight.detach().permute(0, 2, 1).flatten(1).contiguous()  # (outputs, kernel x inputs)
        self.packed = conv.in_channels > 1 and weight.numel() >= LEAST_WEIGHTS and packs()
        self.weight = packed(weight) if self.packed else weight

    def with_norm(self, signal: Tensor, norm: nn.GroupNorm) -> FrontLayer:
        """This first layer with the norm of its outputs over the time of a waveform (samples,) put into its kernel."""
        taps = signal.unfold(0, self.kernel, self.stride).double()
        mean = taps.mean(0)
        apart = taps - mean
        covariance = apart.T @ apart / len(taps)
        weight = self.weight.double()
        variance = torch.einsum("oi,ij,oj->o", weight, covariance, weight)
        scale = (variance.clamp(min=0) + norm.eps).rsqrt()
        shift = torch.zeros_like(scale)
        if norm.affine:
            scale, shift = scale * norm.weight.double(), norm.bias.double()
        made = object.__new__(FrontLayer)
        made.__dict__ |= self.__dict__
        made.weight = weight * scale[:, None]
        made.bias = (shift - made.weight @ mean).float()  # a bias of its own goes with the mean
        made.weight = made.weight.float()
        return made

    def __call__(self, rows: Tensor) -> Tensor:
        """Outputs (time, width) of samples (time,) or rows (time, inputs)."""
        rows = rows.contiguous()
        inputs = rows[0].numel()
        count = (len(rows) - self.kernel) // self.stride + 1
        taps = rows.as_strided((count, self.kernel * inputs), (self.stride * inputs, 1))
        outputs = (product if self.packed else nn.functional.linear)(taps, self.weight, self.bias)
        if self.norm is not None:
            outputs = self.norm(outputs)
        return self.activation(outputs)  # type: ignore[no-any-return]


def _plain_convolution(conv: Any) -> TypeGuard[nn.Conv1d]:
    """Whether a module is a one-dimensional convolution without padding, dilation or groups."""
    if not isinstance(conv, nn.Conv1d):
        return False
    return (conv.padding, conv.dilation, conv.groups) == ((0,), (1,), 1)


@contextmanager
def _called(encoder: SpeechEncoder) -> Iterator[list[nn.Linear]]:
    """The linear layers that are called within; what else a network has may be used by its weights alone."""
    called: dict[int, nn.Linear] = {}
    linears: list[nn.Linear] = []
    hooks = [
        m.register_forward_hook(lambda m, *_: called.setdefault(id(m), m) and None)
        for m in encoder.modules()
        if type(m) is nn.Linear
    ]
    try:
        yield linears
    finally:
        linears += called.values()
        for hook in hooks:
            hook.remove()


def _own_attention(module: nn.Module) -> bool:
    """Whether a module is WavLM's attention, which hands its weights to a function of torch.

    That function multiplies time step by time step when there are several utterances, and holds all scores at once.
    """
    return type(module).__name__ == "WavLMAttention" and hasattr(module, "torch_multi_head_self_attention")


def _swap_attention(module: Any) -> Callable[[], None]:
    def attend(hidden: Tensor, attention_mask: Tensor | None, bias: Tensor, _: bool = False) -> tuple[Tensor, None]:
        """Attention with a gated bias: hidden (batch, frame, width), mask (batch, frame), bias (batch heads, t, t).

        transformers 4 also says whether the weights are wanted, which they never are.
        """
        apart = (len(hidden), -1, module.num_heads, module.head_dim)
        q, k, v = (part(hidden).view(apart).transpose(1, 2) for part in (module.q_proj, module.k_proj, module.v_proj))
        bias = bias.view(len(hidden), module.num_heads, *bias.shape[1:])
        if attention_mask is not None:
            bias = bias.masked_fill(attention_mask.ne(1)[:, None, None], -torch.inf)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return module.out_proj(attended.transpose(1, 2).flatten(2)), None

    module.torch_multi_head_self_attention = attend

    def back() -> None:
        del module.torch_multi_head_self_attention

    return back


def _pack(linear: nn.Linear) -> Callable[[], None]:
    """Let a linear layer use a packed weight, which takes the place of its own; returns what puts it back."""
    before = linear.weight
    linear.weight = nn.Parameter(packed(before), requires_grad=False)
    linear.forward = lambda input: product(input, linear.weight, linear.bias)  # type: ignore[method-assign]

    def back() -> None:
        linear.weight = before
        del linear.forward

    return back


def _swap_front_end(encoder: SpeechEncoder, front: FrontEnd) -> Callable[[], None]:
    before, encoder.convolve = encoder.convolve, front

    def back() -> None:
        encoder.convolve = before

    return back


def _close(changed: Tensor, truth: Tensor) -> bool:
    return bool((changed - truth).abs().max() <= LARGEST_CHANGE * truth.abs().max().clamp(min=1))
