"""Pre-trained encoders through the command line: end to end, leak marks in the record, bad input, public recipes."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app, main
from serbench.features.encoders.checkpoint import locate
from serbench.features.encoders.loading import load
from serbench.features.encoders.long_signals import Recipe, _batches, windows
from serbench.results.record.folder import load_runs
from serbench.sermodels import probe
from serbench.sermodels.pretrained.known_corpora import KNOWN
from serbench.sermodels.transformer import model as transformer

RATE = 16000


def save_encoder(folder: Path, name: str = "wav2vec2-layer-tiny") -> Path:
    """A checkpoint as the library writes it."""
    from transformers import Wav2Vec2FeatureExtractor

    load(locate(f"random:{name}")).model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def serbench(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 27 clips in three partitions, two emotions that differ in pitch."""
    folder, generator, rows = tmp_path_factory.mktemp("clips"), np.random.default_rng(2), []
    for i in range(27):
        time = np.arange(6400 + 400 * i) / RATE
        tone = np.sin(2 * np.pi * (150, 400)[i % 2] * time) + 0.1 * generator.standard_normal(len(time))
        soundfile.write(folder / f"{i}.wav", 0.2 * tone, RATE)
        part = ("train", "dev", "test")[i // 9]
        rows.append(
            {
                "path": f"{i}.wav",
                "emotion": ("sadness", "anger")[i % 2],
                "arousal": 2 + 3 * (i % 2) + 0.1 * i,
                "valence": 4 - 0.1 * i,
                "speaker": f"{part}{i % 3}",
                "partition": part,
            }
        )
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    return folder / "clips.csv"


@pytest.mark.parametrize(
    ("model", "task"), [("probe", "emotion"), ("probe", "attributes"), ("transformer", "attributes")]
)
def test_the_command_runs_from_a_folder_to_a_leaderboard(model: str, task: str, clips: Path, tmp_path: Path) -> None:
    encoder = save_encoder(tmp_path / "encoder")
    done = serbench(
        "run",
        "--model",
        model,
        "--dataset",
        "table",
        "--root",
        clips,
        "--task",
        task,
        "--trials",
        "2",
        "--results",
        tmp_path / "results",
        "--threads",
        "1",
        "--set",
        f"model.encoder={encoder}",
        "--set",
        "train.epochs=3",
    )
    assert done.exit_code == 0, done.output
    found = next(r for r in load_runs(tmp_path / "results") if r.spec["model"]["name"] == model)
    units = found.units()
    assert [unit["status"] for unit in units] == ["done", "done"]
    assert {len(found.predictions(trial)) for trial in (0, 1)} == {9}
    facts = units[0]["facts"]["encoder"]
    assert (facts["family"], facts["hop_seconds"], facts["name"]) == ("wav2vec2", 0.02, str(encoder))
    assert len(facts["weights"]) == 64
    board = serbench("leaderboard", "--results", tmp_path / "results")
    assert board.exit_code == 0
    assert model in board.output


def test_an_encoder_that_saw_the_corpus_is_marked_in_record_and_signature(
    miniature: Callable[..., Path], tmp_path: Path
) -> None:
    iemocap = miniature("iemocap", utterances=100)
    for name in ("hubert-base-superb-er", "hubert-base"):
        encoder = save_encoder(tmp_path / name, "hubert-tiny")
        done = serbench(
            "run",
            "--model",
            "probe",
            "--dataset",
            "iemocap",
            "--root",
            iemocap,
            "--trials",
            "1",
            "--results",
            tmp_path / name / "results",
            "--threads",
            "1",
            "--set",
            f"model.encoder={encoder}",
            "--set",
            "train.epochs=1",
        )
        assert done.exit_code == 0, done.output
        [found] = [r for r in load_runs(tmp_path / name / "results") if r.spec["model"]["name"] == "probe"]
        marked = name.endswith("-er")
        assert ("encoder-saw:iemocap" in found.spec["labels"]) == marked
        assert ("encoder-saw:iemocap" in found.signature) == marked


def text_model(folder: Path) -> str:
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(**sizes, vocab_size=10)).save_pretrained(folder / "bert")
    return f"model.encoder={folder / 'bert'}"


def vision_model(folder: Path) -> str:
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTModel(ViTConfig(**sizes, image_size=32)).save_pretrained(folder / "vit")
    return f"model.encoder={folder / 'vit'}"


def pickled(folder: Path) -> str:
    encoder = save_encoder(folder / "old")
    torch.save({}, encoder / "pytorch_model.bin")
    (encoder / "model.safetensors").unlink()
    return f"model.encoder={encoder}"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (text_model, "no speech encoder"),
        (vision_model, "no speech encoder"),
        (pickled, "save_pretrained"),
        (lambda _: "model.encoder=nobody/nothing", "hf download nobody/nothing"),
        (lambda _: "model.layers=9", "Expected 0 to 2"),
        (lambda _: "feature.sampling_rate=8000", "trained at 16000 Hz"),
        (lambda _: "model.encoder=random:wav2vec2-tyni", "random:wav2vec2-tiny"),
    ],
)
def test_bad_input_ends_with_status_2_and_the_remedy(
    wrong: Callable[[Path], str],
    said: str,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [
        "serbench",
        "run",
        "--model",
        "probe",
        "--dataset",
        "table",
        "--root",
        clips,
        "--results",
        tmp_path / "r",
        "--set",
        "model.encoder=random:wav2vec2-tiny",
        "--set",
        wrong(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", [str(part) for part in command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = "".join(capsys.readouterr())
    assert said in " ".join(told.split())
    assert "Traceback" not in told


def test_windows_share_batches_by_length_and_within_the_limit() -> None:
    lengths = [16000, 9000, 24000, 15800, 700, 23000, 96000]
    signals = [np.zeros(n, np.float32) for n in lengths]
    for name, fill in (("wav2vec2-tiny", 0.9), ("conformer-tiny", 0.0)):
        shape = locate(f"random:{name}").geometry
        pieces = [(i, w) for i, n in enumerate(lengths) for w in windows(shape.frames(n), 1499, 100)]
        found = [[i for i, _ in batch] for batch in _batches(pieces, signals, shape, Recipe((2,), True, fill=fill))]
        assert [lengths[i] for batch in found for i in batch] == sorted(lengths, reverse=True)
        for batch in found:
            own = [lengths[i] for i in batch]
            assert max(own) * len(own) <= 320000
            assert min(own) >= fill * max(own)
            assert shape.mixes_lengths or len(set(own)) == 1
        assert [len(batch) for batch in found] == ([1, 2, 2, 1, 1] if fill else [1] * 7)


# Public recipes, as their sources state them.


def test_the_superb_preset() -> None:
    """s3prl: Adam 1e-4, 8 utterances times 4, 30,000 steps; a fold of IEMOCAP trains on about 3,548."""
    c = probe.PRESETS["superb"]
    t = c.train
    assert (c.layers, c.projection, c.activation, c.pooling, c.hidden) == ("all", 256, "none", "mean", 0)
    assert (t.optimiser, t.learning_rate, t.batch_size, t.clip_norm) == ("adam", 1e-4, 8 * 4, 1.0)
    assert t.epochs * -(-3548 // t.batch_size) == pytest.approx(30_000, rel=0.01)
    assert (c.standardise, c.utterance_norm) == (False, False)


def test_the_emobox_preset() -> None:
    c = probe.PRESETS["emobox"]
    t = c.train
    assert (c.layers, c.projection, c.activation, c.pooling, c.hidden) == ("last", 256, "relu", "mean", 0)
    assert (t.optimiser, t.learning_rate, t.batch_size, t.epochs, t.warmup_epochs) == ("adam", 1e-4, 32, 20, 10.0)
    assert (t.schedule, t.patience, c.standardise, c.utterance_norm) == ("late-linear", 0, False, False)


def test_the_challenge_preset() -> None:
    c = transformer.PRESETS["msp-podcast"]
    t = c.train
    assert (c.encoder, c.pooling, c.hidden, c.dropout) == ("microsoft/wavlm-large", "attentive", 1024, 0.5)
    assert (t.optimiser, t.learning_rate, c.encoder_rate, t.weight_decay) == ("adamw", 1e-5, 1e-5, 0.01)
    assert (t.batch_size, c.parts, t.epochs, c.max_seconds, c.crop) == (32, 4, 20, 12.0, "start")
    assert (c.freeze_front_end, c.normalise, c.class_weights) == (True, "corpus", "balanced")


def test_each_preset_names_its_source() -> None:
    for module, sources in (
        (probe, ("2105.01051", "2406.07162", "s3prl", "EmoBox")),
        (transformer, ("MSP-Podcast_Challenge", "Odyssey 2024")),
    ):
        for source in sources:
            assert source in (module.__doc__ or "")
        assert all(name in (module.__doc__ or "") for name in module.PRESETS)


@pytest.mark.slow
def test_real_speech_from_the_command_line(test_data: Path, tmp_path: Path) -> None:
    """EMO-DB, a tiny encoder saved to disk, all folds: every utterance predicted, clearly above chance."""
    encoder = save_encoder(tmp_path / "encoder")
    done = serbench(
        "run",
        "--model",
        "probe",
        "--dataset",
        "emodb",
        "--root",
        test_data / "emodb",
        "--trials",
        "1",
        "--results",
        tmp_path / "results",
        "--threads",
        "1",
        "--set",
        f"model.encoder={encoder}",
        "--set",
        "train.epochs=25",
    )
    assert done.exit_code == 0, done.output
    [found] = [r for r in load_runs(tmp_path / "results") if r.spec["model"]["name"] == "probe"]
    assert all(unit["status"] == "done" for unit in found.units())
    predicted = found.predictions(0)
    assert len(predicted) == 535
    assert (predicted["gold"] == predicted["predicted"]).mean() > 0.3
    cost = found.units()[0]["cost"]
    assert cost["feature_parameters"] > 10_000
    assert cost["macs_per_second"] > 1e6
    json.dumps(cost)
    shutil.rmtree(tmp_path / "results")


def test_the_page_lists_the_known_encoders_and_every_preset() -> None:
    page = (Path(__file__).parents[1] / "docs" / "transformers.md").read_text(encoding="utf-8")
    rows = {
        cells[0].strip().strip("`").replace("\\|", "|"): cells[1].strip()
        for line in page.splitlines()
        if line.startswith("| `")
        for cells in [re.split(r"(?<!\\)\|", line)[1:-1]]
    }
    for pattern, corpora in KNOWN.items():
        assert rows[pattern] == ", ".join(corpora)
    for module in (probe, transformer):
        name = module.__name__.split(".")[2]
        assert {name if preset == "default" else f"{name}:{preset}" for preset in module.PRESETS} <= set(rows)


def test_extraction_says_how_many_times_real_time_it_takes(clips: Path, tmp_path: Path) -> None:
    done = serbench(
        "extract",
        "transformers:random:hubert-tiny",
        "--dataset",
        "table",
        "--root",
        clips,
        "--set",
        "layers=0-1",
        "--set",
        "batch_seconds=7",
        "--out",
        tmp_path / "states.npz",
    )
    assert done.exit_code == 0, done.output
    assert "27 made or found, 0 failed" in done.output
    assert re.search(r"\d x real time", done.output)
    with np.load(tmp_path / "states.npz") as arrays:
        assert len(arrays.files) == 27
        assert {arrays[name].shape[1] for name in arrays.files} == {2 * 24}
