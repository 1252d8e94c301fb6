"""The command `serbench traces`: prediction and gold standard of a recording over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .results import open_run


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command()(traces)


def traces(
    run: Annotated[str, typer.Argument(help="MODEL, MODEL:PRESET, a run id or a run folder.")],
    recording: Annotated[str, typer.Argument(help="Id of a recording that the run tests, such as Devel_01.")],
    dataset: Annotated[str | None, typer.Option(help="Dataset, where the name fits several runs.")] = None,
    task: Annotated[str | None, typer.Option(help="Task, likewise.")] = None,
    trial: Annotated[list[int] | None, typer.Option(help="Trial that is drawn; may be repeated. Default: all.")] = None,
    start: Annotated[float | None, typer.Option(help="First second that is shown.")] = None,
    end: Annotated[float | None, typer.Option(help="Second that the stretch ends at.")] = None,
    results: Annotated[Path, typer.Option(help="Folder that holds runs/.")] = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Folder of table and plots; default: RESULTS/studies.")] = None,
) -> None:
    """Prediction and gold standard over time, with waveform and words: PNG, SVG and CSV."""
    from ..analyses.traces import find_traces
    from ..analyses.traces_figure import write

    chosen = open_run(run, results, dataset, task)
    found = find_traces(chosen, recording, trial or (), start, end)
    typer.echo(
        f"{found.item}, {found.begin:.1f} to {found.end:.1f} s: {len(found.time)} frames, "
        f"{len(found.words)} words, trials {', '.join(map(str, found.predicted))}"
    )
    for target, scores in found.scores().items():
        typer.echo(f"  {target}: CCC of this stretch {', '.join(f'{score:.3f}' for score in scores)}")
    for note in found.notes:
        typer.echo(f"  {note}")
    for path in write(found, out or results / "studies"):
        typer.echo(path)
