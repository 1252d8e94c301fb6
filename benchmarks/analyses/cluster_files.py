"""A cluster analysis as files: its measures, the chunks with their clusters, a page, and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ...datasets.core.files import write_text
from ...results.display.numbers import number
from ...results.display.table import Table, to_markdown
from ...results.record.storage import write_csv
from ..studies.figure import save_figure
from .cluster_contents import BINS, verdict
from .cluster_figures import distributions, projections
from .cluster_measures import SHUFFLES
from .clusters import Clustered

EXPLAINED = (
    "chance: mean over shuffles of the sentences (of the chunks, for sentence, position and level); within speakers: "
    "of the sentences of each speaker; untrained: the clusters of a network of the same shape with fresh weights; "
    f"excess: value - chance. Attributes and level are cut into {BINS} groups for NMI."
)


def write(systems: Sequence[Clustered], folder: Path, plot: str = "box") -> list[Path]:
    """Write clusters_RUN.csv (measures), _chunks, _contents, .md, _distribution.png, _projection.png; their paths."""
    stem = f"clusters_{systems[0].run_id}"
    measures = pd.concat([one.measures.assign(system=one.name, run=one.run_id) for one in systems], ignore_index=True)
    chunks = pd.concat([one.chunks.assign(system=one.name) for one in systems], ignore_index=True)
    paths = [write_csv(folder / f"{stem}.csv", measures), write_csv(folder / f"{stem}_chunks.csv", chunks)]
    if held := [one.contents.assign(system=one.name, run=one.run_id) for one in systems if len(one.contents)]:
        paths.append(write_csv(folder / f"{stem}_contents.csv", pd.concat(held, ignore_index=True)))
    write_text(folder / f"{stem}.md", markdown(systems))
    paths.append(folder / f"{stem}.md")
    drawings = {"projection": projections(systems)}
    if systems[0].attributes:
        drawings["distribution"] = distributions(systems, plot)
    for name, drawn in drawings.items():
        save_figure(drawn, folder / f"{stem}_{name}.png")
        paths.append(folder / f"{stem}_{name}.png")
    return paths


def markdown(systems: Sequence[Clustered]) -> str:
    """The measures side by side, and each system's clusters."""
    rows = []
    for r in systems[0].measures.to_dict("records"):
        cells = {"measure": f"{r['measure']} {r['target']}"}
        for one in systems:
            here = one.measures[one.measures["target"].eq(r["target"])].iloc[0]
            cells |= {one.name: number(here["value"]), f"{one.name}, by chance": number(here["chance"])}
        rows.append(cells)
    parts = [
        "# Emotion in the clusters",
        "",
        to_markdown(Table("", rows)),
        "",
        "ratio: variance of the attribute between clusters over that within them. NMI: with the emotion classes. "
        f"By chance: mean over {SHUFFLES} shuffles of the labels among sentences.",
    ]
    for one in systems:
        parts += ["", f"## {one.name}", "", f"{one.run_id}", "", to_markdown(Table("", _cluster_rows(one)))]
        if len(one.contents):
            parts += ["", verdict(one.contents), "", to_markdown(Table("", _content_rows(one))), "", EXPLAINED]
    return "\n".join([*parts, ""])


def _content_rows(one: Clustered) -> list[dict[str, str]]:
    columns = ("value", "chance", "within_speakers", "untrained", "excess")
    return [
        {
            "measure": f"{row['measure']} {row['target']}",
            **{column.replace("_", " "): number(row[column]) for column in columns},
        }
        for row in one.contents.to_dict("records")
    ]


def _cluster_rows(one: Clustered) -> list[dict[str, str]]:
    """Size, means and most frequent emotion of each cluster."""
    rows = []
    for cluster, part in one.chunks.groupby("cluster"):
        usual = part["emotion"].dropna().mode()
        rows.append(
            {
                "cluster": str(cluster),
                "chunks": str(len(part)),
                "sentences": str(part["id"].nunique()),
                **{f"mean {a}": number(float(part[a].mean())) for a in one.attributes},
                "most frequent emotion": f"{usual.iloc[0]} ({part['emotion'].eq(usual.iloc[0]).mean():.0%})"
                if len(usual)
                else "-",
            }
        )
    return rows
