"""`serbench list`: what is registered, read from the sources without importing any component."""

from __future__ import annotations

from collections.abc import Iterator

from ...datasets import registry as datasets
from ...datasets.core.errors import unknown
from ...datasets.core.registry import Registry
from ...features import registry as features
from ...sermodels import registry as models

GROUPS = ("seed systems", "relatives", "baselines", "encoders")
"""Groups of models in the order in which they are listed; others come behind them."""
UNGROUPED = "other models"
KINDS = ("models", "datasets", "features", "tasks", "presets")


def lines(kind: str | None = None) -> Iterator[str]:
    """Lines of `serbench list KIND`.

    Raises
    ------
    SerbenchError
        For an unknown kind.
    """
    if kind is not None and kind not in KINDS:
        raise unknown("kind of list", kind, KINDS)
    shown = KINDS if kind is None else (kind,)
    for one in shown:
        if kind is None:
            yield f"{one}:"
        yield from _section(one)


def _section(kind: str) -> Iterator[str]:
    if kind == "models":
        yield from _grouped()
    elif kind in ("datasets", "features"):
        registry = {"datasets": datasets, "features": features}[kind]
        yield from (f"  {name:<20} {registry.summary(name)}" for name in registry.names())
    elif kind == "tasks":
        yield from _names(datasets, "TASK_NAMES", "made from the corpus's own columns")
    else:
        yield from _names(models, "PRESETS", "default")


def _grouped() -> Iterator[str]:
    """Models under the groups that they state (`GROUP = "..."` in the module)."""
    groups: dict[str, list[str]] = {}
    for name in models.names():
        groups.setdefault(models.stated(name, "GROUP") or UNGROUPED, []).append(name)
    known = {group: k for k, group in enumerate((*GROUPS, *sorted(groups.keys() - {UNGROUPED, *GROUPS}), UNGROUPED))}
    for group in sorted(groups, key=lambda one: known[one]):
        yield f"  {group}"
        yield from (f"    {name:<18} {models.summary(name)}" for name in groups[group])


def _names(registry: Registry, variable: str, otherwise: str) -> Iterator[str]:
    for name in registry.names():
        yield f"  {name:<20} {', '.join(registry.declared(name, variable)) or otherwise}"
