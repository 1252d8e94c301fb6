"""Reading of plans: TOML files, and those that come with serbench, which are known by their names."""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ...datasets.core.config import from_dict
from ...datasets.core.errors import SerbenchError, unknown
from .checks import check
from .plan import Experiment, PaperPlan

PLANS = Path(__file__).with_name("plans")


def shipped() -> dict[str, str]:
    """Name -> title of the plans that come with serbench."""
    return {path.stem: read_plan(path.stem).title for path in sorted(PLANS.glob("*.toml"))}


def plan_file(given: str) -> Path:
    """The file of a plan that is named or whose path is given.

    Raises
    ------
    SerbenchError
        Where there is neither.
    """
    path, known = Path(given).expanduser(), {one.stem: one for one in PLANS.glob("*.toml")}
    if path.is_file() or given not in known:
        if not path.is_file():
            problem = unknown("plan", given, known)
            raise SerbenchError(
                f"{problem} Or expected the path of a plan's TOML file. Type serbench paper for a list."
            )
        return path
    return known[given]


def read_plan(given: str) -> PaperPlan:
    """The plan of a name or path, checked (`checks`).

    Raises
    ------
    SerbenchError
        For a file that is no TOML, an unknown key or name, or an entry that lacks something.
    """
    path = plan_file(given)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SerbenchError(f"{path} is no TOML file: {error}. Expected a plan as docs/papers.md has it.") from error
    try:
        _check_keys(PaperPlan, values, "the plan")
        plan = from_dict(PaperPlan, values)
        check(plan)
    except SerbenchError as error:
        raise SerbenchError(f"{path}: {error}") from error
    alone = tuple(Experiment(corpus.name) for corpus in plan.corpora)
    return plan if plan.experiments else replace(plan, experiments=alone)


def _check_keys(cls: Any, values: Mapping[str, Any], where: str) -> None:
    """Refuse keys that an entry of the plan does not have, and tables where lists of tables are meant."""
    hints = typing.get_type_hints(cls)
    known = [field.name for field in fields(cls)]
    for key, value in values.items():
        if key not in known:
            raise unknown(f"key of {where}", key, known)
        inner = typing.get_args(hints[key])[:1]
        if inner and is_dataclass(inner[0]):
            if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
                raise SerbenchError(f"{key} is {value!r}. Expected entries that begin with [[{key}]].")
            for one in value:
                _check_keys(inner[0], one, f"[[{key}]]")
        elif is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise SerbenchError(f"{key} is {value!r}. Expected entries below [{key}].")
            _check_keys(hints[key], value, f"[{key}]")
