"""`serbench study`: the experiments of the papers, and of encoders, as commands; each file adds its own."""

from __future__ import annotations

import typer

from . import deepemocluster, few_labels, ladder, layers, maec, semantic_fusion

study = typer.Typer(help="A paper's experiment: tables with significance marks, and a plot.", no_args_is_help=True)
for one in (deepemocluster, few_labels, ladder, layers, maec, semantic_fusion):
    study.add_typer(one.app)
app = typer.Typer()
app.add_typer(study, name="study")
