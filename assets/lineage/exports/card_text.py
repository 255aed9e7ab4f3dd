"""Markdown for cards. Whatever is not declared `Markup` is data and gets escaped."""

from collections.abc import Iterable, Sequence
from typing import Any

from resources.text import escape_markdown_cell


class Markup(str):
    """Text of Sultana's own, which goes into a card as it is."""

    __slots__ = ()


def code(name: str) -> Markup:
    """A name of Sultana's own, as code."""
    return Markup(f"`{name}`")


def cell(value: Any) -> str:
    """A value as a cell of a table."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape_markdown_cell(str(value))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; columns of numbers stand to the right. `head` is not escaped."""
    rows = list(rows)
    right = [all(isinstance(row[place], int | float) for row in rows) for place in range(len(head))]
    lines = [list(head), ["---:" if one else "---" for one in right]]
    lines += [[cell(one) for one in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
