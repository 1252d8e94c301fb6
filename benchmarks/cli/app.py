"""The program: which file each command is in, and what every command prints. Only the file that is typed is imported.

With `--json`, standard output is one JSON object: `tables` as they are shown (title, columns, rows, note), `data` (rows
in full precision, by name) and `lines` (what else is said). With `--quiet` it is empty. Errors, warnings and progress
go to standard error in any case, and the exit status is the same.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from importlib import import_module
from itertools import takewhile
from typing import Annotated, Any, NoReturn, get_type_hints

import typer
import typer.main
from typer.core import TyperGroup

from ...datasets.core.errors import SerbenchError, SerbenchWarning, printable
from ...datasets.core.files import config_path
from ...datasets.core.libraries import library_failure
from ...datasets.core.stages import stage
from ..core.ending import heeded, seen, status_of
from ..core.machine import wait_asleep
from ..core.progress import harmless_output
from ..core.pulse import pulsing

COMMANDS = {
    "run": "run",
    "plan": "plan",
    "tune": "tune",
    "curve": "tune",
    "cross": "cross",
    "reproduce": "reproduce",
    "study": "studies.group",
    "leaderboard": "results",
    "compare": "results",
    "fuse": "results",
    "ensemble": "results",
    "report": "sharing.pages",
    "site": "sharing.pages",
    "power": "statistics",
    "rank": "statistics",
    "fairness": "statistics",
    "calibration": "statistics",
    "raters": "statistics",
    "merge": "sharing.records",
    "export": "sharing.records",
    "submission": "sharing.submission",
    "paper": "sharing.paper",
    "push": "sharing.models",
    "pull": "sharing.models",
    "clusters": "analyses",
    "salience": "analyses",
    "traces": "analyses",
    "predict": "weights",
    "stress": "weights",
    "import": "weights",
    "check": "corpora",
    "card": "corpora",
    "mock": "corpora",
    "extract": "corpora",
    "conformance": "conformance",
    "cache": "corpora",
    "words": "words",
    "list": "about",
    "env": "about",
    "doctor": "about",
}
"""Command -> the file of this room that it is in, which has an `app` with it."""


DEFAULTS: dict[str, tuple[Any, Any]] = {}
"""Option -> its default, and the one that `serbench.toml` says instead."""
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
        usual, ours = DEFAULTS.get(one.name, (one.empty, one.default))
        same = one.default is not one.empty and one.default == usual
        yield one.replace(kind=inspect.Parameter.KEYWORD_ONLY, default=ours if same else one.default)


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

        lines = [line.rstrip() for line in said.getvalue().splitlines() if line.strip()]
        document = plain({"tables": shown.tables, "data": shown.data, "lines": lines}, finite=True)
        sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if ended is not None:
        raise ended


class Files(MutableMapping[str, Any]):
    """The commands as typer wants them, each imported when it is looked at."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f".{COMMANDS[name]}", __package__)
        return typer.main.get_group(with_output(module.app)).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __setitem__(self, name: str, command: Any) -> None:
        raise NotImplementedError(name)

    def __delitem__(self, name: str) -> None:
        raise NotImplementedError(name)


class Program(TyperGroup):
    """The group of all commands."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = Files()


app = typer.Typer(cls=Program, no_args_is_help=True, pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    """Print the version of the installed distribution and end."""
    if wanted:
        typer.echo(f"serbench {importlib.metadata.version('serbench')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Compare speech-emotion-recognition models fairly: one protocol, significance on every difference."""


_standard = warnings.formatwarning


def _one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings without the line of code that they come from."""
    own = category is SerbenchWarning
    return f"serbench: {message}\n" if own else _standard(message, category, filename, lineno, line)


def called(arguments: Sequence[str]) -> str:
    """The command that was typed, without its options: "serbench words align demo"."""
    return " ".join(["serbench", *takewhile(lambda text: not text.startswith("-"), arguments)])


def main() -> None:
    """Entry point of the `serbench` command: a user's error is one message and exit status 2.

    While it works it says where it is, at least every 30 seconds. SIGTERM and SIGHUP end it as Ctrl-C does.
    """
    warnings.formatwarning = _one_line
    wait_asleep()
    try:
        _configure()
        with heeded(), harmless_output(), pulsing(), stage(called(sys.argv[1:])):
            app()
    except KeyboardInterrupt as error:
        sys.exit(status_of(error))
    except SystemExit:
        if (ended := seen()) is None:
            raise
        sys.exit(ended.status)
    except SerbenchError as error:
        _fail(error)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except Exception as error:
        failure = library_failure(error) or _of_the_system(error)
        if failure is None:
            raise
        _fail(failure)


def _configure() -> None:
    """Take over what `serbench.toml` says, where there is one."""
    if config_path() is not None:
        from ..core.config_file import use

        DEFAULTS.update(use())


def _fail(error: SerbenchError) -> NoReturn:
    """Say what is wrong, in letters that no terminal takes for commands, and leave with exit status 2."""
    sys.stderr.write(f"serbench: {printable(str(error))}\n")
    sys.exit(2)


def _of_the_system(error: Exception) -> SerbenchError | None:
    """What the operating system refused: a full disk, a file that can't be read; None for any other error."""
    if not isinstance(error, OSError) or not error.strerror:
        return None
    where = f"{os.fsdecode(error.filename)!r}: " if error.filename is not None else ""
    return SerbenchError(
        f"{where}{error.strerror}. Expected files that can be read, and free space in a folder that may be written to. "
        "Mend that, and type the same command again: what is finished is kept."
    )
