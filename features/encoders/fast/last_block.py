"""Whisper's last block for the frames that are kept: all frames of a window are looked at, few of them are asked.

An utterance of 3 s fills a tenth of Whisper's window of 30 s, and what the last block makes of the silence behind it is
thrown away. Keys and values are needed of every frame; queries, the attention's output and the layers behind it only of
those that are kept. That spares most of one block in six at base size, and changes no number but by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import Tensor, nn

from ..encoder import SpeechEncoder, blocks
from ..families import WHISPER

_PARTS = ("self_attn", "self_attn_layer_norm", "final_layer_norm", "fc1", "fc2", "activation_fn")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj", "num_heads", "scaling")


def swap_last_block(encoder: SpeechEncoder) -> Callable[[], None] | None:
    """Let the last block of a Whisper encoder compute the kept frames alone; returns what puts it back.

    None, and nothing changed, for another family and for a block that is not the known one.
    """
    block: Any = blocks(encoder)[-1]
    if encoder.geometry.kind != WHISPER or not _known(block):
        return None
    own = block.forward
    paired = "layer_head_mask" in signature(own).parameters  # before release 5, with the attention's weights or None

    def forward(hidden: Tensor, *_arguments: Any, **_named: Any) -> Any:
        frames = last_frames(block, hidden, encoder.longest)
        return (frames, None) if paired else frames

    block.forward = forward

    def back() -> None:
        block.forward = own

    return back


def last_frames(block: Any, hidden: Tensor, frames: int) -> Tensor:
    """The first frames (batch, frames, width) of what a block makes of (batch, time, width)."""
    attention, normed = block.self_attn, block.self_attn_layer_norm(hidden)
    apart = (len(hidden), -1, attention.num_heads, attention.q_proj.out_features // attention.num_heads)
    q = attention.q_proj(normed[:, :frames].contiguous()) * attention.scaling
    q, k, v = (x.view(apart).transpose(1, 2) for x in (q, attention.k_proj(normed), attention.v_proj(normed)))
    attended = nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0)
    kept: Tensor = hidden[:, :frames] + attention.out_proj(attended.transpose(1, 2).flatten(2))
    return kept + block.fc2(block.activation_fn(block.fc1(block.final_layer_norm(kept))))  # type: ignore[no-any-return]


def _known(block: Any) -> bool:
    """Whether a block has the parts of transformers' Whisper encoder, and no others that hold weights."""
    attention = getattr(block, "self_attn", None)
    parts = all(hasattr(block, name) for name in _PARTS) and all(hasattr(attention, name) for name in _PROJECTIONS)
    return parts and {name for name, _ in block.named_children()} == set(_PARTS)
