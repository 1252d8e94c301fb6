"""The text model: a checkpoint in a folder, frozen and trained; saved models without it; texts of a file; refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.task import Task
from serbench.sermodels.core.persist import load_model, save_model
from serbench.sermodels.core.sermodel import Data, Resources
from serbench.sermodels.text import encoder, model as text

EMOTION = Task("emotion", "classification", ("emotion",), labels=("anger", "joy"))
WORDS = {0: "go away you bad storm", 1: "how good to see the sun"}
TRAINED = replace(text.TINY, train=replace(text.TINY.train, epochs=12))


def data_of(n: int = 32, *, texts: bool = True) -> Data:
    """Utterances of three words, drawn from those of their class."""
    rng = np.random.default_rng(5)
    classes = np.arange(n) % 2
    said = [" ".join(rng.choice(WORDS[k].split(), size=3)) for k in classes]
    items = pd.DataFrame(
        {"text": pd.array(said if texts else [pd.NA] * n, dtype="string")}, index=[f"u{k}" for k in range(n)]
    )
    return Data(EMOTION, items, {}, classes)


def right(gold: np.ndarray, predicted: Any) -> float:
    return float((np.asarray(predicted).argmax(axis=1) == gold).mean())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of random weights with a tokenizer of whole words, as transformers saves them."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("tiny-bert")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({w for t in WORDS.values() for w in t.split()})]
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {"type": "WordLevel", "vocab": {w: k for k, w in enumerate(vocabulary)}, "unk_token": "[UNK]"},
    }
    import json

    (place / "words.json").write_text(json.dumps(tokenizer))
    fast = PreTrainedTokenizerFast(tokenizer_file=str(place / "words.json"), pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(place)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(place, safe_serialization=True)
    return place


def fitted(config: text.Config, data: Data) -> text.Model:
    model = text.Model(text.Model.resolved(config), EMOTION, Resources(seed=1))
    model.fit(data, data, right)
    return model


@pytest.mark.parametrize("frozen", [False, True])
def test_the_words_are_learnt_and_an_untrained_model_does_not_know_them(folder: Path, frozen: bool) -> None:
    data = data_of()
    train, test = data.take(range(20)), data.take(range(20, 32))
    config = replace(TRAINED, encoder=str(folder), frozen=frozen)
    before = {
        k: v.clone()
        for k, v in encoder.build_encoder(encoder.text_source(str(folder), "main").settings, folder)
        .state_dict()
        .items()
    }
    model = fitted(config, train)
    assert right(test.labels, model.predict(test)) > 0.9
    assert model.network is not None
    after = {k: v for k, v in model.network.encoder.state_dict().items() if k in before}
    assert all(torch.equal(before[k], v) for k, v in after.items()) == frozen
    still = fitted(replace(config, encoder_rate=0.0, train=replace(config.train, epochs=1, learning_rate=0.0)), train)
    assert right(test.labels, still.predict(test)) < 0.75


def test_states_are_those_of_the_library_on_its_own_tokens(folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    texts = ["go away", "how GOOD to see the sun elsewhere", ""]
    source = encoder.text_source(str(folder), "main")
    numbers, mask = encoder.Tokens(source.tokenizer, 12, 0)(texts)
    ours = encoder.pooled(encoder.build_encoder(source.settings, folder).eval(), numbers, mask, "mean")
    tokenizer, library = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for k, one in enumerate(texts):
        alone = tokenizer(one, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            expected = library(**alone).last_hidden_state[0].mean(0)
        torch.testing.assert_close(ours[k].detach(), expected, atol=1e-5, rtol=1e-5)


def test_texts_are_cut_with_their_end_kept(folder: Path) -> None:
    source = encoder.text_source(str(folder), "main")
    numbers, _ = encoder.Tokens(source.tokenizer, 4, 0)(["go away you bad"])
    assert numbers.shape == (1, 4)
    assert numbers[0, 0] == 2
    assert numbers[0, -1] == 3
    numbers, mask = encoder.Tokens("", 6, 0)(["abcdefgh", "a"])
    assert numbers.tolist() == [[1, 100, 101, 102, 103, 2], [1, 100, 2, 0, 0, 0]]
    assert mask.sum(1).tolist() == [6, 3]
    assert encoder.longest({"max_position_embeddings": 16}, 128) == 14


def test_a_saved_model_needs_no_checkpoint(folder: Path, tmp_path: Path) -> None:
    data = data_of(16)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    model = fitted(replace(TRAINED, encoder=str(copy), train=replace(TRAINED.train, epochs=1)), data)
    save_model(model, tmp_path / "kept.safetensors")
    for file in copy.iterdir():
        file.unlink()
    encoder.text_source.cache_clear()
    loaded = load_model(tmp_path / "kept.safetensors")
    np.testing.assert_array_equal(np.asarray(loaded.predict(data)), np.asarray(model.predict(data)))


def test_another_checkpoint_in_the_same_folder_is_another_configuration(folder: Path) -> None:
    config = text.Model.resolved(replace(TRAINED, encoder=str(folder)))
    assert config.digest
    with pytest.raises(SerbenchError, match="are not those that the configuration was made with"):
        text.Model.resolved(replace(config, encoder="random:bert-tiny"))


def test_texts_of_a_file_stand_in_for_those_of_the_corpus(tmp_path: Path) -> None:
    spoken = data_of(16)
    silent = data_of(16, texts=False)
    table = pd.DataFrame({"item": silent.ids, "text": spoken.items["text"].to_list(), "source": "asr(tiny)"})
    table.to_csv(tmp_path / "words.texts.csv", index=False)
    config = replace(TRAINED, texts=str(tmp_path / "words.texts.csv"))
    assert text.Model.labels(config) == ("words:asr(tiny)",)
    assert not text.Model.needs_text(config)
    assert text.Model.needs_text(TRAINED)
    np.testing.assert_array_equal(fitted(config, silent).predict(silent), fitted(TRAINED, spoken).predict(spoken))
    with pytest.raises(SerbenchError, match="none of the 16 training items has a text"):
        fitted(TRAINED, silent)
    table.drop(columns="item").to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(SerbenchError, match="lacks the column 'item'"):
        text.Model.labels(replace(TRAINED, texts=str(tmp_path / "bad.csv")))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "no text encoder is named. Type its folder"),
        ("random:bert-tyni", "random:bert-tiny"),
        ("no-such-folder/at-all", "there is neither a folder"),
    ],
)
def test_an_encoder_that_is_not_there_is_refused(name: str, told: str) -> None:
    with pytest.raises(SerbenchError, match=told):
        text.Model.resolved(replace(TRAINED, encoder=name))


def test_a_corpus_without_transcripts_is_refused_with_what_to_type(
    toy_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    table = toy_corpus(tmp_path / "toy")
    words = f"run --model text:small --dataset table --root {table} --task emotion --results {tmp_path / 'results'}"
    done = CliRunner().invoke(app, words.split())
    assert isinstance(done.exception, SerbenchError)
    assert "none of 40 items of table has one" in str(done.exception)
    assert f"serbench words transcribe table --root {table} --model WHISPER_FOLDER" in str(done.exception)
    assert str(done.exception).endswith("--set model.texts=words.texts.csv")
    assert not list((tmp_path / "results").rglob("run.json"))
