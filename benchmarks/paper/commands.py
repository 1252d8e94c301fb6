"""The script that repeats a paper: folders and files as variables, a `serbench run` line for each training."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...datasets.reading.load import needs_root, root_variable
from ...results.display.table import records
from ..grid.grid import sharing
from ..protocol.request import Place, Request
from .plan import PaperPlan
from .work import Block, requests_of

SCRIPT = "reproduce.sh"


def script(plan: PaperPlan, blocks: Sequence[Block]) -> str:
    """The text of the script; folders of corpora are taken from the environment, so that it names none of a machine."""
    return "\n".join(_lines(plan, blocks)) + "\n"


def run_lines(plan: PaperPlan) -> list[str]:
    """A `serbench run` line for each training of the plan; corpora that are tested by one training share a line."""
    nameless = replace(
        plan,
        corpora=tuple(replace(one, root=None) for one in plan.corpora),
        files=tuple(replace(one, path=f"{{{one.name}}}") for one in plan.files),
    )
    requests = [one.request for one in requests_of(nameless) if one.row]
    return [_with_variables(_line(group)) for group in sharing(requests)]


def variable(name: str) -> str:
    """The variable of the script that holds a file's path."""
    return f"FILE_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"


def _lines(plan: PaperPlan, blocks: Sequence[Block]) -> Iterator[str]:
    versions = sorted({str(run.spec.get("serbench")) for block in blocks for run in block.runs})
    yield from ("#!/bin/sh", f"# Repeats: {' '.join(plan.title.split())}")
    yield f"# Made by serbench {', '.join(versions)}: pip install serbench=={versions[-1]}"
    yield from ("set -eu", 'cd "$(dirname "$0")"', 'RESULTS="${RESULTS:-results}"')
    for corpus in plan.corpora:
        if needs_root(corpus.name):
            name = root_variable(corpus.name)
            yield f': "${{{name}:?the folder of the corpus {corpus.name}}}"; export {name}'
    for one in plan.files:
        made = f", made by {one.make}" if one.make else ""
        yield f': "${{{variable(one.name)}:?the file {one.name}{_shell_word(made)}}}"'
    yield from ("", "# Each training; what is recorded already is not repeated.")
    yield from (f'{line} --results "$RESULTS"' for line in run_lines(plan))
    files = "".join(f' --file {shlex.quote(one.name)}="${variable(one.name)}"' for one in plan.files)
    yield from ("", "# All of it at once, with tables, figures and text.")
    yield f'serbench paper plan.toml{files} --results "$RESULTS" --out again'
    yield from ("", "# What was found (mean score, recipe):")
    for block in blocks:
        for row in records(block.board):
            about = f"{row['row'] or row['name']}, {row['target']}: {row['metric']} {row['mean']:.4f}"
            yield f"# {about} {row['signature']}"


def _line(group: Sequence[Request]) -> str:
    """The command of requests that share a training."""
    first = replace(group[0], test=None)
    line = (group[0] if len(group) == 1 else first).command()
    if len(group) == 1:
        return line
    own = Place(first.dataset)
    tests = [request.test or own for request in group]
    more = [word for test in tests for word in ("--test-dataset", test.name)]
    more += [word for test in tests if test.release for word in ("--test-release", f"{test.name}={test.release}")]
    return f"{line} {shlex.join(more)}"


def _with_variables(line: str) -> str:
    """Places of files as variables of the script, outside the quotes of the shell."""
    return re.sub(r"\{([\w-]+)\}", lambda found: f"'\"${variable(found.group(1))}\"'", line)


def _shell_word(text: str) -> str:
    """Text without what a shell would read in a message."""
    return re.sub(r"[^\w ,.=/-]", "", text)
