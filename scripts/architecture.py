#!/usr/bin/env python3
"""Draw docs/architecture.svg anew from the imports of the package: `python scripts/architecture.py`.

A module stands below all that it uses. Arrows that follow from others are left out, and those to `types`, `errors`
and `version`, which nearly all use. The same imports give the same drawing, to the byte.
"""

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dedup"
DRAWING = ROOT / "docs" / "architecture.svg"
EVERYWHERE = {"types", "errors", "version", "__init__", "__main__"}
COLOURS = {
    "cli": "#f6d8c8",
    "commands": "#f6d8c8",
    "api": "#f6d8c8",
    "cluster": "#f3ecc4",
    "review": "#d9e8cf",
    "training": "#e6dcf2",
    "": "#d6e4f0",
}
WIDTH, HEIGHT, ACROSS, DOWN, EDGE = 124, 24, 136, 60, 14  # pixels

Arrows = dict[str, set[str]]


def modules() -> dict[str, Path]:
    """Return the modules of the package by their dotted names within it."""
    return {".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Return the dotted names of all imports, those inside functions among them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(name: str) -> str | None:
    """Return which of our modules a dotted name is in."""
    parts = name.split(".")
    if parts[0] != "dedup":
        return None
    for end in (3, 2):
        if ".".join(parts[1:end]) in modules():
            return ".".join(parts[1:end])
    return "__init__"


def arrows() -> Arrows:
    """Return which of our modules each of them uses."""
    return {name: {o for n in imported(path) if (o := own(n))} for name, path in modules().items()}


def drawn(found: Arrows) -> Arrows:
    """Return the arrows that do not follow from others, without EVERYWHERE."""
    hidden = EVERYWHERE | {name for name in found if name.endswith(".__init__")}
    some = {name: uses - hidden for name, uses in found.items() if name not in hidden}

    def below(name: str) -> set[str]:
        return set().union(*({other} | below(other) for other in some[name]))

    return {name: uses - set().union(*map(below, uses)) for name, uses in some.items()}


def places(uses: Arrows) -> dict[str, tuple[float, float]]:
    """Return the left upper corner of each module: a row below all that it uses, in the middle of its neighbours."""
    row: dict[str, int] = {}
    while len(row) < len(uses):
        for name in uses.keys() - row.keys():
            if uses[name] <= row.keys():
                row[name] = 1 + max((row[other] for other in uses[name]), default=-1)
    users = {name: {n for n in uses if name in uses[n]} for name in uses}
    for name in sorted(uses, key=lambda n: -row[n]):  # and then as near to its users as they allow
        row[name] = min((row[user] for user in users[name]), default=row[name] + 1) - 1
    near = {name: uses[name] | users[name] for name in uses}
    rows = {r: sorted(n for n in uses if row[n] == r) for r in sorted(set(row.values()))}
    widest = max(map(len, rows.values()))
    at: dict[str, float] = {}
    for _ in range(24):  # each row in the order of the mean places of its neighbours
        for names in rows.values():
            centre = {n: sum(at.get(o, 0) for o in near[n]) / max(1, len(near[n])) for n in names}
            names.sort(key=lambda n: (round(centre[n], 6), n))
            at |= {n: (i + 0.5) * widest / len(names) for i, n in enumerate(names)}
    return {n: (EDGE + (at[n] - 0.5) * ACROSS, EDGE + row[n] * DOWN) for n in uses}


def svg(uses: Arrows, at: dict[str, tuple[float, float]]) -> str:
    width = max(x for x, _ in at.values()) + WIDTH + EDGE
    height = max(y for _, y in at.values()) + HEIGHT + EDGE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12">',
        "<title>The modules of dedup, and which uses which</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,1 L7,4 L0,7" fill="none" stroke="#777"/></marker>',
    ]
    for name in sorted(uses):
        for other in sorted(uses[name]):
            (x, y), (above, top) = at[name], at[other]
            x, above, end = x + WIDTH / 2, above + WIDTH / 2, top + HEIGHT + 2
            middle = (y + end) / 2
            lines.append(
                f'<path d="M{x:.0f},{y:.0f} C{x:.0f},{middle:.0f} {above:.0f},{middle:.0f} {above:.0f},{end:.0f}" '
                'fill="none" stroke="#777" marker-end="url(#tip)"/>'
            )
    for name, (x, y) in sorted(at.items()):
        colour = next(c for start, c in COLOURS.items() if name.startswith(start))
        about = (ast.get_docstring(ast.parse(modules()[name].read_text(encoding="utf-8"))) or name).split("\n")[0]
        lines.append(
            f'<g><title>{escape(about)}</title><rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="4" '
            f'fill="{colour}" stroke="#555"/><text x="{x + WIDTH / 2:.0f}" y="{y + 16:.0f}" text-anchor="middle">'
            f"{name}</text></g>"
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


def drawing() -> str:
    """Return what docs/architecture.svg should hold."""
    uses = drawn(arrows())
    return svg(uses, places(uses))


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
