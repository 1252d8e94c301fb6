"""The command `serbench conformance`: what every component must do, checked for those of any distribution."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def conformance(
    names: Annotated[
        list[str], typer.Argument(help="Distributions, or registered names of models, datasets and features.")
    ],
) -> None:
    """Check that components keep their contracts: shapes, padding, repeatability, saved weights, labels, files."""
    from ...results.display.recording import keep
    from ..conformance.components import components, conform

    wrong, results = 0, []
    for kind, name in components(names):
        for result in conform(kind, name):
            typer.echo(result.line())
            results.append(asdict(result))
            wrong += bool(result.problems)
    keep("results", results)
    typer.echo(f"{wrong} check{'s' * (wrong > 1)} failed." if wrong else "Every check that could be made is passed.")
    if wrong:
        raise typer.Exit(1)
