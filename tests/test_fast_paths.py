"""Every network that is computed faster than it is written gives what its definition gives, and its gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from serbench.datasets.schema.task import Task
from serbench.features.core.feature_table import FeatureTable
from serbench.sermodels import cnn_regressor
from serbench.sermodels.chunked.decoder import Decoder
from serbench.sermodels.chunked.fast import convolutions as stacks, shared_maps
from serbench.sermodels.chunked.network import Encoder, EncoderConfig
from serbench.sermodels.core.sermodel import Data
from serbench.sermodels.core.speed import as_written, computed_by
from serbench.sermodels.maec.bag_rows import Layout
from serbench.sermodels.maec.layers import BiGru, BlockConfig, Convolutions, can_share
from serbench.sermodels.semantic_fusion.fast import pieces
from serbench.sermodels.semantic_fusion.fast.convolutions import can_do_pieces
from serbench.sermodels.semantic_fusion.layers import ConvPool, PeepholeLstm

Case = tuple[nn.Module, tuple[Any, ...]]


def windows(kernel: int) -> Case:
    """MAEC's blocks over the windows of three bags."""
    config = BlockConfig(widths=(6, 5, 4), dilated_kernel=kernel)
    assert can_share(config)
    layout = Layout.of(torch.tensor([3, 1, 4]))
    return Convolutions(3, config), (torch.randn(70 + 50 + 80, 3), layout.starts(50, 10))


def gru(candidate: str) -> Case:
    """MAEC's GRU over bags of several lengths, one of them missing."""
    return BiGru(5, 8, candidate), (torch.randn(10, 5), Layout.of(torch.tensor([4, 0, 5, 1])))


def block(channels: int) -> Case:
    """A block of semantic fusion; half of the sound is silence."""
    layer, maps = ConvPool(channels, 7, 6, 5), torch.randn(3, 203, channels)
    maps[1, :100] = 0
    assert can_do_pieces(layer, maps)
    return layer, (maps,)


def lstm(clip: float) -> Case:
    """The LSTM of semantic fusion, with cells that reach their bound and others."""
    layer = PeepholeLstm(3, 4)
    layer.cell_clip = clip
    return layer, (torch.randn(2, 9, 3),)


def encoder() -> Case:
    """The convolutions of the DeepEmoCluster family."""
    config = EncoderConfig(channels=(4, 6, 6), strides=(1, 2, 1), width=9, dropout=0.0)
    return Encoder(15, 12, config), (torch.randn(7, 15, 12),)


def decoder() -> Case:
    """Their mirror."""
    return Decoder(6, 15, 12, (4, 6, 6), (1, 2, 1)), (torch.randn(7, 6),)


CASES: dict[str, Callable[[], Case]] = {
    "MAEC's blocks": lambda: windows(3),
    "MAEC's blocks as released": lambda: windows(1),
    "MAEC's GRU": lambda: gru("sigmoid"),
    "MAEC's GRU with a tanh": lambda: gru("tanh"),
    "semantic fusion's block": lambda: block(3),
    "semantic fusion's first block": lambda: block(1),
    "semantic fusion's LSTM": lambda: lstm(100.0),
    "semantic fusion's LSTM, clipped": lambda: lstm(0.3),
    "DeepEmoCluster's encoder": encoder,
    "CNN-AE's decoder": decoder,
}


def outcome(module: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Outputs, gradients of a random function of them for every parameter, and running statistics afterwards."""
    module.zero_grad()
    out = module(*inputs)
    (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)).sum().backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in module.parameters()]
    return [out.detach(), *gradients, *(b.double() for b in module.buffers())]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_it_is_its_definition(case: str, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2000)
    monkeypatch.setattr(stacks, "BLOCK_BYTES", 2 * 15 * 12 * 6 * 8)
    torch.manual_seed(5)
    module, given = CASES[case]()
    inputs = tuple(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in given)
    module.double().train(training)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    fast = outcome(module, inputs)
    module.load_state_dict(state)
    with as_written():
        defined = outcome(module, inputs)
    for quick, true in zip(fast, defined, strict=True):
        torch.testing.assert_close(quick, true, rtol=1e-8, atol=1e-9)


def test_sentences_whose_chunks_share_maps_are_their_chunks() -> None:
    task = Task("arousal", "regression", ("arousal",), scales={"arousal": (1.0, 7.0)})
    draw = np.random.default_rng(0)
    sound = {f"s{n}": draw.normal(size=(n, 12)).astype(np.float32) for n in (40, 90, 200)}
    items, labels = pd.DataFrame(index=list(sound)), draw.uniform(1, 7, (3, 1))
    data = Data(task, items, {"input": FeatureTable.from_arrays(sound, 0.016)}, labels)
    tiny = replace(cnn_regressor.TINY, train=replace(cnn_regressor.TINY.train, epochs=1), max_seconds=1.0)
    model = cnn_regressor.Model(tiny, task)
    model.fit(data, data, lambda gold, predicted: 0.0)
    assert shared_maps.can_share(model, model.network, None)
    fast = model.predict(data)
    with as_written():
        np.testing.assert_allclose(fast, model.predict(data), rtol=1e-5, atol=1e-5)


def test_what_is_fast_stands_in_where_it_may_and_nobody_asks_for_the_definition() -> None:
    @computed_by(lambda x: "fast", where=lambda x: x > 0)
    def told(x: int) -> str:
        """Says who computed it."""
        return "as written"

    assert (told(1), told(0)) == ("fast", "as written")
    with as_written():
        assert told(1) == "as written"
    assert told(1) == "fast"
    assert told.__doc__ == "Says who computed it."
