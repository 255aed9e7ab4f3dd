"""The chain of materializations behind a checkpoint as a picture: boxes from the sources to the model."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from resources.text import escape_terminal

WIDTH, HEIGHT, GAP_X, GAP_Y = 168, 58, 26, 18
"""Of a box and between boxes, in pixels."""
LONGEST_NAME = 25
"""Characters that fit into a box."""


def chain_figure(chain: Sequence[Mapping[str, Any]]) -> str:
    """An SVG element of links as `lineage.tell` gives them, each once; arrows go from what was read to what read it."""
    columns = _columns(chain)
    tallest = max(len(column) for column in columns)
    height = tallest * (HEIGHT + GAP_Y) - GAP_Y
    width = len(columns) * (WIDTH + GAP_X) - GAP_X
    places = {
        name: (
            x * (WIDTH + GAP_X),
            (height - len(column) * (HEIGHT + GAP_Y) + GAP_Y) / 2 + y * (HEIGHT + GAP_Y),
        )
        for x, column in enumerate(columns)
        for y, name in enumerate(column)
    }
    drawn = [_arrow(places[source], places[one["asset"]]) for one in chain for source in one["upstream"]]
    drawn += [_box(one, *places[one["asset"]]) for one in chain]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {width + 8} {height + 8:.0f}" role="img" '
        f'aria-label="The materializations that the model was made of" font-family="sans-serif">'
        f"{''.join(drawn)}</svg>"
    )


def _columns(chain: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Assets by their longest way from a source, each column by name."""
    upstream = {one["asset"]: one["upstream"] for one in chain}
    depth: dict[str, int] = {}

    def deep(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((deep(source) for source in upstream[name]), default=-1)
        return depth[name]

    columns: list[list[str]] = [[] for _ in range(1 + max(deep(name) for name in upstream))]
    for name in sorted(upstream):
        columns[depth[name]].append(name)
    return columns


def _box(one: Mapping[str, Any], x: float, y: float) -> str:
    lines = [one["asset"].replace("_", " ")]
    lines += [f"{ref['rows']:,} rows, version {ref['version']}" for ref in one["tables"][:1]]
    lines += [
        f"code {one['code_version']}, {one['git_commit'][:8] if one['git_commit'] else 'unknown commit'}"
    ]
    texts = "".join(
        f'<text x="{x + 10:.0f}" y="{y + 19 + 16 * place:.0f}" font-size="{12 if place else 13}" '
        f'fill="{"#625d70" if place else "#1d1a26"}"{"" if place else " font-weight=" + chr(34) + "600" + chr(34)}>'
        f"{escape(escape_terminal(line, LONGEST_NAME))}</text>"
        for place, line in enumerate(lines)
    )
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#f7f5fb" stroke="#5b3a8c"/>'
        f"{texts}"
    )


def _arrow(source: tuple[float, float], target: tuple[float, float]) -> str:
    x1, y1 = source[0] + WIDTH, source[1] + HEIGHT / 2
    x2, y2 = target[0], target[1] + HEIGHT / 2
    middle = x2 - GAP_X / 2
    return (
        f'<path d="M{x1:.0f} {y1:.0f} C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2 - 5:.0f} {y2:.0f}" fill="none" '
        f'stroke="#b3a5cc" stroke-width="1.6"/><path d="M{x2:.0f} {y2:.0f} l-7 -4 v8 z" fill="#b3a5cc"/>'
    )
