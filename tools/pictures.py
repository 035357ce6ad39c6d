#!/usr/bin/env python3
"""Draw the rooms of the package and the way of an export through it, from the source.

Usage: pictures.py FOLDER

Writes ``house.svg`` and ``flow.svg`` to FOLDER. The same source gives the same
bytes. The documentation is built with them (``make docs``).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

import grimp

PACKAGE = "butler_replica"
SOURCE = Path(__file__).resolve().parent.parent / "files/butler_replica/src"

FLOW = ("ExportFile", "FilePlan", "ImportResult")
"""What an export becomes, one after the other."""
FLOW_ROOMS = ("exports", "imports")

STYLE = """
  text { font: 13px sans-serif; fill: #1b2733 }
  .small { font-size: 11px; fill: #51606e }
  .box { fill: #eef3f8; stroke: #33658a; stroke-width: 1.2 }
  .circle { fill: #fbe3df; stroke: #b23a2a }
  .step { fill: #fff; stroke: #8ba3b8 }
  .arrow { stroke: #8ba3b8; stroke-width: 1.1; fill: none; marker-end: url(#tip) }
"""
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="#8ba3b8"/></marker>'
)


@dataclass(frozen=True)
class Room:
    """A folder of the package, or a module that stands alone."""

    name: str
    n_modules: int
    n_lines: int


def svg(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """Return a picture of these parts."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style><defs>{TIP}</defs>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def box(
    corner: tuple[float, float], size: tuple[float, float], kind: str, texts: Sequence[str]
) -> Iterator[str]:
    """Yield a rectangle with lines of text, the first one larger."""
    (x, y), (width, height) = corner, size
    yield (f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="5"/>')
    for number, text in enumerate(texts):
        small = ' class="small"' if number else ""
        yield f'<text{small} x="{x + 10:.0f}" y="{y + 19 + 16 * number:.0f}">{escape(text)}</text>'


def arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return a line with a tip, bent where it leaves and arrives."""
    (x0, y0), (x1, y1) = start, end
    middle = (y0 + y1) / 2
    return (
        f'<path class="arrow" d="M{x0:.0f} {y0:.0f} C{x0:.0f} {middle:.0f} '
        f'{x1:.0f} {middle:.0f} {x1:.0f} {y1:.0f}"/>'
    )


# The house


def rooms_of(source: Path) -> dict[str, Room]:
    """Return what lies in the package, one module or one folder each."""
    rooms = {}
    for path in sorted((source / PACKAGE).iterdir()):
        modules = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []
        if modules and not path.stem.startswith("__"):
            n_lines = sum(len(module.read_text(encoding="utf-8").splitlines()) for module in modules)
            rooms[path.stem] = Room(path.stem, len(modules), n_lines)
    return rooms


def imports_of(rooms: Iterable[str]) -> dict[str, set[str]]:
    """Return which rooms each room imports from."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    imported: dict[str, set[str]] = {name: set() for name in rooms}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            here, there = (name.split(".")[1:2] for name in (module, other))
            if here and there and here != there and here[0] in imported and there[0] in imported:
                imported[here[0]].add(there[0])
    return imported


def reached(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    """Return what can be reached from a node by at least one arrow."""
    seen: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += graph[name]
    return seen


def floors_of(imported: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the rooms floor by floor, lowest first: each above all that it imports from; a circle has one floor."""
    below = {name: reached(imported, name) for name in imported}
    circle = {
        name: frozenset({name} | {other for other in below[name] if name in below[other]})
        for name in imported
    }
    above = {
        ring: {circle[other] for name in ring for other in imported[name]} - {ring}
        for ring in circle.values()
    }
    level: dict[frozenset[str], int] = {}
    for ring in TopologicalSorter(above).static_order():
        level[ring] = 1 + max((level[other] for other in above[ring]), default=-1)
    floors: list[list[str]] = [[] for _ in range(1 + max(level.values()))]
    for name in sorted(imported):
        floors[level[circle[name]]].append(name)
    return floors


def nearest(imported: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Yield the arrows that no longer way replaces."""
    for name in sorted(imported):
        further = set().union(*(reached(imported, other) for other in imported[name]), set())
        for other in sorted(imported[name]):
            if other not in further or other in reached(imported, other):
                yield name, other


def ordered(floors: list[list[str]], arrows: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the floors with rooms near those that they lead to."""
    place = {name: float(number) for floor in floors for number, name in enumerate(floor)}
    for _ in range(8):
        for floor in floors:
            wanted = {
                name: [place[a if b == name else b] for a, b in arrows if name in {a, b}] for name in floor
            }
            floor.sort(key=lambda name: (sum(near) / len(near) if (near := wanted[name]) else 0.0, name))
            place |= {name: number - (len(floor) - 1) / 2 for number, name in enumerate(floor)}
    return floors


def house(source: Path = SOURCE) -> str:
    """Return the picture of the rooms."""
    rooms = rooms_of(source)
    imported = imports_of(rooms)
    arrows = list(nearest(imported))
    floors = ordered(floors_of(imported), arrows)
    across, up, wide, high = 168, 96, 146, 46
    width = across * max(map(len, floors)) + 20
    height = up * len(floors) + 34
    corner: dict[str, tuple[float, float]] = {}
    for level, floor in enumerate(floors):
        left = (width - across * len(floor)) / 2 + (across - wide) / 2
        for number, name in enumerate(floor):
            corner[name] = (left + across * number, up * (len(floors) - 1 - level) + 12)
    parts = [
        arrow((corner[a][0] + wide / 2, corner[a][1] + high), (corner[b][0] + wide / 2, corner[b][1]))
        for a, b in arrows
    ]
    for name, (x, y) in sorted(corner.items()):
        room = rooms[name]
        size = f"{room.n_lines:,} lines" + (f", {room.n_modules} modules" if room.n_modules > 1 else "")
        kind = "box circle" if name in reached(imported, name) else "box"
        parts += box((x, y), (wide, high), kind, [name, size])
    note = "An arrow leads to what a room imports; those that a longer way replaces are left out."
    parts.append(f'<text class="small" x="12" y="{height - 8:.0f}">{note}</text>')
    return svg(max(width, 520), height, f"The rooms of {PACKAGE}", parts)


# The way of an export


@dataclass(frozen=True)
class Step:
    """A public function, what it takes of the flow, what it returns of it, and its first sentence."""

    where: str
    takes: frozenset[str]
    returns: frozenset[str]
    says: str


def named(annotations: Iterable[ast.expr | None]) -> frozenset[str]:
    """Return the classes of the flow that annotations name."""
    words = {word for note in annotations if note for word in re.findall(r"\w+", ast.unparse(note))}
    return frozenset(words & set(FLOW))


def steps_of(source: Path) -> list[Step]:
    """Return the public functions that take or return what is in the flow."""
    steps = []
    for room in FLOW_ROOMS:
        for path in sorted((source / PACKAGE / room).rglob("*.py")):
            module = ".".join(path.relative_to(source / PACKAGE).with_suffix("").parts)
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                    continue
                takes = named(a.annotation for a in (*node.args.args, *node.args.kwonlyargs))
                says = (ast.get_docstring(node) or "").partition("\n")[0]
                step = Step(f"{module}.{node.name}", takes, named([node.returns]), says)
                if step.takes or step.returns:
                    steps.append(step)
    return steps


def flow(source: Path = SOURCE) -> str:
    """Return the picture of what an export becomes, and of the functions on the way."""
    steps = steps_of(source)
    parts: list[str] = []
    wide, left, y = 820.0, 20.0, 12.0

    def put(kind: str, x: float, texts: Sequence[str]) -> None:
        nonlocal y
        high = 14 + 16.0 * len(texts)
        parts.extend(box((x, y), (wide - x - 20, high), kind, texts))
        y += high

    put("box", left, ["export file", "as butler export-... has written it"])
    trunk = y
    for stage in FLOW:
        makers = [step for step in steps if stage in step.returns - step.takes]
        users = [step for step in steps if stage in step.takes and not step.returns - step.takes]
        if not makers:
            raise SystemExit(
                f"pictures: nothing returns {stage}; FLOW of {Path(__file__).name} has to follow"
            )
        for step in makers:
            parts.append(arrow((left + 60, trunk), (left + 60, y + 22)))
            y += 22
            put("step", left + 20, [step.where, step.says])
        parts.append(arrow((left + 60, y), (left + 60, y + 22)))
        y += 22
        put("box", left, [stage])
        trunk = y
        for step in users:
            y += 6
            put("step", left + 120, [step.where, step.says])
            parts.append(f'<path class="arrow" d="M{left + 60:.0f} {y - 23:.0f} H{left + 120:.0f}"/>')
    return svg(wide, y + 12, "The way of an export", parts)


def write(folder: Path) -> None:
    """Write both pictures to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "house.svg").write_text(house(), encoding="utf-8")
    (folder / "flow.svg").write_text(flow(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
