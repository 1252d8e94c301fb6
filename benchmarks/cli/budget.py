"""The command that says what a run will take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from .arguments import grid_arguments, launcher_of


def register(app: typer.Typer, run: Callable[..., None]) -> None:
    """Add the command, with the options of `run`, to the program."""
    app.command(name="plan")(with_options_of(run, plan))


def with_options_of(run: Callable[..., None], body: Callable[..., None]) -> Callable[..., None]:
    """A command that takes the options of `run`, and those of `body` that `run` does not have."""
    theirs, own = inspect.signature(run).parameters, inspect.signature(body).parameters
    extra = [p for name, p in own.items() if name not in theirs and p.kind is not p.VAR_KEYWORD]
    hints = get_type_hints(run, include_extras=True) | get_type_hints(body, include_extras=True)

    def command(**given: Any) -> None:
        body(**given)

    parameters = [p.replace(kind=p.KEYWORD_ONLY, annotation=hints[p.name]) for p in (*theirs.values(), *extra)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__doc__ = body.__doc__
    return command


def plan(
    pilot: Annotated[bool, typer.Option(help="Try a few items where no record says what a training takes.")] = True,
    **given: Any,
) -> None:
    """What `serbench run` with the same arguments will take: trainings, hours, memory, disk. Nothing is started."""
    from ...datasets.core.errors import SerbenchError
    from ..budget.budget import estimate
    from ..core.progress import Terminal
    from ..grid.grid import requests_for

    if given["from_record"] is not None or given["weights"]:
        raise SerbenchError("serbench plan takes --model and --dataset; leave --from-record and --weights out.")
    launcher = launcher_of(given)
    requests, _ = requests_for(**grid_arguments(given))
    threads = given["threads"] or (given["cpus_per_trial"] if launcher else None)
    device = "cuda" if given["gpus_per_trial"] and given["device"] == "auto" else given["device"]
    budget = estimate(
        requests,
        given["results"],
        device=device,
        jobs=given["jobs"],
        threads=threads,
        save_models=given["save_models"],
        pilots=pilot,
        display=Terminal(),
    )
    for line in budget.lines(given["jobs"]):
        typer.echo(line)
    budget.check()
