"""Commands about submissions to a results repository: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

submission = typer.Typer(help="Runs that others send, before they are merged.", no_args_is_help=True)
app = typer.Typer()
app.add_typer(submission, name="submission")


@submission.callback()
def group() -> None:
    """Runs that others send, before they are merged."""


@submission.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="Zip files of 'serbench export', or results folders.")],
    results: Annotated[
        Path | None, typer.Option(help="Results folder that they are meant for: its labels, and the places.")
    ] = None,
) -> None:
    """Verify digests, protocol, gold labels and scores of submissions, and say what would be ranked where."""
    from rich.console import Console

    from ....results.display.table import on_screen
    from ....results.submissions.check import PROBLEM, as_table, check_submission

    problems = 0
    for file in files:
        findings = check_submission(file, results)
        Console().print(on_screen([as_table(findings, file)]))
        problems += sum(one.state == PROBLEM for one in findings)
    if problems:
        typer.echo(f"{problems} problems: not to be merged as it is.", err=True)
        raise typer.Exit(1)
