"""The command `serbench paper`: from a plan to tables, figures, methods, references and commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ....datasets.core.errors import SerbenchError
from ..options import ExecutionOptions, Texts, command, pairs, resumable

if TYPE_CHECKING:
    from ...grid.execution import Execution
    from ...paper.plan import PaperPlan
    from ...paper.work import Block

app = typer.Typer()
REHEARSAL = "rehearsal"


@app.command()
@command
def paper(
    execution: ExecutionOptions,
    plan: Annotated[
        str | None, typer.Argument(help="TOML file of a plan, or the name of one that comes with serbench.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the paper; default: RESULTS/papers/NAME.")] = None,
    root: Annotated[Texts, typer.Option(help="DATASET=FOLDER of a corpus; may be repeated.")] = None,
    file: Annotated[Texts, typer.Option(help="NAME=PATH of a file that the plan takes; may be repeated.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would run and what it takes; start nothing.")
    ] = False,
    pilot: Annotated[bool, typer.Option(help="With --check: try a few items where no record says a cost.")] = True,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Try all of it, small, on miniature copies; numbers mean nothing.")
    ] = False,
) -> None:
    """Run the plan of a paper; write LaTeX tables, figures, methods, references, commands. Without one: a list."""
    from ....results.display.recording import keep
    from ...grid.grid import run_requests
    from ...paper import reading, rehearsal, work
    from ..run import count_failed

    if plan is None:
        keep("plans", reading.shipped())
        for name, title in reading.shipped().items():
            typer.echo(f"  {name:<20} {title}")
        return
    asked, name = reading.read_plan(plan), reading.plan_file(plan).stem
    roots, files = pairs("--root", root), pairs("--file", file)
    if rehearse:
        if roots:
            raise SerbenchError("--rehearse takes miniature copies of the corpora. Leave --root or --rehearse out.")
        execution = replace(execution, results=execution.results / REHEARSAL / name)
        asked, left_out = rehearsal.rehearsed(work.with_files(asked, files), execution.results)
        for line in left_out:
            typer.echo(f"serbench: left out of the rehearsal: {line}", err=True)
    asked, how = work.placed(asked, roots, files), execution.execution({})
    if check:
        _check(asked, how, pilots=pilot)
        return
    wanted = work.requests_of(asked)
    with resumable(how.display):
        runs = run_requests([one.request for one in wanted], how)
    if failed := count_failed(runs):
        how.display.message(
            f"{failed} trials failed; their records hold the reason. The same command tries them again."
        )
        raise typer.Exit(1)
    _write(
        asked,
        reading.plan_file(plan),
        work.blocks_of(asked, zip(wanted, runs, strict=True)),
        out or execution.results / "papers" / name,
    )


def _check(plan: PaperPlan, how: Execution, *, pilots: bool) -> None:
    """Say what the plan will take, and refuse a disk that is too small."""
    from ...budget.estimate import estimate_of
    from ...paper.work import requests_of
    from ...protocol.setting import Corpora
    from ..plan import say

    requests = [one.request for one in requests_of(plan)]
    say(estimate_of(requests, how, Corpora(), pilots=pilots), how.jobs)


def _write(plan: PaperPlan, source: Path, blocks: list[Block], folder: Path) -> None:
    """Write the paper and say what there is."""
    from ....results.display.recording import keep
    from ...paper.writing import write_paper

    done = write_paper(plan, source, blocks, folder)
    for component in done.lacking:
        typer.echo(f"serbench: no reference is known of the {component}: state CITES in its file", err=True)
    keep("files", [str(path) for path in done.files])
    for path in done.files:
        typer.echo(path)
