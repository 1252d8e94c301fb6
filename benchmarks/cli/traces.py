"""The command `serbench traces`: prediction and gold standard of a recording over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Results, RunDataset, RunName, RunTask, StudyFolder
from .results import open_run

app = typer.Typer()


@app.command()
def traces(
    run: RunName,
    recording: Annotated[str, typer.Argument(help="Id of a recording that the run tests, such as Devel_01.")],
    dataset: RunDataset = None,
    task: RunTask = None,
    trial: Annotated[list[int] | None, typer.Option(help="Trial that is drawn; may be repeated. Default: all.")] = None,
    start: Annotated[float | None, typer.Option(help="First second that is shown.")] = None,
    end: Annotated[float | None, typer.Option(help="Second that the stretch ends at.")] = None,
    results: Results = Path("results"),
    out: StudyFolder = None,
) -> None:
    """Prediction and gold standard over time, with waveform and words: PNG, SVG and CSV."""
    from ..analyses.traces import find_traces
    from ..analyses.traces_figure import write

    chosen = open_run(run, results, dataset, task)
    drawn = find_traces(chosen, recording, trial or (), start, end)
    typer.echo(
        f"{drawn.item}, {drawn.begin:.1f} to {drawn.end:.1f} s: {len(drawn.time)} frames, "
        f"{len(drawn.words)} words, trials {', '.join(map(str, drawn.predicted))}"
    )
    for target, scores in drawn.scores().items():
        typer.echo(f"  {target}: CCC of this stretch {', '.join(f'{score:.3f}' for score in scores)}")
    for note in drawn.notes:
        typer.echo(f"  {note}")
    for path in write(drawn, out or results / "studies"):
        typer.echo(path)
