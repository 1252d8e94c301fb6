"""`serbench.toml`, environment variables and `serbench doctor`: who comes first, what is refused, what is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import DEFAULTS, app
from serbench.benchmarks.core import checkup
from serbench.benchmarks.core.config_file import ConfigFile, Defaults, Folders, read, use
from serbench.datasets.core.errors import SerbenchError
from serbench.datasets.core.files import config_path

WHOLE = """
[roots]
iemocap = "/data/iemocap"
msp-podcast = "podcast"

[folders]
cache = "~/cache"

[defaults]
results = "elsewhere"
jobs = 2
"""


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch):
    """No file of the user's, and variables as they were."""
    before = dict(os.environ)
    monkeypatch.setenv("SERBENCH_CONFIG", "")
    yield
    DEFAULTS.clear()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "serbench.toml"
    path.write_text(WHOLE)
    monkeypatch.setenv("SERBENCH_CONFIG", str(path))
    return path


def program(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The program in a folder of its own, with a user's folder that is empty."""
    environment = {k: v for k, v in os.environ.items() if k != "SERBENCH_CONFIG"}
    environment |= {"XDG_CONFIG_HOME": str(folder / "user"), **variables}
    command = [sys.executable, "-c", "from serbench.benchmarks.cli.app import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_a_file_is_read(file: Path, tmp_path: Path):
    known = read(file)
    assert known.roots == {"iemocap": "/data/iemocap", "msp-podcast": str(tmp_path / "podcast")}
    assert known.folders == Folders(cache=str(Path("~/cache").expanduser()))
    assert known.defaults == Defaults("elsewhere", jobs=2)
    assert known.options() == {"results": (Path("results"), Path("elsewhere")), "jobs": (1, 2)}


def test_the_environment_comes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SERBENCH_ROOT_IEMOCAP", "/mine")
    monkeypatch.delenv("SERBENCH_ROOT_MSP_PODCAST", raising=False)
    monkeypatch.setenv("SERBENCH_CACHE", "/own")
    use()
    assert os.environ["SERBENCH_ROOT_IEMOCAP"] == "/mine"
    assert os.environ["SERBENCH_ROOT_MSP_PODCAST"] == str(file.parent / "podcast")
    assert os.environ["SERBENCH_CACHE"] == "/own"


def test_the_working_directory_comes_before_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SERBENCH_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    own, users = Path("serbench.toml"), tmp_path / "user" / "serbench" / "serbench.toml"
    assert config_path() is None
    users.parent.mkdir(parents=True)
    users.write_text(WHOLE)
    assert config_path() == users
    own.write_text("")
    assert config_path() == own
    assert read(own) == ConfigFile()


def test_the_command_line_comes_first(tmp_path: Path):
    """The results folder of the message, without a file, with one, and beside an option."""
    assert "'results/runs'" in program(tmp_path, "leaderboard").stderr
    (tmp_path / "serbench.toml").write_text(WHOLE)
    assert "'elsewhere/runs'" in program(tmp_path, "leaderboard").stderr
    assert "'here/runs'" in program(tmp_path, "leaderboard", "--results", "here").stderr


def test_a_bad_file_is_one_message(tmp_path: Path):
    (tmp_path / "serbench.toml").write_text("[rots]\n")
    done = program(tmp_path, "list", "models")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("serbench: serbench.toml: unknown key 'rots'. Did you mean 'roots'?")
    assert program(tmp_path, "list", "models", SERBENCH_CONFIG="").returncode == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[roots]\niemocpa = "/x"', "Did you mean 'iemocap'?"),
        ("[roots]\niemocap = 3", 'Expected a folder, such as "/data/corpus"'),
        ("[defaults]\ndevise = 'cpu'", "unknown key of [defaults] 'devise'. Did you mean 'device'?"),
        ("[defaults]\njobs = 'two'", "Expected a whole number"),
        ("[defaults]\njobs = 0", "jobs=0 is out of range"),
        ("[folders]\nresults = 'x'", "unknown key of [folders] 'results'"),
        ("roots = '/x'", "Expected entries below [roots]"),
        ("[defaults", "can't be read"),
    ],
)
def test_bad_entries_say_what_was_expected(file: Path, text: str, said: str):
    file.write_text(text)
    with pytest.raises(SerbenchError, match=re.escape(said)) as error:
        read(file)
    assert str(file) in str(error.value)


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SERBENCH_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(SerbenchError, match="SERBENCH_CONFIG= before the command"):
        use()


def test_every_variable_is_on_the_page(checkout: Path):
    """What the sources, the tests and the Makefile read, against the table; a corpus's variable stands for all."""
    page = (checkout / "docs" / "configuration.md").read_text()
    named = set(re.findall(r"^\| `(SERBENCH_\w+)`", page, re.MULTILINE))
    floors = ("datasets", "features", "sermodels", "results", "benchmarks")
    files = [p for floor in floors for p in (checkout / floor).rglob("*.py")]
    files += [checkout / "Makefile", checkout / "tests" / "conftest.py"]
    read_ones = {name for p in files for name in re.findall(r"SERBENCH_[A-Z]+(?:_[A-Z]+)*", p.read_text())}
    one_of_all = {"SERBENCH_ROOT", "SERBENCH_ROOT_MSP_PODCAST"}
    assert {"SERBENCH_CACHE", "SERBENCH_CONFIG"} <= read_ones
    assert read_ones - one_of_all | {"SERBENCH_ROOT_NAME"} == named


def test_the_file_of_the_page_is_one(checkout: Path, file: Path):
    ((block,),) = [re.findall(r"```toml\n(.*?)```", (checkout / "docs" / "configuration.md").read_text(), re.DOTALL)]
    file.write_text(block)
    known = read(file)
    assert known.defaults.device == "cuda"
    assert set(known.variables()) >= {"SERBENCH_CACHE", "SERBENCH_FOLDS", "SERBENCH_WEIGHTS", "SERBENCH_ROOT_IEMOCAP"}


# The doctor


def checks(results: Path) -> dict[str, checkup.Check]:
    return {one.name: one for one in checkup.checkup(results)}


def test_the_doctor_finds_a_sound_environment(tmp_path: Path):
    done = CliRunner().invoke(app, ["doctor", "--results", str(tmp_path / "r"), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    said = {one["name"]: one for one in json.loads(done.stdout)["data"]["checks"]}
    assert {one["state"] for one in said.values()} <= {"good", "doubtful"}
    assert {"config", "libraries", "cache", "results", "device", "threads"} <= said.keys()
    assert not (tmp_path / "r").exists(), "nothing is left behind"


def test_the_doctor_opens_corpora(toy_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table = toy_corpus(tmp_path / "toy", count=20)
    monkeypatch.setenv("SERBENCH_ROOT_TABLE", str(table))
    monkeypatch.setenv("SERBENCH_ROOT_EMODB", str(tmp_path / "nowhere"))
    known = checks(tmp_path)
    assert (known["table"].state, known["table"].found) == ("good", f"{table}: 20 utterances")
    assert known["emodb"].state == "wrong"
    assert "does not exist" in known["emodb"].found
    for clip in table.parent.glob("*.wav"):
        clip.unlink()
    assert checks(tmp_path)["table"].state == "doubtful"


def test_the_doctor_sees_what_is_wrong(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file.write_text("[roots")
    (tmp_path / "taken").write_text("a file where a folder should be")
    monkeypatch.setattr(checkup, "ROOM", 1e30)
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    known = checks(tmp_path / "taken")
    assert known["config"].state == "wrong"
    assert known["results"].state == "wrong"
    assert "can't be written to" in known["results"].found
    assert known["cache"].state == "doubtful"
    assert known["threads"].remedy.startswith("export OMP_NUM_THREADS=")
    done = CliRunner().invoke(app, ["doctor", "--results", str(tmp_path / "taken")])
    assert done.exit_code == 1
    assert "wrong     config:" in done.stdout
