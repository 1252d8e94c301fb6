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
    from ...budget.estimate import estimate_of
    from ...grid.grid import run_requests
    from ...paper import reading, work
    from ...protocol.setting import Corpora
    from ..plan import say
    from ..run import count_failed

    if plan is None:
        _list()
        return
    asked, source, how = reading.read_plan(plan), reading.plan_file(plan), execution.execution({})
    roots, files = pairs("--root", root), pairs("--file", file)
    if rehearse:
        asked, how = _rehearsed(asked, source.stem, how, roots, files)
    asked = work.placed(asked, roots, files)
    wanted = work.requests_of(asked)
    requests = [one.request for one in wanted]
    if check:
        say(estimate_of(requests, how, Corpora(), pilots=pilot), how.jobs)
        return
    with resumable(how.display):
        runs = run_requests(requests, how)
    if failed := count_failed(runs):
        how.display.message(f"{failed} trials failed; their records hold why. The same command tries them again.")
        raise typer.Exit(1)
    blocks = work.blocks_of(asked, zip(wanted, runs, strict=True))
    _write(asked, source, blocks, out or how.folder / "papers" / source.stem)


def _list() -> None:
    """Names and titles of the plans that come with serbench."""
    from ....results.display.recording import keep
    from ...paper.reading import shipped

    known = shipped()
    keep("plans", known)
    for name, title in known.items():
        typer.echo(f"  {name:<20} {title}")


def _rehearsed(
    plan: PaperPlan, name: str, how: Execution, roots: dict[str, str], files: dict[str, str]
) -> tuple[PaperPlan, Execution]:
    """The plan on miniature copies, and a results folder of its own; rows that are left out are named."""
    from ...paper import rehearsal, work

    if roots:
        raise SerbenchError("--rehearse takes miniature copies of the corpora. Leave --root or --rehearse out.")
    folder = how.folder / REHEARSAL / name
    small, left_out = rehearsal.rehearsed(work.with_files(plan, files), folder)
    for line in left_out:
        typer.echo(f"serbench: left out of the rehearsal: {line}", err=True)
    return small, replace(how, results=folder)


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
