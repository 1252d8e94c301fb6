"""The documentation under test: every command on a page is one that the program takes, the README's run as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import app
from serbench.datasets import registry as datasets
from serbench.datasets.core.registry import Registry
from serbench.features import registry as features
from serbench.sermodels import registry as sermodels

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ {4}\$? ?(serbench .*)$|^\$? ?(serbench .*)$")
SYNOPSIS = re.compile(r"[\[|]|\.\.\.")
"""A line with brackets or dots shows what may be typed, and is no command itself."""


def commands(page: Path) -> list[list[str]]:
    """The command lines of a page's code blocks, as words, with continued lines joined and comments left out."""
    found, fenced = [], False
    text = re.sub(r" *\\\n *", " ", page.read_text(encoding="utf-8"))
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        match = BLOCK.match(line) if fenced or line.startswith("    ") else None
        if match and not SYNOPSIS.search(written := (match[1] or match[2]).partition(" #")[0]):
            found.append(shlex.split(written.replace("<", "").replace(">", ""))[1:])
    return found


def parse(words: list[str]) -> None:
    """Have the program read a command line without doing what it says."""
    context = typer.main.get_command(app).make_context("serbench", list(words))
    while hasattr(context.command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


DOCUMENTED = [(str(page.relative_to(ROOT)), words) for page in PAGES for words in commands(page)]


def test_the_pages_have_commands() -> None:
    assert len(DOCUMENTED) > 20
    assert {"run", "leaderboard", "compare", "check", "mock", "report"} <= {words[0] for _, words in DOCUMENTED}


@pytest.mark.parametrize(("page", "words"), DOCUMENTED, ids=[f"{p}: {' '.join(w)}" for p, w in DOCUMENTED])
def test_every_documented_command_is_one_that_the_program_takes(page: str, words: list[str]) -> None:
    try:
        parse(words)
    except Exception as error:  # what click raises depends on its version
        if type(error).__name__ != "Exit":  # --help leaves this way
            raise


def test_a_command_that_the_program_does_not_take_is_found() -> None:
    for words in (["run", "--modle", "linear"], ["rnu"], ["compare", "a", "b", "--bootstrap", "many"]):
        with pytest.raises(Exception) as found:  # noqa: PT011 - what click raises depends on its version
            parse(words)
        assert type(found.value).__name__ in ("NoSuchOption", "UsageError", "BadParameter", "NoSuchCommand")


def test_the_picture_of_the_rooms_is_current() -> None:
    command = [sys.executable, ROOT / "tests" / "architecture_picture.py"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    written = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert written == made.stdout, "type: python tests/architecture_picture.py > docs/architecture.svg"


def test_the_rooms_that_the_architecture_names_are_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = [n for n in re.findall(r"`([a-z]+/[\w/.]+)`", text) if "/name" not in n]
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]


WHERE = re.findall(
    r"^\| an? ([\w ]+) \| (.*`.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
)
"""What is added -> where it goes, as CONTRIBUTING.md says."""


def test_eight_kinds_of_additions_have_a_place() -> None:
    assert [kind for kind, _ in WHERE] == [
        "corpus",
        "feature",
        "model with three files",
        "metric",
        "significance test",
        "command",
        "study",
        "launcher",
    ]


@pytest.mark.parametrize(("kind", "where"), WHERE, ids=[kind for kind, _ in WHERE])
def test_places_of_additions_are_there(kind: str, where: str) -> None:
    """A file that is to be added comes into a room that is there, or with a room of its own onto a floor."""
    for place in (Path(name) for name in re.findall(r"`([a-z]\w+/[\w/.]+)`", where)):
        new = [part for part in place.parts if part.startswith("my_")]
        room = ROOT.joinpath(*place.parts[: place.parts.index(new[0])]) if new else ROOT / place
        assert room.exists(), f"{kind}: {place}"
        assert not new or list(room.glob("*.py")), f"{kind}: {room} is no room"


@pytest.mark.parametrize("registry", [datasets, features, sermodels], ids=lambda one: one.kind)
def test_components_are_registered_where_they_are_added(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way to add a component, in a floor of its own: the rule of the registry finds one, under its name."""
    floor = registry.package.removeprefix("serbench.")
    ways = [re.findall(rf"`{floor}/(my_[\w/.]+)`", way) for _, where in WHERE for way in where.split(", or ")]
    for i, files in enumerate(way for way in ways if way):
        package = f"floor_{floor}_{i}"
        for file in (tmp_path / package / "__init__.py", *(tmp_path / package / name for name in files)):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text('"""A part."""\n')
        monkeypatch.syspath_prepend(tmp_path)
        found = Registry(package, "serbench.none", registry.kind, registry.main)
        (name,) = found.names()
        assert name == f"my-{registry.kind.replace('dataset', 'corpus')}"
        assert found.summary(name) == "A part."


def small_emodb(source: Path, folder: Path) -> Path:
    """EMO-DB with one utterance for each speaker of anger and of sadness, as links."""
    files = sorted((source / "wav").glob("*.wav"))
    kept = {file.name[:2] + file.name[5]: file for file in files if file.name[5] in "WT"}
    (folder / "wav").mkdir(parents=True)
    for file in kept.values():
        (folder / "wav" / file.name).symlink_to(file)
    (folder / "erkennung.txt").symlink_to(source / "erkennung.txt")
    return folder


SHORTER = {"run": ["--trials", "1"], "tune": ["--trials", "1", "--budget", "4"]}
"""Command -> what makes it short enough for a test."""


@pytest.mark.slow
def test_the_commands_of_the_readme_and_the_guide_run_as_printed(
    tmp_path: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, in one folder, one trial each; licensed corpora are replaced by their miniature copies.

    The program is loaded once, but for the command that starts a cluster. The chain of words is that of docs/words.md,
    whose lines `test_words_cli` runs.
    """
    small = small_emodb(test_data / "emodb", tmp_path / "emodb")
    places = {"/data/emodb": small, "/data/IEMOCAP": tmp_path / "IEMOCAP", "/data/MELD": tmp_path / "MELD"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def serbench(words: list[str]) -> None:
        if "--launcher" in words:
            command = [sys.executable, "-c", "from serbench.benchmarks.cli.app import main; main()", *words]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert not done.returncode, f"{' '.join(words)}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        else:
            CliRunner().invoke(app, words, catch_exceptions=False, standalone_mode=False)

    for corpus, folder in (("iemocap", "IEMOCAP"), ("meld", "MELD")):
        serbench(["mock", corpus, str(tmp_path / folder), "--utterances", "60"])
    (tmp_path / "mycorpus.csv").write_text(
        "path,label,speaker\n"
        + "".join(
            f"emodb/wav/{f.name},{f.name[5]},{f.name[:2]}\n" for f in sorted((tmp_path / "emodb" / "wav").glob("*.wav"))
        )
    )
    elsewhere = [words[:3] for words in commands(ROOT / "docs" / "words.md")]
    for words in (*commands(ROOT / "README.md"), *commands(ROOT / "docs" / "guide.md")):
        if words[0] == "words":
            assert words[:3] in elsewhere
            continue
        replaced = [re.sub(r"/data/\w+", lambda m: str(places[m[0]]), word) for word in words]
        serbench([*replaced, *SHORTER.get(words[0], ())])
    assert (tmp_path / "results" / "leaderboard.csv").exists()
    assert (tmp_path / "results" / "report.html").exists()
