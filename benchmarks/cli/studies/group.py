"""`serbench study`: the experiments of the papers as commands. Each paper adds its own to the sub-command."""

from __future__ import annotations

import typer

from . import deepemocluster, maec, semantic_fusion

study = typer.Typer(help="A paper's experiment: tables with significance marks, and a plot.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    deepemocluster.register(study)
    maec.register(study)
    semantic_fusion.register(study)
    app.add_typer(study, name="study")
