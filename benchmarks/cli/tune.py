"""The command that searches for a model's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from .arguments import grid_arguments, launcher_of, resumable
from .budget import with_options_of


def register(app: typer.Typer, run: Callable[..., None]) -> None:
    """Add the command, with the options of `run`, to the program."""
    app.command(name="tune")(with_options_of(run, tune))


def tune(
    budget: Annotated[int, typer.Option(help="Candidates of each training.")] = 20,
    sampler: Annotated[str, typer.Option(help="auto, tpe, random or grid.")] = "auto",
    **given: Any,
) -> None:
    """Search settings inside each training, by the dev set alone.

    --set model.k=10,20,30 names candidates (with ; between where a value is a list itself), --set
    train.learning_rate=1e-4..1e-2:log a range. Without any, the model's default space is searched.
    """
    from ...datasets.core.errors import SerbenchError
    from ...sermodels import registry
    from ..core.progress import Terminal
    from ..grid.grid import run as run_grid
    from ..tune.search import search_of

    if given["from_record"] is not None or given["weights"]:
        raise SerbenchError("serbench tune takes --model and --dataset; leave --from-record and --weights out.")
    arguments = grid_arguments(given)
    if len(arguments["model"]) > 1:
        raise SerbenchError("serbench tune takes one --model: each has a space of its own. Type it once for each.")
    name, _, named = arguments["model"][0].partition(":")
    preset = named or given["preset"]
    fixed, search = search_of(registry.load(name), name, arguments["settings"], budget, sampler, preset)
    shown = Terminal()
    shown.message(f"{search.budget} candidates in each training, proposed by {search.sampler}:")
    for key, text in search.space.items():
        shown.message(f"  {key} in {text}")
    with resumable(shown):
        runs = run_grid(
            **(arguments | {"settings": fixed}),
            search=search.plain(),
            results=given["results"],
            device=given["device"],
            jobs=given["jobs"],
            threads=given["threads"],
            save_models=given["save_models"],
            display=shown,
            launcher=launcher_of(given),
        )
    for one in runs:
        typer.echo(one.path)
        for unit in one.units():
            chosen = ((unit.get("facts") or {}).get("search") or {}).get("chosen") or {}
            said = ", ".join(f"{key}={text}" for key, text in chosen.items()) or unit["error"]
            shown.message(f"trial {unit['trial'] + 1}, fold {unit['fold']}: {said}")
    if any(unit["status"] != "done" for one in runs for unit in one.units()):
        raise typer.Exit(1)
