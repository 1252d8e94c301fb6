"""Command lines of real commands and options with wild values: refused in words or worked, never a traceback or a hang.

Half of the values are sensible for some option (a model, a folder that is there), so that command lines come through
the first checks; the others are what nobody should type. Commands that would work for long in any case are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import typer.main

from ..children import command
from ..tally import Tally
from ..works import Workshop
from .mutations import WILD_TEXT

LONG = frozenset({"reproduce", "study", "tune", "curve", "cross", "conformance", "stress", "mock"})
"""Commands that train much, or many times, or write a whole corpus."""
NOT_TYPED = frozenset({"--help", "--launcher", "--address", "--jobs", "--device", "--version"})
SENSIBLE = ("linear", "chance", "table", "emotion", "arousal", "results", "official", "mel", "1", "2", "0.5", "speaker")


def tortured(place: Path, rounds: int, seed: int) -> Iterator[Tally]:
    """A row for each command, with `rounds` command lines each."""
    shop = Workshop(place, ["report"])
    folder, table = shop.fresh(shop.works[0]), str(place / "corpus" / "toy.csv")
    for words, params in sorted(_commands()):
        yield typed(words, params, folder, table, rounds, Random(f"{words} {seed}"))


def typed(words: tuple[str, ...], params: list[Any], folder: Path, table: str, rounds: int, rng: Random) -> Tally:
    """Random command lines of one command."""
    row = Tally(f"serbench {' '.join(words)}", "wild command lines")
    for _ in range(rounds):
        line = [*words, *_arguments(params, table, rng)]
        done = command(line, folder)
        wrong = done.problem or ("" if done.status in (0, 1, 2) else f"status {done.status}")
        outcome = {0: "worked", 1: "worked in part", 2: "refused"}.get(done.status, "")
        row.add(outcome, f"{' '.join(map(repr, line))}: {wrong}: {done.said[-300:]}" if wrong else "")
    return row


def _commands() -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    """(words, parameters) of every command that is tried."""
    from ...cli.app import app

    group: Any = typer.main.get_command(app)
    for name in group.commands:
        if name not in LONG:
            yield from _of(group.commands[name], (name,))


def _of(made: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
    if hasattr(made, "commands"):
        for name, inner in made.commands.items():
            yield from _of(inner, (*words, name))
    else:
        yield words, list(made.params)


def _arguments(params: list[Any], table: str, rng: Random) -> list[str]:
    """A value for each argument, and some of the options."""
    line: list[str] = []
    for param in params:
        flags = [flag for flag in param.opts if flag.startswith("--")]
        if not flags:
            line.append(_value(rng))
        elif not NOT_TYPED & set(flags) and (param.required or rng.random() < 0.3):
            known = {"--dataset": "table", "--root": table, "--model": rng.choice(("linear", "chance"))}
            value = known.get(flags[0]) if rng.random() < 0.7 else None
            line += [flags[0]] if getattr(param, "is_flag", False) else [flags[0], value or _value(rng)]
    return [text.replace("\0", "") for text in line]


def _value(rng: Random) -> str:
    return rng.choice(SENSIBLE if rng.random() < 0.5 else WILD_TEXT)
