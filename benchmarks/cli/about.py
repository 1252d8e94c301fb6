"""Commands about the installation: what is registered, what is usable."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import Results

app = typer.Typer()


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(help="models, datasets, features, tasks or presets; default: all.")
    ] = None,
) -> None:
    """Registered models, datasets, features, tasks and presets."""
    from ...results.display.recording import keep
    from ..core.listing import KINDS, entries, lines

    for line in lines(kind):
        typer.echo(line)
    for one in KINDS if kind is None else (kind,):
        keep(one, entries(one))


@app.command()
def env(
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a required part is not usable.")] = False,
) -> None:
    """Versions, the device, and which parts are usable; where one is not: why, what is lost, what to type."""
    from ...results.display.recording import keep
    from ..core.environment import report, states

    parts = states()
    keep("parts", [asdict(one) for one in parts])
    for line in report(parts):
        typer.echo(line)
    if strict and any(one.problem is not None and one.required for one in parts):
        raise typer.Exit(1)


@app.command()
def doctor(results: Results = Path("results")) -> None:
    """Try what a run needs: configuration, libraries, folders and their disks, corpora, the device, threads."""
    from ...results.display.recording import keep
    from ..core.checkup import WRONG, checkup

    found = []
    for one in checkup(results):
        found.append(one)
        typer.echo(one.line())
    keep("checks", [asdict(one) for one in found])
    if any(one.state == WRONG for one in found):
        raise typer.Exit(1)
