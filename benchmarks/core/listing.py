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


def entries(kind: str) -> dict[str, str]:
    """Name -> what is said of it, of one of `KINDS`: tasks of each dataset, presets of each model."""
    if kind in ("models", "datasets", "features"):
        registry = {"models": models, "datasets": datasets, "features": features}[kind]
        return {name: registry.summary(name) for name in registry.names()}
    if kind == "tasks":
        return _declared(datasets, "TASK_NAMES", "made from the corpus's own columns")
    return _declared(models, "PRESETS", "default")


def groups() -> dict[str, list[str]]:
    """Names of models under the groups that they state (`GROUP = "..."` in the module), ours first."""
    found: dict[str, list[str]] = {}
    for name in models.names():
        found.setdefault(models.stated(name, "GROUP") or UNGROUPED, []).append(name)
    order = [*GROUPS, *sorted(found.keys() - {UNGROUPED, *GROUPS}), UNGROUPED]
    return {group: found[group] for group in order if group in found}


def _section(kind: str) -> Iterator[str]:
    known = entries(kind)
    if kind != "models":
        yield from (f"  {name:<20} {text}" for name, text in known.items())
        return
    for group, names in groups().items():
        yield f"  {group}"
        yield from (f"    {name:<18} {known[name]}" for name in names)


def _declared(registry: Registry, variable: str, otherwise: str) -> dict[str, str]:
    return {name: ", ".join(registry.declared(name, variable)) or otherwise for name in registry.names()}
