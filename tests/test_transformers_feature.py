"""The transformers feature: parity with the library called by hand, lengths and padding, checkpoints, bad input."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from serbench.datasets.core.errors import SerbenchError
from serbench.features.core.feature_extractor import FeatureExtractor, FeatureRequest, build
from serbench.features.encoders.checkpoint import locate
from serbench.features.encoders.families import RANDOM, Geometry
from serbench.features.encoders.loading import load
from serbench.features.encoders.long_signals import Window, average, grid, windows
from serbench.features.transformers import chosen_layers

TINY = sorted(name for name in RANDOM if name.endswith("tiny"))
RATE = 16000
LENGTHS = (16000, 9000, 24123, 16000, 700, 30000)
TOLERANCE = 1e-4
"""What batching and padding may change."""


def save_random(name: str, folder: Path) -> Path:
    """A checkpoint written by the library itself; every weight and statistic random, so that no zero hides a fault."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    family, settings, preprocessor = RANDOM[name]
    config = transformers.AutoConfig.for_model(family, **settings)
    torch.manual_seed(len(name))
    model = MODEL_MAPPING[type(config)](config)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.is_floating_point() and key.split(".")[-1] in ("bias", "running_mean"):
                value.normal_(0.0, 0.3)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2.0)
    model.save_pretrained(folder)
    kind = {"whisper": "WhisperFeatureExtractor", "audio-spectrogram-transformer": "ASTFeatureExtractor"}
    getattr(transformers, kind.get(family, "Wav2Vec2FeatureExtractor"))(**preprocessor).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """name -> folder of a saved tiny checkpoint."""
    root = tmp_path_factory.mktemp("checkpoints")

    @functools.cache
    def folder(name: str) -> Path:
        return save_random(name, root / name)

    return folder


@pytest.fixture(autouse=True)
def _no_encoder_left() -> Iterator[None]:
    from serbench.features.transformers import _loaded

    yield
    _loaded.cache_clear()


def signals(lengths: tuple[int, ...] = LENGTHS) -> list[np.ndarray]:
    """Noise with a slow amplitude, so that a clip's mean, its variance and its ends all differ."""
    generator = np.random.default_rng(7)
    made = []
    for n in lengths:
        time = np.arange(n) / RATE
        made.append((0.1 * (1.2 + np.sin(9 * time)) * generator.standard_normal(n) + 0.02).astype(np.float32))
    return made


def extractor(name: str | Path, **settings: Any) -> FeatureExtractor:
    return build(FeatureRequest(f"transformers:{name}", tuple((k, str(v)) for k, v in settings.items())))


def by_hand(folder: Path, signal: np.ndarray) -> list[np.ndarray]:
    """Hidden states 0 .. N of one clip with transformers alone, each (frames, width)."""
    from transformers import AutoFeatureExtractor, AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    made = AutoFeatureExtractor.from_pretrained(folder)(signal, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        if model.config.model_type == "whisper":
            out = model.encoder(made["input_features"], output_hidden_states=True)
        else:
            out = model(made["input_values"], output_hidden_states=True)
    states = [*out.hidden_states[:-1], out.last_hidden_state]
    kept = []
    for state in (s[0].numpy() for s in states):
        if model.config.model_type == "whisper":
            kept.append(state[: -(-len(signal) // 320)])
        elif model.config.model_type == "audio-spectrogram-transformer":
            steps = (model.config.max_length - 16) // 10 + 1
            patches = state[2:].reshape(12, steps, -1).mean(axis=0)
            mel_frames = 1 + (len(signal) - 400) // 160
            kept.append(patches[: (mel_frames - 16) // 10 + 1])
        else:
            kept.append(state)
    return kept


@pytest.mark.parametrize("name", TINY)
def test_equals_transformers_called_by_hand(name: str, checkpoints: Any) -> None:
    folder = checkpoints(name)
    for signal in signals((16000, 24123)):
        truth = by_hand(folder, signal)
        found = extractor(folder, layers="all").extract(signal)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.concatenate(truth, axis=1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(extractor(folder).extract(signal), truth[-1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(extractor(folder, layers="1").extract(signal), truth[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", TINY)
def test_company_changes_no_vector(name: str, checkpoints: Any) -> None:
    made = extractor(checkpoints(name), layers="all", batch_seconds=60)
    together = made.extract_many(signals())
    for signal, found in zip(signals(), together, strict=True):
        alone = made.extract(signal)
        assert alone.shape == found.shape
        np.testing.assert_allclose(found, alone, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["wav2vec2-tiny", "data2vec-tiny", "hubert-batchnorm-tiny"])
def test_naive_padding_would_change_vectors(name: str, checkpoints: Any) -> None:
    """The rules are needed: the library's own padded batch, attention mask and all, gives other numbers."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(checkpoints(name)).eval()
    short, long = (torch.from_numpy(s) for s in signals((9000, 24000)))
    padded, mask = torch.zeros(2, 24000), torch.zeros(2, 24000, dtype=torch.long)
    padded[0, :9000], padded[1], mask[0, :9000], mask[1] = short, long, 1, 1
    with torch.no_grad():
        alone = model(short[None]).last_hidden_state[0]
        batched = model(padded, attention_mask=mask).last_hidden_state[0, : len(alone)]
    assert (alone - batched).abs().max() > 10 * TOLERANCE


def test_random_encoders_are_the_same_in_every_process_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.rand(1)
    torch.manual_seed(3)
    first = load(locate("random:wavlm-tiny")).state_dict()
    assert torch.rand(1) == before
    torch.manual_seed(99)
    again = load(locate("random:wavlm-tiny")).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", TINY)
def test_frames_and_fields_are_those_of_the_network(name: str) -> None:
    """`frames`, `hop` and `field` against the network itself: its output lengths, and which samples reach a frame."""
    source = locate(f"random:{name}")
    encoder, shape = load(source), source.geometry
    shortest = shape.field if shape.kind != "whisper" else 1
    for samples in (shortest, shape.field + shape.hop - 1, shape.field + shape.hop, 16000, 20001):
        found = encoder.inputs([np.zeros(samples, np.float32)])
        with torch.no_grad():
            states = encoder(found)
        if shape.kind == "waveform":
            assert states[0].shape[1] == shape.frames(samples)
        assert states[0].shape[1] >= shape.frames(samples)
        assert shape.frames(shape.samples(7)) == 7


def test_frame_centres_follow_a_click() -> None:
    """A click at a frame's stated centre moves that frame of the front end most (windows are symmetric)."""
    for name in ("wav2vec2-layer-tiny", "whisper-tiny"):
        source = locate(f"random:{name}")
        encoder, shape = load(source), source.geometry
        moved = []
        for frame in (20, 21):
            at = round(shape.centre_seconds(frame) * RATE)
            with torch.no_grad():
                base = torch.randn(32000, generator=torch.Generator().manual_seed(1)).numpy() * 0.05
                base[20000:] *= 10  # the loudest part, which Whisper's levels refer to, stays as it is
                clicked = base.copy()
                clicked[at - 40 : at + 40] += 0.2
                if shape.kind == "whisper":
                    states = [encoder(encoder.inputs([s]))[0][0] for s in (base, clicked)]
                else:
                    front = encoder.model.feature_extractor
                    states = [front(encoder.inputs([s]).values)[0].T for s in (base, clicked)]
            moved.append(int((states[1] - states[0]).norm(dim=1).argmax()))
        assert moved == [20, 21]


def test_windows_tile_a_signal_and_overlap() -> None:
    assert windows(10, 10, 4) == [Window(0, 10, 0, 10)]
    for frames in (11, 25, 99, 100, 101, 737):
        found = windows(frames, 20, 6)
        assert [w.keep for w in found] == [0, *[w.until for w in found[:-1]]]
        assert found[-1].until == frames == found[-1].stop
        assert all(w.stop - w.start == min(20, frames) and w.start <= w.keep < w.until <= w.stop for w in found)
        assert all(b.keep - b.start >= 3 and a.stop - a.until >= 3 for a, b in pairwise(found))


def test_long_signals_are_cut_into_windows_that_agree_with_the_whole(checkpoints: Any) -> None:
    """Layer 0 of a layer-norm encoder sees no further than its convolutions, so windows must give the same numbers."""
    folder, signal = checkpoints("wav2vec2-layer-tiny"), signals((120000,))[0]
    whole = extractor(folder, layers="0").extract(signal)
    cut = extractor(folder, layers="0", chunk_seconds=2, overlap_seconds=0.5).extract(signal)
    assert cut.shape == whole.shape == ((120000 - 345) // 320 + 1, 24)
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-5)
    top, cut_top = (extractor(folder, **s).extract(signal) for s in ({}, {"chunk_seconds": 2, "overlap_seconds": 0.5}))
    assert top.shape == cut_top.shape
    assert np.abs(top - cut_top).max() > TOLERANCE  # attention ends with the window


@pytest.mark.parametrize(("name", "frames"), [("whisper-tiny", 469), ("ast-tiny", 93)])
def test_windowed_encoders_take_longer_signals(name: str, frames: int, checkpoints: Any) -> None:
    signal = signals((150000,))[0]
    assert extractor(checkpoints(name)).extract(signal).shape == (frames, 24)


def test_short_signals_get_one_frame_by_zeros_behind_them(checkpoints: Any) -> None:
    from transformers import AutoModel

    folder, signal = checkpoints("wav2vec2-layer-tiny"), signals((200,))[0]
    unit = (signal - signal.mean()) / np.sqrt(signal.var() + 1e-7)
    with torch.no_grad():
        model = AutoModel.from_pretrained(folder).eval()
        truth = model(torch.from_numpy(np.pad(unit, (0, 145)))[None]).last_hidden_state[0].numpy()
    found = extractor(folder).extract(signal)
    assert found.shape == (1, 24)
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-5)
    assert np.isfinite(extractor(folder).extract(np.zeros(16000, np.float32))).all()
    with pytest.raises(SerbenchError, match="empty"):
        extractor(folder).extract(np.zeros(0, np.float32))


def test_pooling_and_averaging_are_what_they_say(checkpoints: Any) -> None:
    folder, signal = checkpoints("wav2vec2-tiny"), signals((40000,))[0]
    frames = extractor(folder, layers="all").extract(signal)
    mean = extractor(folder, layers="all", pooling="mean")
    np.testing.assert_allclose(mean.extract(signal), frames.mean(0)[None], rtol=0, atol=1e-5)
    both = extractor(folder, layers="0,2", pooling="mean+std")
    chosen = frames.reshape(-1, 3, 24)[:, [0, 2]].reshape(len(frames), -1)
    np.testing.assert_allclose(both.extract(signal)[0], np.concatenate([chosen.mean(0), chosen.std(0)]), atol=1e-5)
    assert (mean.hop_seconds, both.dim) == (None, 96)
    averaged = extractor(folder, layers="all", average_seconds=0.1)
    assert averaged.hop_seconds == 0.1
    centres = (np.arange(len(frames)) * 320 + 172.5) / RATE
    nearest = np.abs(centres[:, None] - np.arange(30) * 0.1).argmin(axis=1)
    truth = np.stack([frames[nearest == k].mean(0) for k in range(nearest[-1] + 1)])
    np.testing.assert_allclose(averaged.extract(signal), truth, rtol=0, atol=1e-5)


def test_times_without_a_frame_take_the_nearest() -> None:
    shape = Geometry("audio-spectrogram-transformer", "ast", RATE, 1, 1, 1600, 2800)  # centres 0.0875, 0.1875 ...
    found = average(torch.arange(4.0)[:, None], shape, 0.1)
    assert grid(4, shape, 0.1).tolist() == [1, 2, 3, 4]
    assert found[:, 0].tolist() == [0.0, 0.0, 1.0, 2.0, 3.0]


def test_layers_are_named_in_every_form() -> None:
    assert chosen_layers("last", 12) == (12,)
    assert chosen_layers("all", 2) == (0, 1, 2)
    assert chosen_layers("4-6,0", 12) == (0, 4, 5, 6)
    for wrong in ("13", "3-40", "first", "-1", "6-4", ""):
        with pytest.raises(SerbenchError, match="layers="):
            chosen_layers(wrong, 12)


def test_what_is_stated_of_the_frames(checkpoints: Any) -> None:
    made = extractor("random:wav2vec2-base", layers="all")
    assert (made.dim, made.hop_seconds, made.sampling_rate) == (13 * 768, 0.02, RATE)
    assert made.source.geometry.field / made.sampling_rate == 0.025
    assert extractor("random:ast-tiny").hop_seconds == 0.1
    assert (
        extractor(checkpoints("wav2vec2-tiny")).parameters
        == sum(
            v.numel() for k, v in load(locate("random:wav2vec2-tiny")).named_parameters() if "parametrizations" not in k
        )
        + 24 * 12 * 16
    )  # one weight of the positional convolution instead of its direction and magnitude


# What a checkpoint is.


def test_the_key_follows_the_weights_and_not_the_place(checkpoints: Any, tmp_path: Path) -> None:
    folder = checkpoints("wavlm-tiny")
    same = shutil.copytree(folder, tmp_path / "elsewhere" / folder.name)
    assert extractor(same).identity() == extractor(folder).identity()
    assert extractor(same).signature() == extractor(folder, device="cpu", batch_seconds=3).signature()
    assert extractor(same, layers="1").digest() != extractor(folder).digest()
    other = save_random("wavlm-tiny", tmp_path / "other" / folder.name)
    assert extractor(other).digest() == extractor(folder).digest()
    weights = torch_weights(other)
    weights["encoder.layer_norm.bias"][0] += 1e-3
    write_weights(other, weights)
    assert extractor(other).digest() != extractor(folder).digest()
    settings = json.loads((same / "preprocessor_config.json").read_text())
    (same / "preprocessor_config.json").write_text(json.dumps({**settings, "do_normalize": True}))
    assert extractor(same).digest() != extractor(folder).digest()


def torch_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def write_weights(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_repository_in_the_local_cache_is_known_by_its_commit(
    checkpoints: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    commit, hub = "0123456789abcdef0123456789abcdef01234567", tmp_path / "hub"
    repository = hub / "models--someone--tiny"
    shutil.copytree(checkpoints("hubert-tiny"), repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub))
    made = extractor("someone/tiny")
    assert dict(made.extra_identity()) == {"repository": "someone/tiny", "commit": commit}
    assert extractor("someone/tiny", revision=commit).digest() == made.digest()
    signal = signals((9000,))[0]
    np.testing.assert_array_equal(made.extract(signal), extractor(checkpoints("hubert-tiny")).extract(signal))
    with pytest.raises(SerbenchError, match=r"hf download someone/tiny --revision v2"):
        extractor("someone/tiny", revision="v2")


def test_heads_and_decoders_are_left_behind(checkpoints: Any, tmp_path: Path) -> None:
    from transformers import HubertForSequenceClassification, WhisperForConditionalGeneration

    signal = signals((9000,))[0]
    for name, kind in (
        ("hubert-tiny", HubertForSequenceClassification),
        ("whisper-tiny", WhisperForConditionalGeneration),
    ):
        folder = checkpoints(name)
        whole = kind.from_pretrained(folder)
        whole.save_pretrained(tmp_path / name)
        shutil.copy(folder / "preprocessor_config.json", tmp_path / name)
        np.testing.assert_array_equal(extractor(tmp_path / name).extract(signal), extractor(folder).extract(signal))


def test_half_precision_checkpoints_run_in_single_precision(checkpoints: Any, tmp_path: Path) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(checkpoints("wavlm-tiny"), dtype=torch.float16).save_pretrained(tmp_path / "half")
    shutil.copy(checkpoints("wavlm-tiny") / "preprocessor_config.json", tmp_path / "half")
    found = extractor(tmp_path / "half").extract(signals((9000,))[0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, extractor(checkpoints("wavlm-tiny")).extract(signals((9000,))[0]), atol=0.05)


# Bad input.


def test_an_encoder_that_is_not_there() -> None:
    with pytest.raises(SerbenchError, match=r"neither a folder.*hf download nobody/nothing"):
        extractor("nobody/nothing")
    with pytest.raises(SerbenchError, match=r"neither a folder './nowhere/at/all'"):
        extractor("./nowhere/at/all")
    with pytest.raises(SerbenchError, match=r"Did you mean 'random:wavlm-tiny'"):
        extractor("random:wavlm-tyni")
    with pytest.raises(SerbenchError, match=r"no encoder is named.*model.encoder=NAME"):
        build(FeatureRequest("transformers"))


def test_text_and_vision_checkpoints_are_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=10)).save_pretrained(tmp_path / "bert")
    ViTModel(ViTConfig(**sizes, image_size=32)).save_pretrained(tmp_path / "vit")
    for name in ("bert", "vit"):
        with pytest.raises(SerbenchError, match=rf"is a '{name}' model, which is no speech encoder.*wavlm"):
            extractor(tmp_path / name)


def test_pickled_weights_are_refused_with_the_lines_that_convert_them(checkpoints: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoints("wav2vec2-tiny"), tmp_path / "pickled")
    torch.save(torch_weights(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SerbenchError, match=r"pickle file \(pytorch_model.bin\)") as refused:
        extractor(folder)
    line = str(refused.value).split('python -c "', 1)[1].rsplit('"', 1)[0]
    exec(line.replace("'pickled-safetensors'", repr(str(tmp_path / "pickled-safetensors"))), {})
    signal = signals((9000,))[0]
    converted = extractor(tmp_path / "pickled-safetensors").extract(signal)
    np.testing.assert_array_equal(converted, extractor(checkpoints("wav2vec2-tiny")).extract(signal))


def test_incomplete_checkpoints_are_refused(checkpoints: Any, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return shutil.copytree(checkpoints("hubert-tiny"), tmp_path / name)

    (copy("config") / "config.json").unlink()
    with pytest.raises(SerbenchError, match=r"no config.json"):
        extractor(tmp_path / "config")
    (copy("broken") / "config.json").write_text("{")
    with pytest.raises(SerbenchError, match=r"config.json of .* can't be read"):
        extractor(tmp_path / "broken")
    (copy("preprocessor") / "preprocessor_config.json").unlink()
    with pytest.raises(SerbenchError, match=r"no preprocessor_config.json"):
        extractor(tmp_path / "preprocessor")
    (copy("weights") / "model.safetensors").unlink()
    with pytest.raises(SerbenchError, match=r"holds no weights"):
        extractor(tmp_path / "weights")
    weights = torch_weights(copy("lacking"))
    del weights["encoder.layers.1.feed_forward.output_dense.weight"]
    write_weights(tmp_path / "lacking", weights)
    with pytest.raises(SerbenchError, match=r"lacks 1 weights of a hubert encoder.*output_dense"):
        extractor(tmp_path / "lacking").prepare()
    (copy("damaged") / "model.safetensors").write_bytes(b"\x08" + b"\0" * 20)
    with pytest.raises(SerbenchError, match=r"can't be loaded"):
        extractor(tmp_path / "damaged").prepare()


def test_settings_that_do_not_fit_are_refused(checkpoints: Any) -> None:
    folder = checkpoints("wav2vec2-tiny")
    with pytest.raises(SerbenchError, match=r"layers='3'.*0 to 2"):
        extractor(folder, layers="3")
    with pytest.raises(SerbenchError, match=r"sampling_rate=8000 does not fit.*16000 Hz"):
        extractor(folder, sampling_rate=8000)
    assert extractor(folder, sampling_rate=RATE).sampling_rate == RATE
    with pytest.raises(SerbenchError, match=r"average_seconds=0.01.*0.02 s apart"):
        extractor(folder, average_seconds=0.01)
    with pytest.raises(SerbenchError, match=r"overlap_seconds=30.*window of 29.98 s"):
        extractor(folder, overlap_seconds=30)
    with pytest.raises(SerbenchError, match=r"normalise=yes has no meaning"):
        extractor(checkpoints("whisper-tiny"), normalise="yes")
    with pytest.raises(SerbenchError, match=r"has no revision 'v1'"):
        extractor(folder, revision="v1")
    with pytest.raises(SerbenchError, match=r"precision=float16 needs a graphics card"):
        extractor(folder, precision="float16", device="cpu").prepare()
    with pytest.raises(SerbenchError, match=r"feature.device='tpu'"):
        extractor(folder, device="tpu").prepare()


# A graphics card.


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
@pytest.mark.parametrize("name", TINY)
def test_a_card_agrees_with_the_processor_in_both_precisions(name: str, checkpoints: Any) -> None:
    folder = checkpoints(name)
    truth = extractor(folder, device="cpu").extract_many(signals())
    for precision, tolerance in (("float32", 1e-2), ("float16", 0.1)):
        found = extractor(folder, device="cuda", precision=precision).extract_many(signals())
        for a, b in zip(found, truth, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
