"""How the rows of a step are divided into forward and backward passes.

Widest rows first, so that rows of one pass are about as wide as one another; rows that are mixed at
different layers never meet. With packing, rows are laid one after another into lines as wide as the widest
of them (first fit decreasing), and a pass takes so many lines in place of rows. Rows that are mixed above
the embedding layer are not packed: below that layer they are twice as many.

On a CPU, where padding costs as much as tokens, a pass had better end where rows become much narrower than
its widest, `most_padding` says how much: of 8 Alpaca rows at once, more than half of the places are padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assets.interpolation.alignment import AlignedRow


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Numbers of the rows of one pass, and where packed the line of each and where in it the row begins."""

    rows: list[int]
    places: list[tuple[int, int]] | None = None


def in_micro_batches(
    rows: Sequence[AlignedRow], size: int, *, packing: bool = False, most_padding: float = 1.0
) -> Iterator[MicroBatch]:
    """Every row once, at most `size` rows or lines at a time.

    Where rows have lines of their own, no line is more than the share `most_padding` of padding.
    """
    for layer in sorted({row.layer for row in rows}):
        mine = [number for number, row in enumerate(rows) if row.layer == layer]
        order = sorted(mine, key=lambda number: (rows[number].width, number), reverse=True)
        if packing and layer == 0:
            yield from _packed(rows, order, size)
        else:
            start = 0
            while start < len(order):
                least = (1 - most_padding) * rows[order[start]].width
                part = [number for number in order[start : start + size] if rows[number].width >= least]
                yield MicroBatch(part)
                start += len(part)


def _packed(rows: Sequence[AlignedRow], order: list[int], size: int) -> Iterator[MicroBatch]:
    places = first_fit([rows[number].width for number in order])
    lines = 1 + max(line for line, _ in places)
    for first in range(0, lines, size):
        here = [at for at, (line, _) in enumerate(places) if first <= line < first + size]
        yield MicroBatch([order[at] for at in here], [(places[at][0] - first, places[at][1]) for at in here])


def first_fit(widths: Sequence[int]) -> list[tuple[int, int]]:
    """The line of each row and where in it the row begins; lines are as wide as the widest row.

    A row goes into the first line with room for it. Given widest first, at most 11/9 of the fewest
    possible lines and one more are used (first fit decreasing).
    """
    capacity = max(widths)
    used: list[int] = []
    places: list[tuple[int, int]] = []
    for width in widths:
        line = next((one for one, taken in enumerate(used) if taken + width <= capacity), len(used))
        if line == len(used):
            used.append(0)
        places.append((line, used[line]))
        used[line] += width
    return places
