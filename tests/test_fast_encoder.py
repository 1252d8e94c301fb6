"""The faster parts of encoders on a processor: equal to the plain ones, left out where a structure is another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from serbench.features.core.feature_extractor import FeatureRequest, build
from serbench.features.encoders.checkpoint import locate
from serbench.features.encoders.encoder import SpeechEncoder, blocks
from serbench.features.encoders.families import RANDOM
from serbench.features.encoders.fast import on_processor
from serbench.features.encoders.fast.on_processor import FrontEnd, accelerate
from serbench.features.encoders.loading import freeze_for_extraction, load
from serbench.features.encoders.long_signals import Recipe, encode, in_streams
from serbench.features.encoders.plain import plain_networks

TINY = sorted(name for name in RANDOM if name.endswith("tiny"))
LENGTHS = (16000, 9000, 24123, 16000, 700, 30000)
packing = pytest.mark.skipif(not on_processor.packs(), reason="this processor or build of torch has no packed product")


def signals(lengths: tuple[int, ...] = LENGTHS) -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    return [(0.1 * generator.standard_normal(n) + 0.02).astype(np.float32) for n in lengths]


def shaken(name: str) -> SpeechEncoder:
    """A random encoder in which no bias, scale or statistic is its neutral value."""
    encoder = freeze_for_extraction(load(locate(f"random:{name}")))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            if value.is_floating_point() and value.dim() == 1:
                value.add_(0.3 * torch.rand(value.shape, generator=generator))
    return encoder


def features(encoder: SpeechEncoder, fill: float = 0.0) -> list[np.ndarray]:
    recipe = Recipe(tuple(range(encoder.geometry.layers + 1)), True, fill=fill)
    made = dict(encode(encoder, signals(), recipe, torch.device("cpu"), torch.float32))
    return [made[i] for i in range(len(LENGTHS))]


@packing
@pytest.mark.parametrize("name", TINY)
def test_every_family_keeps_its_numbers_in_mixed_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_processor, "LEAST_WEIGHTS", 0)
    monkeypatch.setattr(on_processor, "BLOCK_ROWS", 7)
    encoder = shaken(name)
    truth, plain = features(encoder), dict(encoder.__dict__)
    accelerate(encoder)
    packed = [m for m in encoder.modules() if type(m) is nn.Linear and m.weight.is_mkldnn]
    own = [m for m in encoder.modules() if type(m) is nn.Linear and not m.weight.is_mkldnn]
    assert len(packed) >= 12
    assert not own
    if encoder.geometry.kind == "waveform":
        assert isinstance(encoder.convolve, FrontEnd)
        assert not isinstance(plain["convolve"], FrontEnd)
    for found, expected in zip(features(encoder), truth, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert sum(p.numel() for p in encoder.parameters()) == sum(p.numel() for p in shaken(name).parameters())


@pytest.mark.parametrize("name", ["wav2vec2-tiny", "wav2vec2-layer-tiny", "data2vec-tiny"])
@pytest.mark.parametrize("rows", [3, 128])
def test_the_front_end_equals_the_plain_convolutions(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_processor, "BLOCK_ROWS", rows)
    module: Any = shaken(name).model.feature_extractor
    front, field = FrontEnd.of(module), locate(f"random:{name}").geometry.field
    assert front is not None
    assert front.blocked == 2
    generator = torch.Generator().manual_seed(1)
    for samples in (field, field + 1, field + 319, field + 320, 16000, 33333):
        values = torch.randn(2, samples, generator=generator) * torch.tensor([[0.01], [1.0]]) + 0.1
        with torch.inference_mode():
            truth = load(locate(f"random:{name}")).model.feature_extractor  # shares nothing with `front`
            truth.load_state_dict(module.state_dict())
            torch.testing.assert_close(front(values), truth(values), rtol=0, atol=2e-5)


def test_silence_and_a_constant_are_finite() -> None:
    front = FrontEnd.of(load(locate("random:wav2vec2-tiny")).model.feature_extractor)  # type: ignore[arg-type]
    assert front is not None
    with torch.inference_mode():
        assert torch.isfinite(front(torch.zeros(1, 8000))).all()
        assert torch.isfinite(front(torch.full((1, 8000), 0.7))).all()


def test_a_quiet_signal_on_a_large_offset_keeps_its_digits() -> None:
    """Against the plain convolutions in double precision."""
    module: Any = shaken("wavlm-tiny").model.feature_extractor
    values = 0.7 + 1e-4 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = FrontEnd.of(module)(values)  # type: ignore[misc]
        truth = module.double()(values.double())
    torch.testing.assert_close(found.double(), truth, rtol=0, atol=1e-4)


class Doubled(nn.Module):
    """Adds a step that the known front ends do not have."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.conv_layers, self.gain = inner.conv_layers, nn.Linear(1, 1)


def test_another_structure_is_left_alone() -> None:
    def front() -> Any:
        return load(locate("random:wav2vec2-tiny")).model.feature_extractor

    assert FrontEnd.of(front()) is not None
    assert FrontEnd.of(nn.Identity()) is None
    assert FrontEnd.of(Doubled(front())) is None
    for change in (
        lambda m: setattr(m.conv_layers[1].conv, "padding", (1,)),
        lambda m: setattr(m.conv_layers[1].conv, "dilation", (2,)),
        lambda m: setattr(m.conv_layers[2], "activation", nn.Softmax(dim=1)),
        lambda m: setattr(m.conv_layers[0], "layer_norm", nn.GroupNorm(4, 16)),
        lambda m: setattr(m.conv_layers[1], "layer_norm", nn.BatchNorm1d(16)),
    ):
        module = front()
        change(module)
        assert FrontEnd.of(module) is None


def test_parts_that_change_the_numbers_are_taken_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_processor, "LEAST_WEIGHTS", 0)

    def zeros(rows, weight, bias):
        return rows.new_zeros(*rows.shape[:-1], len(weight))

    monkeypatch.setattr(on_processor, "product", zeros)
    encoder = shaken("wavlm-tiny")
    truth = features(encoder)
    accelerate(encoder)
    assert not isinstance(encoder.convolve, FrontEnd)
    assert all(np.array_equal(a, b) for a, b in zip(features(encoder), truth, strict=True))


def test_an_operation_that_fails_is_taken_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> torch.Tensor:
        raise NotImplementedError("no such kernel here")

    monkeypatch.setattr(on_processor, "LEAST_WEIGHTS", 0)
    monkeypatch.setattr(on_processor, "product", fails)
    encoder = accelerate(shaken("hubert-tiny"))
    assert all(np.isfinite(found).all() for found in features(encoder))


@pytest.mark.parametrize("name", TINY)
def test_blocks_above_the_highest_layer_are_not_computed(name: str) -> None:
    encoder = load(locate(f"random:{name}"))
    ran: list[int] = []
    for k, block in enumerate(blocks(encoder)):
        block.register_forward_hook(lambda _m, _i, _o, k=k: ran.append(k))
    with torch.inference_mode():
        inputs = encoder.inputs(signals((16000,)))
        whole = encoder(inputs)
        assert ran == [0, 1]
        ran.clear()
        some = encoder(inputs, layers=(0, 1))
    assert ran == [0]
    torch.testing.assert_close(some, whole[:2], rtol=0, atol=0)


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", ["wav2vec2-tiny", "wavlm-tiny", "whisper-tiny"])
def test_batches_side_by_side_give_the_numbers_of_one_after_the_other(name: str, three_threads: None) -> None:
    encoder = shaken(name)
    with plain_networks():  # one batch after the other
        truth = features(encoder, fill=0.9)
    for _ in range(3):
        for found, expected in zip(features(encoder, fill=0.9), truth, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert torch.get_num_threads() == 3


def test_streams_keep_the_order_take_few_items_ahead_and_pass_errors_on(three_threads: None) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            taken.append(i)
            yield i

    for k, found in enumerate(in_streams(lambda i: (i, torch.get_num_threads()), items(), 20, 3)):
        assert found == (k, 1)
        assert len(taken) <= k + 5
    assert torch.get_num_threads() == 3

    def work(i: int) -> int:
        if i == 4:
            raise ValueError("four")
        return i

    with pytest.raises(ValueError, match="four"):
        list(in_streams(work, iter(range(20)), 20, 3))
    assert torch.get_num_threads() == 3


def test_the_feature_uses_the_fast_parts_and_plain_ones_where_operations_are_counted() -> None:
    made: Any = build(FeatureRequest("transformers:random:hubert-tiny", (("device", "cpu"),)))
    fast = made._encoder
    assert isinstance(fast.convolve, FrontEnd)
    with plain_networks():
        assert not isinstance(made._encoder.convolve, FrontEnd)
        truth = made.extract(signals((12000,))[0])
    np.testing.assert_allclose(made.extract(signals((12000,))[0]), truth, rtol=0, atol=1e-5)
