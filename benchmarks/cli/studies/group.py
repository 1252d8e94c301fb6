"""`serbench study`: the experiments of the papers as commands. Each paper adds its own to the sub-command."""

from __future__ import annotations

import typer

from . import cli_study_deepemocluster, cli_study_maec, cli_study_semantic

study = typer.Typer(help="A paper's experiment: tables with significance marks, and a plot.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    cli_study_deepemocluster.register(study)
    cli_study_maec.register(study)
    cli_study_semantic.register(study)
    app.add_typer(study, name="study")
