"""Shared fixtures. The checkout is taken off sys.path, so that tests see serbench as users do: installed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import soundfile

if TYPE_CHECKING:
    from serbench.datasets.schema.corpus import Corpus

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != CHECKOUT]


def pytest_configure(config: pytest.Config) -> None:
    """Workers beside each other take one thread and one processor each, if nothing else is said.

    More would fight over the cores. Threads wait as those of the command line do.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("PYTHON_CPU_COUNT", "1")


@pytest.fixture(scope="session")
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of real test data (EMO-DB, MELD's annotation files, reference outputs), from SERBENCH_TEST_DATA."""
    given = os.environ.get("SERBENCH_TEST_DATA")
    if not given or not Path(given).is_dir():
        pytest.skip("SERBENCH_TEST_DATA does not name a folder with the real test data")
    return Path(given)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests out of the user's cache and configuration.

    The workers of one run share theirs, as users' processes do. A set SERBENCH_TEST_CACHE is shared between runs.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["SERBENCH_CACHE"] = os.environ.get("SERBENCH_TEST_CACHE") or str(shared / "cache")
    os.environ["SERBENCH_CONFIG"] = ""


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    """A run fixes the threads of its process: the tests after it, and what they start, have those of before again."""
    from serbench.benchmarks.core.machine import THREADS, default_threads, limit_threads

    before = {name: os.environ.get(name) for name in THREADS}
    yield
    if {name: os.environ.get(name) for name in THREADS} != before:
        limit_threads(default_threads(1))
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


SPEAKERS = {"train": "abcd", "dev": "ef", "test": "ghij"}


@pytest.fixture(scope="session")
def toy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a `table` corpus of short babbles, in turn by speakers of official partitions; gives its toy.csv.

    Arousal can be heard: in the voice, and in the level by 20 `gain` decibels per unit of -1..1. `columns` are chosen
    of arousal and valence on 1..7, emotion (`classes` 2 or 4) and gender (in the voice too); speakers of a partition
    "unlabelled" have none of the labels. `more` sets columns of the table, or replaces them.
    """
    from serbench.datasets.voice.synthesis import babble

    def make(
        folder: Path | None = None,
        *,
        count: int = 40,
        seconds: float = 0.5,
        gain: float = 0.25,
        classes: int = 2,
        columns: Sequence[str] = ("arousal", "emotion"),
        speakers: dict[str, str] = SPEAKERS,
        **more: Any,
    ) -> Path:
        folder = folder or tmp_path_factory.mktemp("toy")
        folder.mkdir(parents=True, exist_ok=True)
        in_turn = [(partition, speaker) for partition, names in speakers.items() for speaker in names]
        rows = []
        for k in range(count):
            partition, speaker = in_turn[k % len(in_turn)]
            arousal, valence, gender = (k * 7 % 11 - 5) / 5, (k % 5 - 2) / 2, ("female", "male")[k % 2]
            voice = {"gender": gender} if "gender" in columns else {}
            sound = babble(seconds, k, arousal=arousal, **voice) * 10 ** (arousal * gain)
            soundfile.write(folder / f"{k:02}.wav", sound, 16000)
            four = ("sadness", "neutral", "happiness", "anger")[2 * (arousal > 0) + (valence > 0)]
            known = {
                "gender": gender,
                "arousal": 4 + 2.5 * arousal,
                "valence": 4 + valence,
                "emotion": four if classes == 4 else ("anger" if arousal > 0 else "sadness"),
            }
            hidden = {"arousal", "valence", "emotion"} if partition == "unlabelled" else set()
            row = {"path": f"{k:02}.wav", "speaker": speaker, "partition": partition}
            rows.append(row | {name: known[name] for name in columns if name not in hidden})
        table = pd.DataFrame(rows).assign(**more).dropna(axis="columns", how="all")
        table.to_csv(folder / "toy.csv", index=False)
        return folder / "toy.csv"

    return make


@pytest.fixture(scope="session")
def noise_clips() -> Callable[..., pd.DataFrame]:
    """Make files a0.wav, a1.wav ... of noise, each 10 ms longer than the one before; gives their rows u0, u1 ..."""

    def make(folder: Path, count: int = 6, seconds: float = 0.5) -> pd.DataFrame:
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            noise = 0.1 * np.random.default_rng(i).standard_normal(int(16000 * (seconds + 0.01 * i)))
            soundfile.write(folder / f"a{i}.wav", noise.astype(np.float32), 16000)
        paths = {f"u{i}": f"a{i}.wav" for i in range(count)}
        return pd.DataFrame({"path": pd.Series(paths, dtype="string"), "start": np.nan, "end": np.nan})

    return make


@pytest.fixture(scope="session")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a corpus's miniature copy, by its name and settings: written once, so no test may change it."""
    from serbench.benchmarks.corpora.mock import write_mock

    made: dict[tuple[Any, ...], Path] = {}

    def folder(name: str, **settings: Any) -> Path:
        key = (name, *sorted(settings.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp(name)
            write_mock(name, made[key], **settings)
        return made[key]

    return folder


@pytest.fixture(scope="session")
def silent_corpus() -> Callable[..., Corpus]:
    """Make a corpus of n items, five of each emotion in turn, without audio.

    It has official partitions, or that many `folds` of one speaker each; `changes` replace fields of the corpus.
    """
    from serbench.datasets.schema.corpus import OFFICIAL, Corpus, make_table, rotation
    from serbench.datasets.schema.task import Task, attribute_tasks

    def make(
        name: str,
        n: int,
        emotions: tuple[str, ...] = ("anger", "happiness", "neutral", "sadness"),
        *,
        scale: tuple[float, float] = (1.0, 5.0),
        folds: int = 0,
        seed: int = 0,
        **changes: Any,
    ) -> Corpus:
        generator = np.random.default_rng(seed)
        part = ("train", "train", "dev", "test", "test")
        rows = [
            {
                "id": f"{name}{i:03}",
                "path": f"{i}.wav",
                "emotion": emotions[i // 5 % len(emotions)],
                "speaker": f"s{i % folds}" if folds else f"{part[i % 5]}{i % 10}",
                "partition": None if folds else part[i % 5],
                "arousal": scale[0] + (scale[1] - scale[0]) * generator.random(),
                "text": f"words of {name} number {i}",
            }
            for i in range(n)
        ]
        splits = (
            {"speakers": rotation("speaker", [f"s{k}" for k in range(folds)])} if folds else {"official": (OFFICIAL,)}
        )
        scales = {"arousal": scale}
        tasks = (
            Task("emotion", "classification", ("emotion",), tuple(sorted(set(emotions)))),
            *attribute_tasks(("arousal",), scales),
        )
        made = Corpus(name, "", Path("/nowhere") / name, make_table(rows), tasks, splits, scales)
        return replace(made, **changes)

    return make


@pytest.fixture(scope="session")
def silent_corpora(silent_corpus: Callable[..., Corpus]) -> dict[str, Corpus]:
    """Three corpora that share some emotions, each with arousal on a scale of its own."""
    six = ("anger", "happiness", "neutral", "sadness", "fear", "excitement")
    three = ("anger", "neutral", "sadness", "fear")
    return {
        "alpha": silent_corpus("alpha", 120, folds=4),
        "beta": silent_corpus("beta", 150, six, scale=(1.0, 7.0), seed=1),
        "gamma": silent_corpus("gamma", 100, three, scale=(-1.0, 1.0), folds=3, seed=2),
    }


@pytest.fixture
def toys(silent_corpora: dict[str, Corpus], monkeypatch: pytest.MonkeyPatch) -> dict[str, Corpus]:
    """The silent corpora, loaded by their names wherever a run asks for them; a test may change them."""
    found = dict(silent_corpora)
    monkeypatch.setattr("serbench.benchmarks.protocol.setting.load_corpus", lambda name, *_: found[name])
    return found


@pytest.fixture(scope="session")
def tiny_chunked() -> dict[str, str]:
    """Settings of the models that see chunks: networks of a few hundred weights, trained for one epoch."""
    network = {"channels": "4,8", "strides": "4,4", "width": "8", "chunk_seconds": "0.25", "max_seconds": "0.5"}
    return {**{f"model.{key}": value for key, value in network.items()}, "train.epochs": "1"}


@pytest.fixture(scope="session")
def tiny_fusion() -> dict[str, str]:
    """Settings of `semantic-fusion` that train in a second."""
    network = {
        "sampling_rate": "2000",
        "filters": "4,4,4",
        "pools": "5,4,2",
        "projection": "8",
        "width": "8",
        "units": "4",
    }
    return {**{f"model.{key}": value for key, value in network.items()}, "train.epochs": "1"}


def _byte_vocabulary(names: list[str]) -> dict[str, Any]:
    """tokenizer.json of a vocabulary of bytes, each under the letter that GPT-2 writes it by, and of special tokens."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [*map(chr, seen), *(chr(256 + k) for k in range(256 - len(seen)))]
    token = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocabulary = {letter: k for k, letter in enumerate([*alphabet, *names])}
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocabulary[name], "content": name, **token} for name in names],
        "pre_tokenizer": by_bytes,
        "decoder": by_bytes,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }


@pytest.fixture(scope="session")
def tiny_whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of random weights with a vocabulary of bytes, German and English, as transformers saves it."""
    import torch

    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("whisper")
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    (folder / "tokenizer.json").write_text(json.dumps(_byte_vocabulary(names)))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), eos_token=names[0])
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=20).save_pretrained(folder)
    end, start = tokenizer.convert_tokens_to_ids(names[:2])
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=20,
        d_model=16,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=64,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
    )
    transformers.WhisperForConditionalGeneration(config).save_pretrained(folder)
    generation = json.loads((folder / "generation_config.json").read_text())
    generation |= {
        "_from_model_config": False,
        "lang_to_id": dict(zip(names[2:4], tokenizer.convert_tokens_to_ids(names[2:4]), strict=True)),
    }
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.fixture(scope="session")
def edit() -> Callable[..., None]:
    """Spoil a text file: the first `times` places of `old`, which must be there, become `new`."""

    def change(path: Path, old: str, new: str, times: int = 1) -> None:
        text = path.read_bytes().decode("utf-8")
        assert old in text
        path.write_bytes(text.replace(old, new, times).encode("utf-8"))

    return change


@pytest.fixture(scope="session")
def set_cell() -> Callable[..., None]:
    """Spoil a CSV file: one cell, by row number and column, gets another value."""

    def change(path: Path, row: int, column: str, value: str) -> None:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert column in table
        table.loc[row, column] = value
        table.to_csv(path, index=False)

    return change
