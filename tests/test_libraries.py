"""Libraries that are missing or broken: the right one is blamed, and nothing falls but what needs it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.libraries import LibraryError, library, library_failure, remedy, requirement

BREAKER = """
import sys, importlib.abc, importlib.machinery

class Broken(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in {names!r} else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile("raise OSError('undefined symbol: a_name')", module.__name__ + ".py", "exec"), module.__dict__)

sys.meta_path.insert(0, Broken())
from serbench.benchmarks.cli.app import main
sys.argv = ["serbench", *{arguments!r}]
main()
"""


def run(*arguments: str, without: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line in a process in which these libraries can't be loaded."""
    code = BREAKER.format(names=without, arguments=arguments)
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture
def module_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    def make(file: str, code: str) -> None:
        (tmp_path / file).write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, file.removesuffix(".py"), raising=False)

    return make


def test_a_library_that_loads_is_given() -> None:
    import json

    assert library("json") is json


@pytest.mark.parametrize("raised", ["OSError('x')", "RuntimeError('y')", "AttributeError('z')", "ImportError('w')"])
def test_a_broken_library_is_named(module_of: Callable[[str, str], None], raised: str) -> None:
    module_of("a_broken_library.py", f"raise {raised}")
    wanted = r"a test needs the library a_broken_library, which can't be loaded \(\w+Error: "
    with pytest.raises(LibraryError, match=wanted):
        library("a_broken_library", "a test")


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(LibraryError, match=r"faiss is not installed. Type: pip install 'serbench\[faiss\]'"):
        library("faiss")


def test_a_failure_is_found_behind_what_others_made_of_it(module_of: Callable[[str, str], None]) -> None:
    module_of("a_broken_library.py", "raise OSError('no such symbol')")

    def read() -> None:
        try:
            importlib.import_module("a_broken_library")
        except OSError as error:
            raise ValueError("the file can't be read") from error

    with pytest.raises(ValueError, match="can't be read") as caught:
        read()
    failure = library_failure(caught.value)
    assert failure is not None
    assert "a_broken_library" in str(failure)


def test_a_file_that_can_not_be_read_is_no_failure_of_a_library(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "absent").read_text()
    assert library_failure(caught.value) is None
    assert library_failure(SerbenchError("anything")) is None


def test_requirements_come_from_the_distribution() -> None:
    assert requirement("ray")[1] == "ray"
    wanted, extra = requirement("torch")
    assert wanted is not None
    assert (wanted.name, extra) == ("torch", "")
    assert requirement("a-name-that-nobody-asks-for") == (None, "")
    assert remedy("optuna", installed=False) == "pip install 'serbench[tune]'"
    assert remedy("scipy", installed=True).startswith("pip install --force-reinstall 'scipy>=")
    assert remedy("torch", installed=True).startswith("pip install --force-reinstall --no-deps 'torch")


NOT_FOR_LINEAR = (
    "torch",
    "torchaudio",
    "transformers",
    "gensim",
    "matplotlib",
    "librosa",
    "av",
    "faiss",
    "ray",
    "optuna",
)
"""audformat is none of them: opensmile, which makes the features, loads it."""


def test_a_run_of_linear_needs_none_of_the_parts_of_others(
    tmp_path: Path, toy_corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is cached, and all is made in the process in which these can't be loaded."""
    monkeypatch.setenv("SERBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHON_CPU_COUNT", "1")
    asked = ("run", "--model", "linear", "--dataset", "table", "--root", str(toy_corpus()), "--trials", "1")
    done = run(*asked, "--task", "arousal", without=NOT_FOR_LINEAR, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with monkeypatch.context() as patch:
        patch.setenv("SERBENCH_CACHE", str(tmp_path / "other"))  # where nothing is found, whatever has been hashed
        done = run(*asked, "--task", "emotion", without=("audformat",), cwd=tmp_path)
    assert done.returncode == 2, done.stderr  # what makes the features is needed, and would be missed
    done = run("leaderboard", "--dataset", "table", without=NOT_FOR_LINEAR, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "linear" in done.stdout


@pytest.mark.parametrize(
    ("broken", "command"),
    [
        ("torch", "run --model cnn-regressor --dataset demo"),
        ("transformers", "run --model probe --dataset demo --set model.encoder=random:wav2vec2-tiny"),
        ("safetensors", "run --model cnn-regressor --dataset demo"),
        ("opensmile", "extract egemaps --dataset demo"),
        ("sklearn", "run --model linear --dataset demo"),
        ("soxr", "extract waveform --dataset demo --set feature.sampling_rate=22050"),
        ("gensim", "words word2vec demo --out vectors.vec"),
        ("librosa", "words speech2vec demo --out vectors.vec"),
        ("optuna", "tune --model linear --dataset demo --trials 1"),
        ("ray", "run --model linear --dataset demo --launcher ray"),
        ("pandas", "run --model linear --dataset demo"),
        ("pyarrow", "run --model chance --dataset demo --trials 1"),
        ("scipy", "run --model linear --dataset demo --trials 1"),
        ("soundfile", "run --model linear --dataset demo --trials 1"),
    ],
)
def test_the_library_is_blamed_and_not_a_file(tmp_path: Path, broken: str, command: str) -> None:
    done = run(*command.split(), without=(broken,), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert f"library {broken}" in done.stderr
    assert "OSError: undefined symbol: a_name" in done.stderr
    assert "pip install" in done.stderr
    assert "heckpoint" not in done.stderr


@pytest.mark.parametrize("broken", ["torch", "numpy", "pandas", "transformers", "rich"])
def test_list_and_env_always_work(tmp_path: Path, broken: str) -> None:
    assert run("list", "models", without=(broken,), cwd=tmp_path).returncode == 0
    done = run("env", "--strict", without=(broken,), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert f"{broken} " in done.stdout
    assert "NOT usable, REQUIRED: OSError: undefined symbol" in done.stdout


def test_a_broken_companion_is_invisible_to_transformers(tmp_path: Path) -> None:
    """torchaudio and torchvision that do not fit the installed torch must not take an encoder down."""
    code = (
        "import sys\n"
        + BREAKER.format(names=("torchaudio", "torchvision"), arguments=()).split("from serbench")[0]
        + "from serbench.features.encoders.library import transformers\n"
        "library = transformers()\n"
        "from transformers.utils import is_torchaudio_available, is_torchvision_available\n"
        "assert not is_torchaudio_available() and not is_torchvision_available()\n"
        "from serbench.features.encoders.checkpoint import locate\n"
        "from serbench.features.encoders.loading import load\n"
        "for name in ('wav2vec2-tiny', 'whisper-tiny', 'ast-tiny'):\n"
        "    print(type(load(locate('random:' + name)).model).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 3
