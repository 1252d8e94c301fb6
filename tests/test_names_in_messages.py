"""What is listed, and what is advised, where a task or an encoder of that name is not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serbench.benchmarks.protocol.shared_tasks import task_of
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.schema.corpus import OFFICIAL, Corpus, make_table
from serbench.datasets.schema.labels import SETS, emotion_task
from serbench.features.core.audio import read_audio
from serbench.features.encoders.checkpoint import locate

SERBENCH = [sys.executable, "-c", "from serbench.benchmarks.cli.app import main; main()"]


def test_a_task_that_is_also_a_shared_label_set_is_listed_once(tmp_path: Path) -> None:
    table = make_table([{"id": "a", "path": "a.wav", "emotion": "anger", "partition": "test"}])
    tasks = (emotion_task("emotion-7"), emotion_task("emotion-4", "emotion-4"))
    corpus = Corpus("toy", "", tmp_path, table, tasks, {"official": (OFFICIAL,)})
    with pytest.raises(SerbenchError, match="unknown task") as found:
        task_of(corpus, "nosuch")
    listed = str(found.value).partition("There are: ")[2].rstrip(".").split(", ")
    assert sorted(listed) == sorted({"emotion", *SETS})


@pytest.mark.parametrize("name", ["/nowhere/wavlm", "../wavlm", "a/b/c"])
def test_a_path_that_is_not_there_is_not_advised_to_be_downloaded(name: str) -> None:
    with pytest.raises(SerbenchError, match="neither a folder") as found:
        locate(name)
    assert "hf download" not in str(found.value)


def test_a_repository_that_is_not_in_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SerbenchError, match="hf download nobody/no-such-encoder --revision main"):
        locate("nobody/no-such-encoder")


def test_a_decoders_reason_and_our_advice_are_two_sentences(tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    file.write_bytes(b"no sound at all")
    with pytest.raises(SerbenchError, match="can't be decoded") as found:
        read_audio(file, 16000)
    assert ".." not in str(found.value).replace(str(file), "")
    assert ". Expected wav" in str(found.value)


def test_a_warning_on_the_command_line_is_one_line_without_code(toy_corpus: Callable[..., Path]) -> None:
    """Speakers are missing, so the split may leak."""
    labels = toy_corpus(count=12, speaker=None)
    done = subprocess.run([*SERBENCH, "check", "table", "--root", str(labels)], capture_output=True, text=True)
    (line,) = [one for one in done.stderr.splitlines() if "speaker" in one]
    assert line.startswith(f"serbench: {labels.name}: ")
    assert ".py" not in done.stderr
