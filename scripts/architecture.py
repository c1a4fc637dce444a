#!/usr/bin/env python3
"""Draw docs/architecture.svg from the imports of the package: `python scripts/architecture.py`.

Each box is a package with its modules; an arrow leads to each package that it uses, on a row further down. Arrows that
follow from others are left out, and those to `types`, `errors` and `version`, which nearly all use. The same imports
give the same drawing, to the byte.
"""

import ast
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dedup"
DRAWING = ROOT / "docs" / "architecture.svg"
EVERYWHERE = ("types", "errors", "version")  # drawn in the last row, without arrows
COLOURS = {
    "cli": "#f6d8c8",
    "api": "#f6d8c8",
    "review": "#d9e8cf",
    "cluster": "#f3ecc4",
    "training": "#e6dcf2",
    "types": "#e8e8e8",
    "errors": "#e8e8e8",
    "version": "#e8e8e8",
}
BLUE = "#d6e4f0"  # every other package
COLUMN, LINE, HEADER, PAD = 100, 16, 22, 8  # pixels: width of a column of modules, height of a line and of a name
EDGE, GAP, DOWN = 16, 22, 44  # pixels: margin, between two boxes, between two rows
LONGEST = 5  # modules in one column

Arrows = dict[str, set[str]]
Point = tuple[float, float]


def modules() -> dict[str, Path]:
    """Return the modules of the package by their dotted names within it."""
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Return the dotted names of all imports, those inside functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_module(name: str) -> str | None:
    """Return the module of this package that a dotted name belongs to; None for other packages."""
    parts = name.split(".")
    if parts[0] != "dedup":
        return None
    for end in (3, 2):
        if ".".join(parts[1:end]) in modules():
            return ".".join(parts[1:end])
    return "__init__"


def arrows() -> Arrows:
    """Return the modules of this package that each of them imports."""
    return {name: {o for n in imported(path) if (o := own_module(n))} for name, path in modules().items()}


def packages(names: list[str]) -> dict[str, list[str]]:
    """Return the modules in each package; a module outside of all packages stands alone, with no modules in it."""
    held: dict[str, list[str]] = {}
    for package, _, module in sorted(name.partition(".") for name in names):
        if not package.startswith("__"):
            held.setdefault(package, []).extend([module] if module and module != "__init__" else [])
    return held


def reduced(found: Arrows) -> Arrows:
    """Return the arrows between packages that do not follow from others, without those to EVERYWHERE."""
    uses: Arrows = {package: set() for package in packages(list(found)) if package not in EVERYWHERE}
    for name, others in found.items():
        package = name.split(".")[0]
        if package in uses:
            uses[package] |= {other.split(".")[0] for other in others} & uses.keys() - {package}

    def below(package: str) -> set[str]:
        return set().union(*({other} | below(other) for other in uses[package]))

    return {package: others - set().union(*map(below, others)) for package, others in uses.items()}


def rows(uses: Arrows) -> dict[str, int]:
    """Return the row of each package, 0 at the bottom: above all that it uses, and as near to its users as possible."""
    row: dict[str, int] = {}
    while len(row) < len(uses):
        for name in uses.keys() - row.keys():
            if uses[name] <= row.keys():
                row[name] = 1 + max((row[other] for other in uses[name]), default=-1)
    for name in sorted(uses, key=lambda n: (-row[n], n)):
        users = [row[user] for user in uses if name in uses[user]]
        row[name] = min(users, default=row[name] + 1) - 1
    return row


def routes(uses: Arrows, row: dict[str, int]) -> dict[tuple[str, str], list[str]]:
    """Return the nodes of each arrow: its two ends and, in each row between, a point to pass through."""
    return {
        (name, other): [name, *(f"{name}>{other}>{r}" for r in range(row[name] - 1, row[other], -1)), other]
        for name in sorted(uses)
        for other in sorted(uses[name])
    }


def size(held: list[str]) -> Point:
    """Return the width and height of a box with these modules."""
    columns = max(1, -(-len(held) // LONGEST))
    lines = -(-len(held) // columns)
    return columns * COLUMN + 2 * PAD, HEADER + (lines * LINE + PAD if held else 4)


def layout(ways: list[list[str]], row: dict[str, int], sizes: dict[str, Point]) -> dict[str, Point]:
    """Return the left upper corner of each box, and where arrows pass a row: near the middle of its neighbours."""
    near: dict[str, set[str]] = {name: set() for name in row}
    for way in ways:
        for r, (upper, lower) in enumerate(pairwise(way), 1):
            row.setdefault(lower, row[way[0]] - r)
            near.setdefault(upper, set()).add(lower)
            near.setdefault(lower, set()).add(upper)
    lines = [sorted(name for name in row if row[name] == r) for r in range(max(row.values()), -1, -1)]
    wide = max(sum(sizes.get(n, (0, 0))[0] + GAP for n in names) for names in lines)
    middle = dict.fromkeys(row, 0.0)
    for _ in range(24):  # each row in the order of the mean places of its neighbours, spread over the whole width
        for names in lines:
            mean = {n: sum(middle[o] for o in near[n]) / max(1, len(near[n])) for n in names}
            names.sort(key=lambda n: (round(mean[n], 6), n))
            gap = (wide - sum(sizes.get(n, (0, 0))[0] for n in names)) / len(names)
            x = gap / 2
            for n in names:
                width = sizes.get(n, (0, 0))[0]
                middle[n] = x + width / 2
                x += width + gap
    at: dict[str, Point] = {}
    top: float = EDGE
    for names in lines:
        for n in names:
            at[n] = (EDGE + middle[n] - sizes.get(n, (0, 0))[0] / 2, top)
        top += max(sizes.get(n, (0, 0))[1] for n in names) + DOWN
    return at


def curve(start: float, stops: list[tuple[float, float, float]]) -> str:
    """Return the path of an arrow from y = start over stops (x, top and bottom of the row): upright within a row."""
    path = f"M{stops[0][0]:.0f},{start:.0f}"
    for (x, _, bottom), (end, top, _) in pairwise(stops):
        half = (bottom + top) / 2
        path += f" V{bottom:.0f} C{x:.0f},{half:.0f} {end:.0f},{half:.0f} {end:.0f},{top - 2:.0f}"
    return f'<path d="{path}" fill="none" stroke="#777" marker-end="url(#tip)"/>'


def box(name: str, held: list[str], at: Point, size: Point) -> str:
    (x, y), (width, height) = at, size
    lines = [
        f'<g><rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="5" '
        f'fill="{COLOURS.get(name, BLUE)}" stroke="#555"/>',
        f'<text x="{x + width / 2:.0f}" y="{y + 17:.0f}" text-anchor="middle" font-weight="bold">{name}</text>',
    ]
    columns = max(1, -(-len(held) // LONGEST))
    tall = -(-len(held) // columns)
    for i, module in enumerate(held):
        left, line = x + PAD + (i // tall + 0.5) * COLUMN, y + HEADER + (i % tall) * LINE + 13
        lines.append(f'<text x="{left:.0f}" y="{line:.0f}" text-anchor="middle">{module}</text>')
    return "\n".join([*lines, "</g>"])


def drawing() -> str:
    """Return the text that docs/architecture.svg should hold."""
    found = arrows()
    held, uses = packages(list(found)), reduced(found)
    sizes = {name: size(modules) for name, modules in held.items()}
    row = rows(uses)
    ways = routes(uses, row)
    at = layout(list(ways.values()), row, sizes)
    bottom = max(y + sizes[name][1] for name, (_, y) in at.items() if name in sizes) + DOWN
    width = max(x + sizes.get(name, (0, 0))[0] for name, (x, _) in at.items()) + EDGE
    x = (width - sum(sizes[name][0] + GAP for name in EVERYWHERE) + GAP) / 2
    for name in EVERYWHERE:
        at[name] = (x, bottom)
        x += sizes[name][0] + GAP
    height = bottom + max(sizes[name][1] for name in EVERYWHERE) + EDGE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">',
        "<title>The packages of dedup with their modules, and which package uses which</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,1 L7,4 L0,7" fill="none" stroke="#777"/></marker>',
    ]
    ends = {y: max(y + sizes.get(n, (0, 0))[1] for n in at if at[n][1] == y) for _, y in at.values()}
    for way in ways.values():
        stops = [(at[n][0] + sizes.get(n, (0, 0))[0] / 2, at[n][1], ends[at[n][1]]) for n in way]
        lines.append(curve(at[way[0]][1] + sizes[way[0]][1], stops))
    lines += [box(name, modules, at[name], sizes[name]) for name, modules in held.items()]
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
