"""Whisper's window, random weights of a given architecture, its last block, and features narrowed from the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import nn

from serbench.datasets.core.errors import SerbenchError
from serbench.features.cache.cache import FeatureCache
from serbench.features.core.feature_extractor import FeatureExtractor, FeatureRequest, build
from serbench.features.encoders.checkpoint import locate, windowed
from serbench.features.encoders.encoder import blocks
from serbench.features.encoders.families import RANDOM
from serbench.features.encoders.fast.last_block import swap_last_block
from serbench.features.encoders.loading import freeze_for_extraction, load
from serbench.features.extraction import batched
from serbench.features.extraction.extract import extract

NAME, RATE = "random:whisper-tiny", 16000
FULL, SHORT = 4.0, 2.5


def signal(seconds: float, seed: int = 3) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def made(**settings: object) -> FeatureExtractor:
    request = tuple((key, str(value)) for key, value in {"device": "cpu", **settings}.items())
    return build(FeatureRequest(f"transformers:{NAME}", request))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of whisper-tiny as transformers saves it; its weights are not those of `random:`."""
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperModel

    folder = tmp_path_factory.mktemp("whisper")
    torch.manual_seed(5)
    WhisperModel(WhisperConfig(**RANDOM["whisper-tiny"][1])).save_pretrained(folder)
    WhisperFeatureExtractor(**RANDOM["whisper-tiny"][2]).save_pretrained(folder)
    return folder


def test_a_shorter_window_is_the_library_fed_with_a_shorter_spectrogram() -> None:
    """The same network with the first positions alone, called by hand."""
    from transformers import WhisperFeatureExtractor

    own = load(locate(NAME))
    frames = round(SHORT * RATE) // 320
    mel = WhisperFeatureExtractor(**RANDOM["whisper-tiny"][2])(
        signal(1.7), sampling_rate=RATE, return_tensors="pt", max_length=round(SHORT * RATE)
    ).input_features
    assert mel.shape[-1] == 2 * frames
    network: Any = own.model
    with torch.no_grad():
        hidden = nn.functional.gelu(network.conv2(nn.functional.gelu(network.conv1(mel)))).transpose(1, 2)
        hidden = hidden + network.embed_positions.weight[:frames]
        for layer in network.layers:
            masks = {"layer_head_mask": None} if "layer_head_mask" in signature(layer.forward).parameters else {}
            out = layer(hidden, None, **masks)
            hidden = out[0] if isinstance(out, tuple) else out  # as releases of transformers before 5 have it
        truth = network.layer_norm(hidden)[0, :85].numpy()
    found = made(window_seconds=SHORT, overlap_seconds=1).extract(signal(1.7))
    assert found.shape == truth.shape
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-4)
    assert np.abs(found - made().extract(signal(1.7))).max() > 1e-3


def test_the_whole_window_changes_nothing_and_keeps_the_address_of_the_cache() -> None:
    plain, whole = made(), made(window_seconds=FULL)
    np.testing.assert_array_equal(plain.extract(signal(1.0)), whole.extract(signal(1.0)))
    assert "window_seconds" not in plain.identity()["config"]
    assert plain.signature() == made(window_seconds=0).signature() != made(window_seconds=3).signature()


def test_longer_signals_are_cut_into_windows_of_the_new_length() -> None:
    found = made(window_seconds=SHORT, overlap_seconds=1).extract(signal(3.9))
    first = made(window_seconds=SHORT, overlap_seconds=1).extract(signal(3.9)[: round(SHORT * RATE)])
    assert len(found) == 195
    np.testing.assert_allclose(found[:90], first[:90], rtol=0, atol=1e-4)


@pytest.mark.parametrize("seconds", [0.01, 4.1, 30])
def test_a_window_out_of_range_is_refused(seconds: float) -> None:
    with pytest.raises(SerbenchError, match=r"window_seconds=.*Expected 0\.02 to 4, the window"):
        windowed(locate(NAME), seconds)


def test_encoders_of_waveforms_have_no_window() -> None:
    with pytest.raises(SerbenchError, match="wav2vec2 encoder, and only Whisper"):
        windowed(locate("random:wav2vec2-tiny"), 3)


def test_random_weights_of_a_checkpoint_are_those_of_its_architecture(saved: Path) -> None:
    trained, control = locate(str(saved)), locate(f"random:{saved}")
    assert control.folder is None
    assert control.geometry == trained.geometry
    assert dict(control.identity)["random"] != dict(trained.identity)["weights"]
    named = load(locate(NAME)).state_dict()
    assert all(torch.equal(value, named[key]) for key, value in load(control).state_dict().items())
    assert not torch.equal(load(trained).model.conv1.weight, named["model.conv1.weight"])  # type: ignore[union-attr]


def test_random_weights_without_an_architecture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SerbenchError, match="random:whisper-tiny"):
        locate(f"random:{tmp_path}")


@pytest.mark.parametrize("lengths", [(1.2,), (0.7, 2.1, 1.4)])
def test_the_last_block_gives_the_kept_frames_their_numbers(lengths: tuple[float, ...]) -> None:
    encoder = freeze_for_extraction(load(locate(NAME)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in encoder.parameters():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
    inputs = encoder.inputs([signal(seconds, k) for k, seconds in enumerate(lengths)])
    truth = [state.clone() for state in encoder(inputs)]
    back = swap_last_block(encoder)
    assert back is not None
    widths: list[int] = []
    blocks(encoder)[-1].fc1.register_forward_hook(lambda _m, a, _o: widths.append(a[0].shape[1]))
    for found, expected in zip(encoder(inputs), truth, strict=True):
        assert found.shape == expected.shape == (len(lengths), max(encoder.frames(inputs)), 24)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert widths == [max(encoder.frames(inputs))]  # of 200 frames of the window
    back()
    encoder(inputs)
    assert widths[-1] == 200


def test_other_encoders_keep_their_last_block() -> None:
    assert swap_last_block(load(locate("random:wav2vec2-tiny"))) is None


@dataclass
class Calls:
    """How many signals were extracted."""

    signals: int = 0


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    counted, own = Calls(), batched._extract

    def counting(signals: Any, extractor: FeatureExtractor) -> Any:
        counted.signals += len(signals)
        return own(signals, extractor)

    monkeypatch.setattr(batched, "_extract", counting)
    return counted


@pytest.fixture
def rows(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    for k in range(3):
        soundfile.write(tmp_path / f"{k}.wav", signal(0.5 + 0.4 * k, k), RATE)
    return tmp_path, pd.DataFrame({"path": [f"{k}.wav" for k in range(3)]}, index=["a", "b", "c"])


SETTINGS: tuple[dict[str, str], ...] = (
    {"layers": "last"},
    {"layers": "0,2", "pooling": "mean"},
    {"layers": "all", "pooling": "mean+std"},
    {"layers": "1", "average_seconds": "0.1"},
)


@pytest.mark.parametrize("settings", SETTINGS)
def test_all_layers_are_extracted_once(
    settings: dict[str, str], rows: tuple[Path, pd.DataFrame], calls: Calls, tmp_path: Path
) -> None:
    """What the cache has of all layers is narrowed, to the bytes that an extraction of its own gives."""
    root, table = rows
    alone = extract(table, root, made(**settings), FeatureCache(tmp_path / "alone" / "features"))
    cache = FeatureCache(tmp_path / "shared" / "features")
    extract(table, root, made(layers="all"), cache)
    before = calls.signals
    found = extract(table, root, made(**settings), cache)
    assert calls.signals == before == 6
    for item in table.index:
        np.testing.assert_array_equal(found[item], alone[item])
    assert not found.failed


def test_pooled_layers_are_narrowed_too(rows: tuple[Path, pd.DataFrame], calls: Calls, tmp_path: Path) -> None:
    root, table = rows
    cache = FeatureCache(tmp_path / "features")
    every = extract(table, root, made(layers="all", pooling="mean+std"), cache)
    one = extract(table, root, made(layers="1", pooling="mean+std"), cache)
    assert calls.signals == 3
    for item in table.index:
        mean, std = every[item].reshape(2, 3, 24)[:, 1]
        np.testing.assert_array_equal(one[item][0], np.concatenate([mean, std]))
    frames = extract(table, root, made(layers="1"), cache)
    assert calls.signals == 6
    assert frames.shapes["c"][0] > 1


def test_a_narrower_feature_leaves_no_empty_section(rows: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    root, table = rows
    extract(table, root, made(), FeatureCache(tmp_path / "features"))
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_layers_study(
    saved: Path, miniature: Callable[..., Path], calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One extraction for each encoder; the files say what the records do; the figure has both."""
    from typer.testing import CliRunner

    from serbench.benchmarks.cli.app import app

    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    root = miniature("savee", utterances=28)
    flags = ["--set", "train.epochs=2", "--trials", "1", "--root", str(root), "--results", str(tmp_path / "results")]
    done = CliRunner().invoke(app, ["study", "layers", "--encoder", str(saved), "--dataset", "savee", *flags])
    assert done.exit_code == 0, done.output
    (csv,) = (tmp_path / "results" / "studies").glob("layers_savee_*.csv")
    table = pd.read_csv(csv)
    assert calls.signals == 2 * 28
    assert table["encoder"].tolist() == ["trained"] * 4 + ["random"] * 4
    assert table["layer"].tolist() == ["sum", "0", "1", "2"] * 2
    assert table["mean"].between(table["low"], table["high"]).all()
    weights = table[table["layer"].ne("sum")].groupby("encoder")["weight"].sum()
    assert weights.to_numpy() == pytest.approx(1, abs=1e-4)
    names = {path.suffix for path in csv.parent.iterdir()}
    assert names == {".csv", ".md", ".svg", ".png"}
    drawn = csv.with_suffix(".svg").read_text(encoding="utf-8")
    assert all(text in drawn for text in ("trained", "random", "sum of layers", "weight in the learned sum"))
