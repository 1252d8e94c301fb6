"""The options of every command about what it prints: `--json` and `--quiet`.

With `--json`, standard output is one JSON object: `tables` as they are shown (title, columns, rows, note), `data` (rows
in full precision, by name) and `lines` (what else is said). With `--quiet` it is empty. Errors, warnings and progress
go to standard error in any case, and the exit status is the same.
"""

from __future__ import annotations

import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

TEXT, JSON, QUIET = "text", "json", "quiet"
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables and lines.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def with_output(app: typer.Typer) -> typer.Typer:
    """An app whose commands, and those of its groups, have the options of this file."""
    for command in app.registered_commands:
        if command.callback is not None and not hasattr(command.callback, "prints"):
            command.callback = _with_mode(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            with_output(group.typer_instance)
    return app


def _with_mode(body: Callable[..., Any]) -> Callable[..., Any]:
    """A command's function with two more parameters, as typer reads them from its signature."""
    added = {JSON: Json, QUIET: Quiet}
    hints = get_type_hints(body, include_extras=True)
    own = [one.replace(annotation=hints.get(one.name, one.annotation)) for one in _parameters(body)]
    more = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=t) for n, t in added.items()]

    @wraps(body)
    def run(**given: Any) -> Any:
        as_json, silent = (given.pop(name) for name in added)
        with _printed(JSON if as_json else QUIET if silent else TEXT):
            return body(**given)

    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in (*own, *more)}
    run.prints = True  # type: ignore[attr-defined]
    return run


def _parameters(body: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    for one in inspect.signature(body).parameters.values():
        yield one.replace(kind=inspect.Parameter.KEYWORD_ONLY)


@contextmanager
def _printed(mode: str) -> Iterator[None]:
    """Standard output in a mode. A command that ends with a status has said all; one that fails has said nothing."""
    if mode == TEXT:
        yield
        return
    from ...results.display.recording import recording

    said = io.StringIO()
    with recording() as shown:
        ended: typer.Exit | None = None
        with redirect_stdout(said):
            try:
                yield
            except typer.Exit as status:
                ended = status
    if mode == JSON:
        from ...results.record.storage import plain

        lines = [] if shown.tables else [line.rstrip() for line in said.getvalue().splitlines() if line.strip()]
        document = plain({"tables": shown.tables, "data": shown.data, "lines": lines}, finite=True)
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if ended is not None:
        raise ended
