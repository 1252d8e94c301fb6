"""What a plan is held against before anything is opened: names that it uses, names that are registered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...datasets import registry as datasets
from ...datasets.core.errors import SerbenchError, unknown
from ...sermodels import registry as models
from .plan import PaperPlan, texts
from .references import library

TABLES = ("scores", "comparisons", "corpora", "models")
FIGURES = ("scores", "differences", "confusion")
NAME = re.compile(r"[A-Za-z0-9][\w-]*")
FILE = re.compile(r"\{([\w-]+)\}")
"""A file's place in a setting."""


def check(plan: PaperPlan) -> None:
    """Refuse a plan that lacks something or names what there isn't.

    Raises
    ------
    SerbenchError
        With the entry, what was expected, and the closest name.
    """
    for key in ("title", "models", "corpora"):
        if not getattr(plan, key):
            entry = 'title = "..."' if key == "title" else f"[[{key}]]"
            raise SerbenchError(f"the plan has no {key}. Expected an entry {entry}.")
    if plan.protocol.trials < 1 or plan.rehearsal.trials < 1:
        raise SerbenchError("trials is below 1. Expected 1 or more trainings; 5 is the protocol's number.")
    for key in ("corpora", "models", "comparisons", "files", "tables", "figures"):
        _check_unique(key, [one.name for one in getattr(plan, key)])
    _check_models(plan)
    _check_corpora(plan)
    _check_displays(plan)
    for key in plan.cite:
        _among("key of the references", key, library())


def files_of(plan: PaperPlan, names: Iterable[str] | None = None) -> list[str]:
    """Names of the files that the settings of (some) rows take."""
    rows = [one for one in plan.models if names is None or one.name in set(names)]
    found = [name for row in rows for text in row.settings for name in FILE.findall(text)]
    return list(dict.fromkeys(found))


def _check_models(plan: PaperPlan) -> None:
    for row in plan.models:
        where = f"[[models]] {row.name!r}"
        name, _, preset = row.model.partition(":")
        if not name:
            raise SerbenchError(f'{where} has no model. Expected model = "MODEL" or "MODEL:PRESET".')
        _among("model", name, models.names())
        if preset and (known := models.declared(name, "PRESETS")):
            _among(f"preset of {name}", preset, known)
        for key in ("settings", "rehearsal"):
            texts(getattr(row, key), where)
    texts(plan.rehearsal.settings, "[rehearsal]")
    for name in files_of(plan):
        _among("file of [[files]]", name, [one.name for one in plan.files])


def _check_corpora(plan: PaperPlan) -> None:
    known = [one.name for one in plan.corpora]
    for corpus in plan.corpora:
        _among("dataset", corpus.name, datasets.names())
        texts(corpus.options, f"[[corpora]] {corpus.name!r}")
    for one in plan.experiments:
        if not one.train:
            raise SerbenchError('[[experiments]] has no train. Expected train = "CORPUS", or "A+B" with a test.')
        for name in (*one.train.split("+"), *([one.test] if one.test else [])):
            _among("corpus of [[corpora]]", name, known)
        _check_rows(plan, one.models, "[[experiments]]")


def _check_displays(plan: PaperPlan) -> None:
    for comparison in plan.comparisons:
        if not comparison.system:
            raise SerbenchError(f"[[comparisons]] {comparison.name!r} has no system. Expected the name of a row.")
        _check_rows(plan, (comparison.system, *comparison.rivals), f"[[comparisons]] {comparison.name!r}")
        if comparison.system in comparison.rivals:
            raise SerbenchError(f"[[comparisons]] {comparison.name!r} compares a row with itself. Name other rivals.")
        if len(plan.models) < 2:
            raise SerbenchError(f"[[comparisons]] {comparison.name!r} has no rival. Expected two [[models]] or more.")
    for key, kinds in (("tables", TABLES), ("figures", FIGURES)):
        for one in getattr(plan, key):
            _among(f"kind of {key[:-1]}", one.kind, kinds)
            if one.comparison:
                _among("comparison", one.comparison, [c.name for c in plan.comparisons])
            elif one.kind in ("comparisons", "differences"):
                raise SerbenchError(f"[[{key}]] {one.name!r} has no comparison. Expected the name of [[comparisons]].")
            _check_rows(plan, one.models, f"[[{key}]] {one.name!r}")


def _check_rows(plan: PaperPlan, names: Sequence[str], where: str) -> None:
    for name in names:
        _among(f"row in {where}", name, [one.name for one in plan.models])


def _check_unique(key: str, names: Sequence[str]) -> None:
    for name in names:
        legal = bool(name) if key == "models" else NAME.fullmatch(name)
        if not legal:
            raise SerbenchError(f"{key}: the name {name!r} can't be used. Expected letters, digits, - and _.")
    for name in _twice(names):
        raise SerbenchError(f"{key} names {name!r} twice. Expected each name once.")


def _twice(names: Sequence[str]) -> Iterator[str]:
    folded = [name.casefold() for name in names]
    yield from (name for i, name in enumerate(names) if name.casefold() in folded[:i])


def _among(kind: str, given: str, known: Iterable[Any]) -> None:
    names = [str(one) for one in known]
    if given not in names:
        raise unknown(kind, given, names)
