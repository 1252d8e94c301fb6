"""Which test can be trusted: false-positive rates and power of every test on simulated experiments
(`results.statistics.simulation`).

    python -m serbench.benchmarks.studies.significance [--experiments 1000] [--power 500] [--seed 0] [--docs docs]
    python -m serbench.benchmarks.studies.significance --redraw        # tables and figure from the stored numbers

Writes DOCS/significance.csv (all rates), DOCS/significance.svg, and the tables between the marks of
DOCS/statistics.md. The same seed gives the same numbers. About a quarter of a CPU-hour.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ...datasets.core.errors import SerbenchError
from ...datasets.core.files import write_text
from ...datasets.core.stages import stage
from ...results.record.storage import write_csv
from ...results.statistics.simulation import TESTS, TYPICAL, WORLDS, WORSE, Draws, World, rejections
from ..core.pulse import pulsing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
NOMINAL = 0.05
COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#999999", "#000000", "#f0e442", "#d55e00")
"""Colours of Okabe and Ito, told apart by colour-blind readers."""
MARKERS = "osv^DPX<*"


def study(experiments: int = 1000, power: int = 500, seed: int = 0, draws: Draws | None = None) -> pd.DataFrame:
    """Rates of every test in every world.

    Returns
    -------
    one row per world and test: kind ("level" or "power"), world, test, rate, low, high, experiments, difference (mean
    of the scores' differences), trial, subset, rest (standard deviations of the components of one score's difference)
    """
    parts = []
    for kind, name, world, n in _worlds(experiments, power):
        with stage(f"{kind}: {name}"):
            rates = rejections(world, n, seed=seed, draws=draws or Draws(500, 500))
        facts = {"kind": kind, "world": name, **{str(k): v for k, v in rates.attrs.items()}}
        sys.stderr.write(f"{kind}: {name}: {n} experiments\n")
        parts.append(rates.reset_index(names="test").assign(**facts))
    columns = ["kind", "world", "test", "rate", "low", "high", "experiments", "difference", "trial", "subset", "rest"]
    return pd.concat(parts, ignore_index=True)[columns]


def tables(frame: pd.DataFrame) -> str:
    """The Markdown tables of the document: false positives, power, and what the worlds are like."""
    null, power = (frame[frame["kind"].eq(kind)] for kind in ("level", "power"))
    counts = [int(part["experiments"].iloc[0]) for part in (null, power)]
    typical = next(name for name, world in WORLDS.items() if world == TYPICAL)
    lines = [
        "**False positives**: how often each test calls two equally good models different at p < 0.05, in per cent of "
        f"{counts[0]} simulated experiments of 4 subsets x 5 trials. A test that holds its level shows about 5; bold "
        "is significantly more.",
        "",
        *_grid(null, bold=True),
        "",
        f'**Power** in the world "{typical}": how often a difference that is there is found, in per cent of '
        f"{counts[1]} experiments. Read it only for tests that hold their level.",
        "",
        *_grid(power.assign(world=power["difference"].map("{:+.3f} CCC".format))),
        "",
        "What the worlds are like: standard deviation of the difference of two CCC scores, by cause.",
        "",
        *_components(null),
    ]
    return "\n".join(lines)


def figure(frame: pd.DataFrame) -> Figure:
    """False-positive rates by world, and power curves of the typical world."""
    from matplotlib.figure import Figure

    shape = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = shape.subplots(1, 2, width_ratios=(3, 2))
    null = frame[frame["kind"].eq("level")]
    worlds = list(dict.fromkeys(null["world"]))
    for k, test in enumerate(dict.fromkeys(null["test"])):
        part = null[null["test"].eq(test)].set_index("world").loc[worlds]
        height = [i + (k - len(COLOURS) / 2) * 0.085 for i in range(len(worlds))]
        error = [(100 * gap).clip(lower=0) for gap in (part["rate"] - part["low"], part["high"] - part["rate"])]
        left.errorbar(100 * part["rate"], height, xerr=error, fmt=MARKERS[k], color=COLOURS[k], ms=5, lw=1, label=test)
    left.axvline(100 * NOMINAL, color="black", lw=1, ls="--")
    left.set(yticks=range(len(worlds)), xlabel="false positives (% of experiments); dashed: nominal 5 %")
    left.set_xlim(0, None)
    left.set_yticklabels([w.replace(" (", "\n(") for w in worlds])
    left.invert_yaxis()
    left.set_title("Two models that are equally good")
    _power_curves(right, frame[frame["kind"].eq("power")])
    shape.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return shape


def write(frame: pd.DataFrame, docs: Path) -> None:
    """Write the figure and the document's tables."""
    page = docs / "statistics.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else f"{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        raise SerbenchError(f"{page} has no marks {BEGIN} and {END} to write the tables between.")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_text(page, f"{before}{BEGIN}\n{tables(frame)}\n{END}{after}")
    write_text(docs / "significance.svg", svg(figure(frame)))


def svg(shape: Figure) -> str:
    """A figure as SVG text that is the same for the same figure."""
    import matplotlib

    stream = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "serbench", "svg.fonttype": "none"}):
        shape.savefig(stream, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _worlds(experiments: int, power: int) -> Iterator[tuple[str, str, World, int]]:
    for name, world in WORLDS.items():
        yield "level", name, world, experiments
    for worse in WORSE:
        yield "power", f"{worse:g}", replace(TYPICAL, worse=worse), power


def _grid(part: pd.DataFrame, *, bold: bool = False) -> list[str]:
    worlds = list(dict.fromkeys(part["world"]))
    lines = ["| test | " + " | ".join(worlds) + " |", "|---|" + "---:|" * len(worlds)]
    for test in TESTS:
        row = part[part["test"].eq(test)].set_index("world")
        cells = [
            ("**{:.1f}**" if bold and low > NOMINAL else "{:.1f}").format(100 * rate) if rate == rate else "-"
            for rate, low in row.loc[worlds, ["rate", "low"]].itertuples(index=False)
        ]
        lines.append(f"| {test} | " + " | ".join(cells) + " |")
    return lines


def _components(null: pd.DataFrame) -> list[str]:
    lines = ["| world | between trials | between subsets | rest |", "|---|---:|---:|---:|"]
    for world, row in null.drop_duplicates("world").set_index("world").iterrows():
        lines.append(f"| {world} | {row['trial']:.4f} | {row['subset']:.4f} | {row['rest']:.4f} |")
    return lines


def _power_curves(axes: Axes, power: pd.DataFrame) -> None:
    for k, test in enumerate(dict.fromkeys(power["test"])):
        part = power[power["test"].eq(test)]
        axes.plot(part["difference"].abs(), 100 * part["rate"], color=COLOURS[k], marker=MARKERS[k], ms=5, lw=1.2)
    axes.set(xlabel="true difference (CCC)", ylabel="found (% of experiments)", ylim=(0, 102))
    axes.set_title("One is better, in the typical world")


def main() -> None:
    """Run the study and write the document's tables and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--power", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--redraw", action="store_true", help="tables and figure from DOCS/significance.csv")
    given = parser.parse_args()
    table = given.docs / "significance.csv"
    if not given.redraw:
        with pulsing(), stage("significance study"):
            write_csv(table, study(given.experiments, given.power, given.seed))
    write(pd.read_csv(table), given.docs)


if __name__ == "__main__":
    main()
