"""`--json` and `--quiet` of every command; exit statuses; completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from rich.console import Console
from typer.testing import CliRunner

from serbench.benchmarks.cli.app import COMMANDS, app, with_output
from serbench.results.display.recording import keep
from serbench.results.display.table import Cell, Table, on_screen


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        return [(" ".join(path), command)]
    return [leaf for name in command.commands for leaf in leaves(command.commands[name], (*path, name))]


def test_every_command_has_both_options_once() -> None:
    found = leaves(typer.main.get_command(app))
    assert {name.split()[0] for name, _ in found} == set(COMMANDS)
    for name, command in found:
        options = [option for one in command.params for option in one.opts]
        assert (options.count("--json"), options.count("--quiet")) == (1, 1), name


@pytest.fixture
def toy() -> typer.Typer:
    made = typer.Typer()

    @made.command()
    def tell(status: int = 0, fails: bool = False) -> None:
        """Tell."""
        if fails:
            raise ValueError("no")
        keep("numbers", {"x": 1 / 3, "y": float("nan")})
        Console().print(on_screen([Table("t", [{"model": "a", "UAR": Cell("0.333", 1 / 3)}], "a note")]))
        typer.echo("a warning", err=True)
        raise typer.Exit(status)

    return with_output(made)


@pytest.mark.parametrize("status", [0, 1])
def test_json_is_one_object_and_the_status_stays(toy: typer.Typer, status: int) -> None:
    done = CliRunner().invoke(toy, ["--json", "--status", str(status)])
    assert done.exit_code == status
    held = json.loads(done.stdout)
    assert held["tables"] == [{"title": "t", "columns": ["model", "UAR"], "rows": [["a", 1 / 3]], "note": "a note"}]
    assert held["data"] == {"numbers": {"x": 1 / 3, "y": None}}
    assert held["lines"] == []
    assert "a warning" in done.stderr


def test_quiet_prints_nothing_and_the_status_stays(toy: typer.Typer) -> None:
    done = CliRunner().invoke(toy, ["--quiet", "--status", "1"])
    assert (done.exit_code, done.stdout) == (1, "")


def test_a_command_that_fails_prints_no_object(toy: typer.Typer) -> None:
    done = CliRunner().invoke(toy, ["--json", "--fails"])
    assert done.stdout == ""
    assert isinstance(done.exception, ValueError)


def test_lists_are_data() -> None:
    held = json.loads(CliRunner().invoke(app, ["list", "models", "--json"]).stdout)
    assert "linear" in held["data"]["models"]


def test_completion_knows_the_commands(tmp_path: Path) -> None:
    code = "from serbench.benchmarks.cli.app import main; import sys; sys.argv = ['serbench']; main()"
    asked = {"_SERBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "serbench lea", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["leaderboard"]
