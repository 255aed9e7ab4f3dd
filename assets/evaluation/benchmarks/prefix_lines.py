"""Sequences that begin alike, laid out so that what they share is computed once.

The choices of a question share its prompt, the questions of a task their few-shot examples. Such sequences
stand on one line as the branches of a tree: a token sees itself, what stands before it in its own branch
and the branches that it grew out of, at the positions it would have alone. So the states are those of
each sequence alone, up to the order in which a sum is taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

LINE_TOKENS = 1024
"""Longest line that is made by sharing: attention within a line grows with its square."""

SHARED = 0.5
"""Share of a sequence that must stand on a line already for it to join that line."""

Places = npt.NDArray[np.int64]


@dataclass
class Line:
    """Tokens of one or more sequences. `ids` and `positions` are parallel.

    `spans` are the branches: start and stop on the line, and the stretches of it that they grew out of.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    spans: list[tuple[int, int, list[tuple[int, int]]]] = field(default_factory=list)

    @property
    def branches(self) -> bool:
        """Whether causal attention alone would show tokens what is not theirs."""
        return len(self.spans) > 1

    def mask(self, width: int) -> npt.NDArray[np.bool_]:
        """Which place (row) sees which (column), (width, width); places after the line see themselves."""
        seen = np.eye(width, dtype=np.bool_)
        for start, stop, before in self.spans:
            seen[start:stop, start:stop] = np.tri(stop - start, dtype=np.bool_)
            for first, last in before:
                seen[start:stop, first:last] = True
        return seen

    def _add(self, ids: Sequence[int], before: list[tuple[int, int]], depth: int) -> tuple[int, int]:
        start = len(self.ids)
        self.ids += ids
        self.positions += range(depth, depth + len(ids))
        self.spans.append((start, len(self.ids), before))
        return start, len(self.ids)


def lay_out(
    sequences: Sequence[tuple[int, ...]], *, shared: bool = True, line_tokens: int = LINE_TOKENS
) -> tuple[list[Line], dict[tuple[int, ...], tuple[int, Places]]]:
    """Lines, and where on them each distinct sequence stands: (number of the line, places of its tokens).

    Deterministic, whatever the order of `sequences`. Without `shared` each has a line of its own.
    """
    lines: list[Line] = []
    found: dict[tuple[int, ...], tuple[int, Places]] = {}
    previous: tuple[int, ...] = ()
    path: list[tuple[int, int]] = []
    # In lexicographic order a sequence shares most with one of its neighbours.
    for sequence in sorted(set(sequences)):
        common = _common(previous, sequence)
        joins = (
            shared
            and bool(lines)
            and common >= SHARED * len(sequence)
            and len(lines[-1].ids) + len(sequence) - common <= line_tokens
        )
        if joins:
            path = _first(path, common)
        else:
            lines.append(Line())
            path, common = [], 0
        if len(sequence) > common:
            path = [*path, lines[-1]._add(sequence[common:], list(path), common)]
        places = np.concatenate([np.arange(start, stop) for start, stop in path])
        found[sequence] = (len(lines) - 1, places)
        previous = sequence
    return lines, found


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def _first(path: list[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The stretches that hold the first `count` tokens of a path."""
    kept = []
    for start, stop in path:
        taken = min(stop - start, count)
        if not taken:
            break
        kept.append((start, start + taken))
        count -= taken
    return kept
