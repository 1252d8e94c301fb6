"""The command `report`: one page with every ranking, figure and table of a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Results

app = typer.Typer()


@app.command()
def report(
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="The page; default: RESULTS/report.html.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples of each interval; 0 = over the scores alone.")] = 10_000,
) -> None:
    """Write one HTML page of all rankings, with figures and tables as files in a folder beside it."""
    from ...results.record.folder import load_runs
    from ...results.report.writing import write_report

    done = write_report(load_runs(results), out or results / "report.html", bootstrap)
    for problem in done.problems.values():
        typer.echo(f"serbench: left out: {problem}", err=True)
    beside = done.path.with_name(f"{done.path.stem}_files")
    typer.echo(
        f"written: {done.path} (rankings: {done.rankings}, runs: {done.runs}); {len(done.files)} files "
        f"beside it in {beside}"
    )
