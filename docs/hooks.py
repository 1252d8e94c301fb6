"""Pages of the documentation that are made from the program itself: commands, faithfulness; and files from above docs/.

mkdocs calls `on_config` and `on_files` (mkdocs.yml names this file). `python docs/hooks.py commands` prints a page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NAMES = {str: "text", int: "integer", float: "number", Path: "path"}
ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("datasets", "features", "sermodels", "results", "benchmarks")
PAPERS = ("deepemocluster", "maec", "semantic-fusion")
PICTURES = """## In pictures

`serbench site` and `serbench report`: a page for each run, here of a probe on Whisper base.

![Scores, metrics and the confusion matrix of a run on EMO-DB](run.png)

`serbench traces`: predictions over time beside the gold standard and the words (synthetic speech of `demo`,
task `traces`, one training of `semantic-fusion:small`).

![Sound, words, and three traces of predictions and gold standard](traces.png)

`serbench clusters`: what the clusters of `deepemocluster:small` hold (`demo`, one training).

![Chunks of test speech by cluster, three attributes and emotion](clusters.png)
"""
STATUSES = (
    ("0", "all was done"),
    ("1", "it was done, and something is wrong: failed trials, findings of a check, scores that do not follow"),
    ("2", "the input can't be used: one message says what was given, what was expected and what to type"),
    ("75", "the time of `serbench run --stop-after` is over; the same command goes on from there"),
    ("129", "ended by SIGHUP, as a closed terminal sends it; likewise"),
    ("130", "stopped by Ctrl-C; likewise"),
    ("141", "who read the output stopped reading"),
    ("143", "ended by SIGTERM, as a scheduler sends it; the same command goes on from there"),
)


def commands() -> str:
    """The reference of the command line, from the commands themselves."""
    import typer.main

    from serbench.benchmarks.cli.app import app

    group = typer.main.get_command(app)
    lines = ["# The command line", "", "Made from the commands themselves. Each is described by `--help` too.", ""]
    lines += ["## Exit status", "", "| status | meaning |", "|---|---|"]
    lines += [f"| {status} | {meaning} |" for status, meaning in STATUSES]
    lines += ["", "Every command takes `--json` (one JSON object on standard output) and `--quiet` (none)."]
    for path, command in leaves(group, ["serbench"]):
        lines += ["", f"## {' '.join(path[1:])}", "", *_command(path, command)]
    return "\n".join(lines) + "\n"


def leaves(command: Any, path: Sequence[str]) -> Iterator[tuple[list[str], Any]]:
    """Every command that does something, with the words that it is typed by."""
    if not hasattr(command, "commands"):
        yield list(path), command
        return
    for name in command.commands:
        yield from leaves(command.commands[name], [*path, name])


def _command(path: Sequence[str], command: Any) -> Iterator[str]:
    """What it does, how it is typed, what it takes."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    typed = [_place(one) for one in arguments]
    yield f"{_plain(command.help or '')}"
    yield ""
    yield f"    {' '.join([*path, *typed, '[OPTIONS]'])}"
    yield ""
    rows = [(_place(one), one) for one in arguments]
    options = [one for one in command.params if one.param_type_name == "option"]
    rows += [(", ".join(f"`{name}`" for name in [*one.opts, *one.secondary_opts]), one) for one in options]
    rows = [(name, one) for name, one in rows if not set(one.opts) & {"--json", "--quiet", "--help"}]
    if rows:
        yield "| argument or option | value | default | what it is |"
        yield "|---|---|---|---|"
        yield from (f"| {_cell(name)} | {_value(one)} | {_default(one)} | {_cell(_help(one))} |" for name, one in rows)


def _place(argument: Any) -> str:
    name = argument.name.upper().strip("_")
    name = f"{name}..." if argument.nargs != 1 else name
    return name if argument.required else f"[{name}]"


def _value(one: Any) -> str:
    """What kind of value is typed; typer keeps it under one of two names."""
    if getattr(one, "is_flag", False):
        return ""
    kept = getattr(one, "type_descriptor", None)
    return NAMES.get(getattr(kept, "annotation", None), getattr(getattr(one, "type", None), "name", "text").lower())


def _default(one: Any) -> str:
    value = one.default
    if callable(value):
        value = value()
    if one.required:
        return "required"
    return "" if value in (None, False, "", (), []) else f"`{_cell(str(value))}`"


def _help(one: Any) -> str:
    text = re.sub(r"\s*\[(default|required)[^\]]*\]", "", str(getattr(one, "help", "") or ""))
    return _plain(f"{text} May be repeated." if getattr(one, "multiple", False) and "repeat" not in text else text)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def faithfulness() -> str:
    """What each paper says, and where the code does it: from the files beside the models."""
    from serbench.sermodels import registry

    lines = [
        *("---", "hide: [toc]", "---", ""),
        "# Faithfulness to the papers",
        "",
        "What each paper says (in our words), where the code does it, and whether the preset `paper` does the same.",
        'Where it differs, or the paper is silent, the table says what is done and why. "Switch" is the setting that',
        "decides: at *same* and *unknown* the value that `paper` has, at *differs* the one that follows the text.",
        "Made from `faithfulness.py` beside each model; a test sees to it that every name is there.",
    ]
    for name in PAPERS:
        known = registry.part(name, "faithfulness")
        counts = [sum(one.verdict == verdict for one in known.STATEMENTS) for verdict in ("same", "differs", "unknown")]
        lines += ["", f"## {name}", "", f"{known.PAPER}.", ""]
        lines += ["Same: {}, differs: {}, unknown: {}.".format(*counts), ""]
        lines += [
            "| section | the paper says | where | verdict | what is done, and why | switch |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_statement(one) for one in known.STATEMENTS]
    return "\n".join(lines) + "\n"


def _statement(one: Any) -> str:
    switch = " ".join(f"`{word}`" for word in one.switch.split())
    module, _, symbol = one.code.partition(":")
    cells = (one.place, one.says, f"`{module}` `{symbol}`", f"**{one.verdict}**", one.why, switch)
    return f"| {' | '.join(map(_cell, cells))} |"


def index() -> str:
    """The first page: the README, its paths as they are from docs/, and more pictures before its list of pages."""
    return _from_root("README.md").replace("## Read on", PICTURES + "\n## Read on")


def _from_root(name: str) -> str:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"(\]\(|src=\")docs/", r"\1", text)


PAGES = {
    "index.md": index,
    "reference/commands.md": commands,
    "faithfulness.md": faithfulness,
    "changelog.md": lambda: _from_root("CHANGELOG.md"),
    "contributing.md": lambda: _from_root("CONTRIBUTING.md"),
}
"""Page -> what makes it."""


def on_config(config: Any) -> Any:
    """Link the floors under one name, where docstrings are read from."""
    folder = ROOT / "build" / "static" / "serbench"
    folder.mkdir(parents=True, exist_ok=True)
    for floor in FLOORS:
        if not (folder / floor).exists():
            (folder / floor).symlink_to(ROOT / floor, target_is_directory=True)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


if __name__ == "__main__":
    sys.stdout.write({"commands": commands, "faithfulness": faithfulness}[sys.argv[1]]())
