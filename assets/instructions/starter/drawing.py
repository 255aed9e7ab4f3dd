"""Seeded draws and a small grammar of alternatives.

Only `random.Random.random` is used below: Python promises that its sequence for a given seed never
changes, which it does not promise for `choice`, `sample` or `shuffle`. The corpus therefore has the
same bytes under every version of Python.
"""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")
Node = str | tuple["Sequence[Node]", ...]  # a text, or the alternatives of a bracket

_SLOT = re.compile(r"(^|[.?!]\s+|\n)?\{(=?)(\w+)\}")
_START = re.compile(r"(^|[.?!]\s+|\n)([a-z])")


class Draw:
    """A stream of draws that depends on its seed alone."""

    def __init__(self, *seed: object) -> None:
        """`seed`: any values with a stable `str`; they are joined, so that a row has its own stream."""
        self._random = random.Random("\x1f".join(str(part) for part in seed))

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""
        return int(self._random.random() * bound)

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random.random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items."""
        return items[self.below(len(items))]

    def weighted(self, weights: Mapping[str, float]) -> str:
        """One of the keys, in proportion to its weight."""
        point = self._random.random() * sum(weights.values())
        for key, weight in weights.items():
            point -= weight
            if point < 0:
                return key
        return key

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in a drawn order (Fisher-Yates)."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.below(last + 1)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed

    def some(self, items: Sequence[Item], count: int) -> list[Item]:
        """`count` items at distinct places, in a drawn order."""
        return self.shuffled(items)[:count]

    def phrase(self, template: str, **slots: object) -> str:
        """The template with its alternatives (`a|b`, `[a|b|]`) drawn and its `{slot}`s filled; case is
            kept.

        White space in a template counts as one space, so that it can be laid out; `¶` is a newline.
        """
        return _fill(_tidy(self._unfold(_parse(template))), slots, capitals=False)

    def say(self, template: str, **slots: object) -> str:
        """As `phrase`, and every sentence of the template begins with a capital; `{=slot}` keeps its
        case."""
        text = _tidy(self._unfold(_parse(template)))
        text = _START.sub(lambda found: found.group(1) + found.group(2).upper(), text)
        return _fill(text, slots, capitals=True)

    def _unfold(self, nodes: Sequence[Node]) -> str:
        return "".join(
            node if isinstance(node, str) else self._unfold(node[self.below(len(node))]) for node in nodes
        )


@cache
def _parse(template: str) -> tuple[Node, ...]:
    options, end = [], -1
    while end < len(template) and (end < 0 or template[end] == "|"):
        option, end = _sequence(template, end + 1)
        options.append(option)
    if end != len(template):
        raise ValueError(f"unbalanced bracket at {end} in the template {template!r}")
    return (tuple(options),)


def _sequence(template: str, at: int) -> tuple[tuple[Node, ...], int]:
    nodes: list[Node] = []
    while at < len(template) and template[at] not in "]|":
        if template[at] == "[":
            options: list[Sequence[Node]] = []
            while template[at] != "]":
                option, at = _sequence(template, at + 1)
                options.append(option)
            nodes.append(tuple(options))
            at += 1
        else:
            stop = at
            while stop < len(template) and template[stop] not in "[]|":
                stop += 1
            nodes.append(template[at:stop])
            at = stop
    return tuple(nodes), at


def _tidy(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ?¶ ?", "\n", text)
    return re.sub(r" ([,.;:?!](?:\s|$))", r"\1", text).strip()


def _fill(text: str, slots: Mapping[str, object], *, capitals: bool) -> str:
    def value(found: re.Match[str]) -> str:
        start, kept, filled = found.group(1), found.group(2), str(slots[found.group(3)])
        if capitals and start is not None and not kept:
            filled = filled[:1].upper() + filled[1:]
        return (start or "") + filled

    return _SLOT.sub(value, text)
