"""Commands that write pages: `report` (one page of all rankings) and `site` (a leaderboard to publish)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Results

app = typer.Typer()


@app.command()
def report(
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="The page; default: RESULTS/report.html.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples of each interval; 0 = over the scores alone.")] = 10_000,
) -> None:
    """Write one HTML page of all rankings, with figures and tables as files in a folder beside it."""
    from ....results.record.folder import load_runs
    from ....results.report.writing import write_report

    done = write_report(load_runs(results), out or results / "report.html", bootstrap)
    for problem in done.problems.values():
        typer.echo(f"serbench: left out: {problem}", err=True)
    beside = done.path.with_name(f"{done.path.stem}_files")
    typer.echo(
        f"written: {done.path} (rankings: {done.rankings}, runs: {done.runs}); {len(done.files)} files "
        f"beside it in {beside}"
    )


@app.command()
def site(
    results: Annotated[list[Path], typer.Argument(help="Results folders, or zip files of 'serbench export'.")],
    out: Annotated[Path, typer.Option(help="New folder for the site, or one that holds a site.")] = Path("site"),
    title: Annotated[str, typer.Option(help="Title of the first page.")] = "Leaderboard",
    labels: Annotated[bool, typer.Option(help="Put gold labels into the downloads; see to the licences.")] = False,
) -> None:
    """Write a leaderboard for any web server: a page for each ranking and each run, with their downloads."""
    from ....results.site.writing import write_site

    done = write_site(results, out, title=title, labels=labels)
    for problem in (*done.notes, *done.problems.values()):
        typer.echo(f"serbench: {problem}", err=True)
    typer.echo(f"written: {done.index} (rankings: {done.rankings}, runs: {done.runs}, files: {len(done.files)})")
