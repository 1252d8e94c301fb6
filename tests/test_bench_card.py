"""What is measured on a graphics card, run on the processor at a small size; on a card, that no step waits for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from serbench.benchmarks.performance.parts import deepemocluster_card as card
from serbench.sermodels.deepemocluster.model import TINY

SMALL = replace(TINY, chunk_seconds=1.0, max_seconds=2.0, channels=(2,), strides=(16,), width=8)


def test_an_epoch_is_measured() -> None:
    config = replace(SMALL, train=replace(SMALL.train, batch_size=4))
    facts = card.epoch("cpu", "off", (12, 8, 4), 100, config)
    assert facts["seconds"] > 0
    assert facts["share_of_card"] > 0
    assert facts["waits_per_step"] == 0
    assert card.feature_pass("cpu", "bf16", 8, 100, config) > 0
    assert card.clustering("cpu", 2000) > 0


def test_products_are_those_of_the_layers() -> None:
    """One convolution of 2 maps with 3 x 3 and stride 16 over 62 x 128, then the layers of latent and heads."""
    rows, columns, width, clusters = 4, 8, 8, SMALL.clusters
    convolution = 2 * 9 * rows * columns
    latent = 2 * rows * columns * width
    heads = width * width + width * 1 + width * width + width * clusters
    assert card._products(SMALL, 62) == convolution + latent + heads


def test_without_a_card_there_are_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert card.rows() == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no graphics card")
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_no_step_waits_for_the_card(amp: str) -> None:
    assert card.waits_per_step("cuda", amp) == 0
