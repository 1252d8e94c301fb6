"""What is said to weights that are no safetensors file: never opened, with the way to convert what can be converted."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.benchmarks.weights.predict import predict
from serbench.benchmarks.weights.trained import open_weights
from serbench.datasets.core.errors import SerbenchError
from serbench.sermodels.core.persist import describe, load_model
from serbench.sermodels.deepemocluster.importer import convert


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture(params=["w.pth", "w.pt", "w.bin", "weights"])
def pickled(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / str(request.param)
    file.write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    return file


USES = {
    "load": load_model,
    "describe": describe,
    "run": lambda file: open_weights([file]),
    "predict": lambda file: predict([file], [file]),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_pickle_file_is_not_opened_and_the_way_to_convert_is_told(use: object, pickled: Path) -> None:
    assert callable(use)
    with pytest.raises(SerbenchError, match="is not opened") as found:
        use(pickled)
    said = str(found.value)
    assert said.startswith(repr(str(pickled))), "the file that was typed, and no folder that was guessed from it"
    assert ".safetensors" in said
    assert "pickle" in said
    assert f"serbench import deepemocluster {pickled} --norm" in said
    assert not (pickled.parent / "executed").exists()


def test_a_path_without_anything_is_still_said_to_be_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pth", tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(SerbenchError, match="there is no file"):
            describe(path)


@pytest.mark.parametrize("command", ["predict", "run"])
def test_the_commands_end_with_that_message_and_status_2(command: str, tmp_path: Path) -> None:
    file = tmp_path / "w.pth"
    file.write_bytes(pickle.dumps(Trap(tmp_path / "executed")))
    table = tmp_path / "mine.csv"
    table.write_text("path,label\n" + "".join(f"{i}.wav,{'ab'[i % 2]}\n" for i in range(20)))
    words = {
        "predict": ["predict", "--weights", str(file), str(tmp_path)],
        "run": ["run", "--weights", str(file), "--dataset", "table", "--root", str(table)],
    }
    done = CliRunner().invoke(app, words[command])
    assert isinstance(done.exception, SerbenchError) or done.exit_code == 2
    assert "is not opened" in f"{done.output} {done.exception}"
    assert not (tmp_path / "executed").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps({"state_dict": {"a": Trap(Path("x"))}}, 2)])
def test_an_import_does_not_advise_to_execute_what_it_refuses(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "evil_Act.pth.tar"
    file.write_bytes(content or pickle.dumps(Trap(tmp_path / "executed"), 4))
    with pytest.raises(SerbenchError, match="can't be read as tensors alone: it holds something else") as found:
        convert(file, tmp_path)
    assert "weights_only" not in str(found.value)
    assert not (tmp_path / "executed").exists()
