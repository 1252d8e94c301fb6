"""What the clusters of runs hold, where `serbench clusters` has looked: its files, as a table of the report."""

from __future__ import annotations

import pandas as pd

from ..display.numbers import number
from ..display.table import Cell, Table
from .data import Ranking

NOTE = (
    "Of runs that serbench clusters has looked at. NMI of the clusters of chunks with what is known of them (ratio: "
    "variance between clusters over that within); chance: labels shuffled among sentences, or chunks; within speakers: "
    "among the sentences of each speaker; untrained: clusters of a network with fresh weights; excess: value - chance. "
    "Clusters that hold more of speakers or sentences than of emotion are no clusters of emotion."
)
COLUMNS = ("value", "chance", "within_speakers", "untrained", "excess")


def contents_table(ranking: Ranking, stem: str) -> Table | None:
    """The contents of all runs of a ranking that have been analysed; None without any."""
    frames = []
    for run in ranking.runs:
        path = run.results / "studies" / f"clusters_{run.run_id}_contents.csv"
        if path.is_file():
            frame = pd.read_csv(path)
            frames.append(frame[frame["run"].eq(run.run_id)].assign(name=ranking.names.get(run.run_id, run.name)))
    if not frames:
        return None
    together = pd.concat(frames, ignore_index=True)
    rows: list[dict[str, Cell | str]] = [
        {
            "model": str(row["name"]),
            "measure": f"{row['measure']} {row['target']}",
            **{column.replace("_", " "): Cell(number(row[column]), float(row[column])) for column in COLUMNS},
        }
        for row in together.to_dict("records")
    ]
    return Table(f"{ranking.title}: what clusters hold", rows, NOTE, name=f"{stem}-clusters", frame=together)
