"""The picture of floors and rooms, drawn from the import graph: `python tests/architecture_picture.py`.

A band is a floor, a box a room, a tinted one a component. A row holds what stands on the rows below. Within a floor an
arrow is an import, unless it follows from others; between floors a thick arrow counts the pairs of rooms.
"""

from __future__ import annotations

import ast
import html
import itertools
import runpy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = runpy.run_path(str(ROOT / "tests" / "test_layers.py"))
WHAT = {
    "benchmarks": "protocols, the grid, studies, the command line",
    "results": "what a run leaves, and what is read out of it",
    "sermodels": "arrays to predictions",
    "features": "waveforms to arrays",
    "datasets": "who said what",
}
BANDS = {
    "benchmarks": (0, 0, 1180),
    "sermodels": (0, 1, 760),
    "results": (800, 1, 380),
    "features": (0, 2, 760),
    "datasets": (0, 3, 1180),
}
"""Floor -> left edge, storey from above, width; `results` stands beside two storeys, on `datasets` alone."""
ROW, BOX, HEAD, GAP, MARGIN, LEAST_SPACE = 66, 38, 40, 46, 20, 12
STYLE = """
text { font: 13px sans-serif; text-anchor: middle; fill: #1a1a1a } .floor { font-size: 17px; font-weight: bold }
.what, .files { font-size: 11px; font-weight: normal; fill: #595959 } .floor, .what { text-anchor: start }
.band { fill: #f5f7f9; stroke: #d0d0d0 } .room { fill: #fff; stroke: #595959 }
.component { fill: #dcebf7; stroke: #0072b2 }
.import { fill: none; stroke: #8a8a8a; marker-end: url(#thin) }
.stands { stroke: #0072b2; stroke-width: 7; marker-end: url(#thick) }
.count { fill: #0072b2; text-anchor: start }
"""
MARKER = '<marker id="{}" viewBox="0 0 10 10" refX="{}" refY="5" markerWidth="{}" markerHeight="{}" orient="auto">'
Graph = dict[str, set[str]]


@dataclass(frozen=True)
class Box:
    """A room or single component: where its middle is, how wide it is, and what stands in it."""

    name: str
    x: float
    y: float
    width: float
    files: str
    is_component: bool
    about: str


def rooms(root: Path) -> Graph:
    """Room -> the rooms that it imports, without the floors' own `__init__`."""
    paths = {LAYERS["dotted"](root, p): p for floor in WHAT for p in sorted((root / floor).rglob("*.py"))}
    graph = {
        name: LAYERS["imported"](path.read_text(encoding="utf-8"), name, path.name == "__init__.py", set(paths))
        for name, path in paths.items()
    }
    joined: Graph = LAYERS["rooms"](graph)
    return {name: {o for o in others if "." in o} for name, others in joined.items() if "." in name}


def inside(graph: Graph, floor: str) -> Graph:
    """The part of the graph within a floor, without the imports that follow from others."""
    own = {
        n: {o for o in others if o.startswith(f"{floor}.")} for n, others in graph.items() if n.startswith(f"{floor}.")
    }
    below: dict[str, set[str]] = {}

    def reached(name: str) -> set[str]:
        if name not in below:
            below[name] = own[name].union(*map(reached, own[name]))
        return below[name]

    return {name: {o for o in others if not any(o in reached(p) for p in others)} for name, others in own.items()}


def box_width(name: str) -> float:
    """Width of the box of a room."""
    return 26 + 7.4 * len(name.split(".")[1])


def rows(graph: Graph, width: float) -> list[list[str]]:
    """Rooms from the lowest row to the highest, each ordered so that arrows cross little; long rows are broken."""
    level: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in level:
            level[name] = 1 + max(map(height, graph[name]), default=-1)
        return level[name]

    ordered = [[n for n in sorted(graph) if height(n) == k] for k in range(1 + max(map(height, graph)))]
    place: dict[str, float] = {}
    for _ in range(4):
        for row in [*ordered, *reversed(ordered)]:
            near = {n: [place[o] for o in graph if o in place and (o in graph[n] or n in graph[o])] for n in row}
            row.sort(key=lambda n: (sum(near[n]) / len(near[n]) if near[n] else 0.5, n))
            place |= {n: (i + 0.5) / len(row) for i, n in enumerate(row)}
    return [part for row in ordered for part in broken(row, width)]


def broken(row: list[str], width: float) -> list[list[str]]:
    """A row in as many parts of about equal length as are needed to fit the width."""
    needed = sum(box_width(name) + LEAST_SPACE for name in row)
    count = -(-int(needed) // int(width - 2 * MARGIN))
    cuts = [round(i * len(row) / count) for i in range(count + 1)]
    return [row[a:b] for a, b in itertools.pairwise(cuts)]


def boxes(root: Path, graph: Graph, floor: str, top: float, height: float) -> list[Box]:
    """The rooms of a floor in their places."""
    left, _, width = BANDS[floor]
    known, levels = LAYERS["components"](root, floor) if floor in LAYERS["MAIN"] else set(), rows(graph, width)
    pitch = (height - HEAD - BOX - 12) / max(len(levels) - 1, 1)
    made = []
    for k, row in enumerate(levels):
        wide = [box_width(name) for name in row]
        space = (width - 2 * MARGIN - sum(wide)) / len(row)
        x = left + MARGIN + space / 2
        for name, one in zip(row, wide, strict=True):
            y = top + height - 12 - BOX / 2 - k * pitch
            made.append(Box(name, x + one / 2, y, one, files(root, name), name in known, about(root, name)))
            x += one + space
    return made


def files(root: Path, name: str) -> str:
    """How many modules a room has."""
    folder = root.joinpath(*name.split("."))
    return f"{len(list(folder.rglob('[!_]*.py')))} files" if folder.is_dir() else "1 file"


def about(root: Path, name: str) -> str:
    """The first line of what a room or component says of itself."""
    place = root.joinpath(*name.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def between(graph: Graph, upper: str, lower: str) -> int:
    """Pairs of rooms of two floors of which the upper imports the lower."""
    return sum(o.split(".")[0] == lower for n, others in graph.items() if n.split(".")[0] == upper for o in others)


def drawn(box: Box) -> Iterator[str]:
    """A box with its texts."""
    kind, name = ("component" if box.is_component else "room"), box.name.split(".")[1]
    corner = f'x="{box.x - box.width / 2:.1f}" y="{box.y - BOX / 2:.1f}" width="{box.width:.1f}" height="{BOX}"'
    yield f'<g><title>{html.escape(f"{box.name}: {box.about}")}</title><rect class="{kind}" rx="5" {corner}/>'
    yield f'<text x="{box.x:.1f}" y="{box.y - 2:.1f}">{name}</text>'
    yield f'<text class="files" x="{box.x:.1f}" y="{box.y + 12:.1f}">{box.files}</text></g>'


def arrow(upper: Box, lower: Box) -> str:
    """An import, from the lower edge of a box to the upper edge of another."""
    start, end = upper.y + BOX / 2, lower.y - BOX / 2
    bend = min(40.0, (end - start) / 2)
    curve = f"{upper.x:.1f} {start + bend:.1f} {lower.x:.1f} {end - bend:.1f} {lower.x:.1f} {end:.1f}"
    return f'<path class="import" d="M{upper.x:.1f} {start:.1f} C{curve}"/>'


def stands(x: float, top: float, bottom: float, count: int) -> str:
    """The thick arrow from a floor to one below."""
    line = f'<line class="stands" x1="{x}" y1="{top:.1f}" x2="{x}" y2="{bottom - 9:.1f}"/>'
    return f'{line}<text class="count" x="{x + 12}" y="{(top + bottom) / 2 + 4:.1f}">{count}</text>'


def svg(root: Path) -> str:
    """The picture."""
    graph = rooms(root)
    floors = {floor: inside(graph, floor) for floor in BANDS}
    place = places({floor: len(rows(part, BANDS[floor][2])) for floor, part in floors.items()})
    body = []
    for floor, part in floors.items():
        left, (top, height), width = BANDS[floor][0], place[floor], BANDS[floor][2]
        body.append(f'<rect class="band" rx="8" x="{left}" y="{top}" width="{width}" height="{height}"/>')
        what = f'<tspan class="what" dx="8">{WHAT[floor]}</tspan>'
        body.append(f'<text class="floor" x="{left + 14}" y="{top + 24}">{floor}/{what}</text>')
        held = {box.name: box for box in boxes(root, part, floor, top, height)}
        body += [arrow(held[name], held[other]) for name in sorted(part) for other in sorted(part[name])]
        body += [line for box in held.values() for line in drawn(box)]
    for x, upper, lower in ARROWS:
        body.append(stands(x, sum(place[upper]), place[lower][0], between(graph, upper, lower)))
    bottom = sum(place["datasets"])
    body += [
        f'<text class="what" x="14" y="{bottom + 22 + 16 * i}">{line}</text>' for i, line in enumerate(legend(graph))
    ]
    return "\n".join([*head(bottom + 50, max(left + width for left, _, width in BANDS.values())), *body, "</svg>", ""])


def legend(graph: Graph) -> Sequence[str]:
    """What the marks mean, and the arrows that would cross a floor."""
    also = [
        f"{upper} on {lower} ({between(graph, upper, lower)})"
        for upper, lower in (("benchmarks", "features"), ("sermodels", "datasets"))
    ]
    return (
        "White: a room, the folder of that name. Blue: a component, a room or a single file, registered by being "
        "there. Thin arrow: imports; what follows from other arrows is left out.",
        f"Thick arrow: a floor stands on another, with the number of pairs of rooms; not drawn: {' and '.join(also)}.",
    )


ARROWS = (
    (180, "benchmarks", "sermodels"),
    (990, "benchmarks", "results"),
    (781, "benchmarks", "datasets"),
    (380, "sermodels", "features"),
    (380, "features", "datasets"),
    (990, "results", "datasets"),
)
"""Where a floor that stands on another has its arrow; those that pass by a floor run in the gap beside it."""


def places(levels: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Top and height of each floor."""
    tall = {floor: HEAD + 12 + BOX + (count - 1) * ROW for floor, count in levels.items()}
    second = tall["benchmarks"] + GAP
    third = second + tall["sermodels"] + GAP
    fourth = third + tall["features"] + GAP
    return {
        "benchmarks": (0, tall["benchmarks"]),
        "sermodels": (second, tall["sermodels"]),
        "features": (third, tall["features"]),
        "results": (second, fourth - GAP - second),
        "datasets": (fourth, tall["datasets"]),
    }


def head(height: float, width: float) -> Sequence[str]:
    """The beginning of the file."""
    view = f'viewBox="-10 -10 {width + 20} {height + 20}" width="{width + 20}" height="{height + 20}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} role="img" aria-label="Floors and rooms of serbench">',
        f"<style>{STYLE}</style>",
        f'<defs>{MARKER.format("thin", 9, 7, 7)}<path d="M0 1 L10 5 L0 9 z" fill="#8a8a8a"/></marker>',
        f'{MARKER.format("thick", 1, 2.4, 2.4)}<path d="M0 0 L10 5 L0 10 z" fill="#0072b2"/></marker></defs>',
        f'<rect x="-10" y="-10" width="{width + 20}" height="{height + 20}" fill="#fff"/>',
    )


if __name__ == "__main__":
    print(svg(ROOT), end="")
