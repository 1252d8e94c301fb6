"""What a grid is asked for, in names: models, corpora, folders, settings; read as one request for each combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...datasets.core.errors import SerbenchError, unknown
from ..protocol.protocol import Protocol
from ..protocol.request import Place, Request

CHANCE = (("chance", None), ("chance", "random"))
"""(model, preset) of the rows that every leaderboard holds, so that each score can be read against them."""
Given = str | Path | Mapping[str, str | Path] | None
"""A text for every corpus, or corpus name -> text."""


def requests_for(
    model: str | Sequence[str],
    dataset: str | Sequence[str],
    *,
    test_dataset: str | Sequence[str] = (),
    root: Given = None,
    release: Given = None,
    test_root: Given = None,
    test_release: Given = None,
    test_split: str | None = None,
    task: str | None = None,
    classes: Sequence[str] = (),
    preset: str | None = None,
    settings: Mapping[str, str] | None = None,
    protocol: Protocol | None = None,
    trials: int = 5,
    allow_leak: bool = False,
    options: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
) -> tuple[list[Request], list[tuple[str, str | None]]]:
    """The requests of a grid, and (model, preset) of the chance rows that were added to it; arguments as of `run`."""
    if trials < 1:
        raise SerbenchError(f"trials={trials}: expected 1 or more.")
    asked = [(name, named or preset) for name, _, named in (m.partition(":") for m in _several(model))]
    added: list[tuple[str, str | None]] = [row for row in CHANCE if row not in asked]
    trained = places(_several(dataset), root, release, options)
    tests = tested_places(_several(test_dataset), test_root, test_release, test_split, options, trained)
    base = Request(
        "", "", task=task, protocol=protocol or Protocol(), trials=trials, allow_leak=allow_leak, classes=tuple(classes)
    )
    requests = [
        request_of(
            replace(base, search=search if (name, chosen) in asked else None),
            name,
            chosen,
            {} if (name, chosen) in CHANCE else settings or {},
            group,
            test,
        )
        for group in trained
        for name, chosen in (*asked, *added)
        for test in tests
    ]
    return requests, added


def request_of(
    base: Request,
    model: str,
    preset: str | None,
    settings: Mapping[str, str],
    trained: tuple[Place, ...],
    test: Place | None,
) -> Request:
    """A request with its model and corpora; a test on the only corpus that is trained on is one by its own folds."""
    first, *also = trained
    return replace(
        base,
        model=model,
        preset=preset,
        settings=dict(settings),
        dataset=first.name,
        root=first.root,
        release=first.release,
        options=dict(first.options),
        also=tuple(also),
        test=None if trained == (test,) else test,
    )


def places(
    datasets: Sequence[str], root: Given, release: Given, options: Mapping[str, Any] | None
) -> list[tuple[Place, ...]]:
    """What `A` and `A+B` stand for, with folders, releases and options of each corpus."""
    groups = [name.split("+") for name in datasets]
    names = list(dict.fromkeys(name for group in groups for name in group))
    roots, releases = _of_each("--root", root, names), _of_each("--release", release, names)
    known = {n: Place(n, roots.get(n), releases.get(n), _options(options, n, everywhere=True)) for n in names}
    return [tuple(known[name] for name in group) for group in groups]


def tested_places(
    names: Sequence[str],
    root: Given,
    release: Given,
    split: str | None,
    options: Mapping[str, Any] | None,
    trained: Sequence[tuple[Place, ...]],
) -> list[Place | None]:
    """The corpora to test (None without names: the one that is trained on).

    One that is trained on too is taken as it is, unless another folder or release is given.
    """
    roots, releases = _of_each("--test-root", root, names), _of_each("--test-release", release, names)
    known = {place.name: place for group in trained for place in group}
    found = []
    for name in names:
        own = known.get(name, Place(name, options=_options(options, name, everywhere=False)))
        place = replace(own, root=roots.get(name) or own.root, release=releases.get(name) or own.release, split=split)
        found.append(place)
    return [*found] or [None]


def _options(options: Mapping[str, Any] | None, name: str, *, everywhere: bool) -> dict[str, Any]:
    """The options of one corpus: those that carry its name, and with `everywhere` those that carry none."""
    given = {key: value for key, value in (options or {}).items() if "." not in key and everywhere}
    own = {key.partition(".")[2]: value for key, value in (options or {}).items() if key.startswith(f"{name}.")}
    return given | own


def _several(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _of_each(flag: str, given: Given, names: Sequence[str]) -> dict[str, str]:
    """A text for all of the names, or texts by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, str(given))
    for key in given:
        if key not in names:
            raise unknown(f"dataset of {flag}", key, names)
    return {name: str(value) for name, value in given.items() if value is not None}
