"""The protocol card of a ranking: the facts of corpus, task and protocol that stand in its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import Ranking


def protocol_card(ranking: Ranking) -> list[tuple[str, str]]:
    """The facts of the protocol card that stand in the record."""
    spec = ranking.runs[0].spec
    dataset, protocol, task = spec["dataset"], spec["protocol"], ranking.task
    sizes: dict[str, Any] = protocol.get("sizes") or {}
    folds = "; ".join(f"{fold}: train {n[0]}, dev {n[1]}, test {n[2]}" for fold, n in sizes.items())
    merges = ", ".join(f"{raw} = {label}" for raw, label in task.mapping.items() if raw != label)
    transfer = spec.get("transfer") or {}
    return [
        ("dataset", f"{dataset['name']} {dataset.get('release') or ''}".strip()),
        ("table", str(dataset["digest"])),
        ("task", f"{task.name} ({task.kind})"),
        ("classes", ", ".join(task.labels)),
        ("mapping", merges),
        ("only rows with", "; ".join(f"{k} in {', '.join(map(str, v))}" for k, v in task.where.items())),
        ("scales", ", ".join(f"{t}: {lo:g} to {hi:g}" for t, (lo, hi) in task.scales.items())),
        ("label frame", f"{task.frame_seconds:g} s" if task.frame_seconds else ""),
        (
            "metric",
            task.metric
            + (" (unweighted average recall)" if task.metric == "UAR" else " (concordance correlation coefficient)"),
        ),
        ("protocol", f"{protocol.get('name', 'unnamed')}, digest {ranking.digest}"),
        ("split", str(protocol.get("split") or "")),
        ("test subsets", f"{protocol.get('subsets') or 1}, uncut group: {protocol.get('group') or 'none'}"),
        ("seed", str(protocol.get("seed", ""))),
        ("folds", folds or ", ".join(ranking.runs[0].folds)),
        ("carried over", "; ".join(map(str, transfer.get("notes") or ()))),
        ("licence", str(dataset.get("licence") or "")),
        ("cite", str(dataset.get("citation") or "")),
    ]
