"""Commands about records that travel: merge, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Results
from ..results import open_run

app = typer.Typer()


@app.command()
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Results folders, or zip files of 'serbench export'.")],
    out: Annotated[Path, typer.Option(help="Results folder to join them into; may hold runs already.")],
) -> None:
    """Join results of several machines or groups; duplicates are dropped, conflicts refused."""
    from ....results.record.sharing import merge as merge_results

    done = merge_results(sources, out)
    for note in done.notes:
        typer.echo(f"serbench: note: {note}", err=True)
    typer.echo(f"{done.units} units of {done.runs} runs in {out}; {done.duplicates} duplicates dropped")


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run folder, a run id, MODEL or MODEL:PRESET.")],
    out: Annotated[Path, typer.Option(help="The zip file.")],
    labels: Annotated[bool, typer.Option(help="Include the gold labels; see to the corpus's licence.")] = False,
    class_scores: Annotated[bool, typer.Option(help="Include the score of each class.")] = True,
    results: Results = Path("results"),
) -> None:
    """Pack a run with its predictions for sharing, without audio, gold labels and paths."""
    from ....results.record.sharing import export_run

    typer.echo(f"written: {export_run(open_run(run, results), out, labels=labels, class_scores=class_scores)}")
