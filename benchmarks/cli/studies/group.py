"""`serbench study`: the experiments of the papers as commands. Each paper adds its own to the sub-command."""

from __future__ import annotations

import typer

from . import deepemocluster, ladder, maec, semantic_fusion

study = typer.Typer(help="A paper's experiment: tables with significance marks, and a plot.", no_args_is_help=True)
for paper in (deepemocluster, ladder, maec, semantic_fusion):
    study.add_typer(paper.app)
app = typer.Typer()
app.add_typer(study, name="study")
