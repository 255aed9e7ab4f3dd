"""Text from rows is data everywhere: quoted in filters, escaped where people read it, checked in names."""

import json
import re
import unicodedata
from collections.abc import Iterable

from resources.errors import SultanaError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
# Control, format (bidirectional overrides, zero width, tags), surrogate, private, unassigned, and
# the two separators that some programs take for the end of a line.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BEYOND_ASCII = re.compile("[\x7f-\U0010ffff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MARKDOWN = frozenset("&<>\"'|`*_~[](){}!#$\\")


def check_name(value: str, what: str) -> str:
    """Return `value` if it may name a table, a model, a source or a partition; `what` says which.

    Letters, digits, `_`, `.` and `-`, at most 64, beginning with a letter or digit, without `..`, so
    that it can be part of a path, a filter or a URL. Raises SultanaError otherwise.
    """
    if not isinstance(value, str) or not _NAME.fullmatch(value) or ".." in value:
        raise SultanaError(
            f'{what} "{escape_terminal(str(value), 80)}" is not a legal name',
            "Use at most 64 letters, digits, '_', '.' and '-', a letter or digit first, no '..'",
            code="name-invalid",
        )
    return value


def sql_quote(value: str) -> str:
    """A string literal of a Lance filter (DataFusion SQL): in single quotes, quotes inside doubled."""
    return "'" + value.replace("'", "''") + "'"


def id_filter(column: str, ids: Iterable[str]) -> str:
    """A Lance filter that keeps the rows whose `column` is one of `ids`; no ids keep no row.

    Raises SultanaError for an id outside the alphabet of ids, ValueError for an odd column name.
    """
    if not _COLUMN.fullmatch(column):
        raise ValueError(f"not a column name: {column!r}")
    literals = []
    for one in ids:
        if not isinstance(one, str) or not _ID.fullmatch(one):
            raise SultanaError(
                f'"{escape_terminal(str(one), 80)}" is not a legal {column}',
                "Give ids as the tables show them: at most 128 letters, digits, '_', '.', ':' and '-'",
                code="row-id-invalid",
            )
        literals.append(sql_quote(one))
    return f"{column} IN ({', '.join(literals)})" if literals else "false"


def _visible(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _cut(text: str, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return text
    return text[: max(limit - 1, 0)] + "…"


def escape_terminal(text: str, limit: int | None = None) -> str:
    """`text` on one line with control, bidirectional and zero-width characters spelt out.

    `limit` counts characters of `text`, before escaping.
    """
    kept = _cut(text, limit)
    if kept.isprintable():  # most are; Python holds none of an invisible category for printable
        return kept
    return "".join(
        _visible(character) if unicodedata.category(character) in _INVISIBLE else character
        for character in kept
    )


def escape_lines(text: str, limit: int | None = None) -> str:
    """The same of a text of several lines, which stay lines."""
    return "\n".join(escape_terminal(line) for line in _cut(text, limit).split("\n"))


def escape_json(document: str) -> str:
    """The same JSON document with control, direction and other invisible characters of its strings as escapes.

    A writer of JSON leaves those beyond ASCII as they are, and U+009B alone begins a command of a terminal.
    """
    return _BEYOND_ASCII.sub(_as_json, document)


def _as_json(found: re.Match[str]) -> str:
    character = found.group()
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    return f"\\u{ord(character):04x}" if character <= "\uffff" else json.dumps(character)[1:-1]


def escape_markdown_cell(text: str, limit: int = 160) -> str:
    """`text` as one cell of a Markdown table: no markup, HTML, cell border or line end gets through.

    `limit` counts characters of `text`, before escaping.
    """
    return "".join(
        f"&#{ord(character)};" if character in _MARKDOWN else character
        for character in escape_terminal(text, limit)
    )
