"""Rows of CSV files, streamed, by RFC 4180 strictly.

A quote that is never closed swallows the rest of the file in most readers without a word, and a row of
the wrong length shifts its columns. Here both are problem rows.
"""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from assets.instructions.json_files import bounded_lines, too_long
from assets.instructions.rows import Limits, ParsedRow, RowProblem, problem_row, refuse_repeated
from resources.errors import SultanaError

_QUOTED = re.compile(rb'[^"]*(?:""[^"]*)*')


def csv_rows(stream: BinaryIO, name: str, delimiter: bytes, limits: Limits) -> Iterator[ParsedRow]:
    """Rows of a CSV file from the stream's position on, as objects of strings named by the header.

    Raises SultanaError where the header is damaged or names a column twice.
    """
    records = _records(stream, delimiter, limits)
    header = next(records, None)
    if header is None:
        return
    position, _, raw, problem = header
    columns = _fields(raw, delimiter) if problem is None else None
    if columns is None or not any(columns):
        detail = problem[1] if problem else "it is empty, or text stands before or after a quoted name"
        raise SultanaError(
            f"The header of {name} (line {position}) is not a row of column names: {detail}",
            "Expected the names of the columns in the first line, quoted as RFC 4180 says",
            code="csv-header-invalid",
        )
    names = [_decoded(column, name) for column in columns]
    refuse_repeated(names, name)
    for position, offset, raw, problem in records:
        if problem is not None:
            yield problem_row(position, offset, problem[0], problem[1], raw)
            continue
        fields = _fields(raw, delimiter)
        try:
            if fields is None:
                raise RowProblem("csv_syntax", "text stands before or after a quoted field")
            if len(fields) != len(names):
                raise RowProblem("ragged_row", f"{len(fields)} fields, the header has {len(names)}")
            value = _text_row(names, fields, limits)
        except RowProblem as found:
            yield problem_row(position, offset, found.reason, found.detail, raw)
        else:
            yield ParsedRow(position, offset, value, None, None, raw)


def _decoded(column: bytes, name: str) -> str:
    try:
        found = column.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SultanaError(
            f"The header of {name} is not UTF-8", "Save the file as UTF-8", code="encoding-not-utf8"
        ) from error
    if "\0" in found:
        raise SultanaError(
            f"The header of {name} holds a NUL byte",
            "Fetch or write the file again",
            code="csv-header-invalid",
        )
    return found


def _text_row(names: list[str], fields: list[bytes], limits: Limits) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, field in zip(names, fields, strict=True):
        if len(field) > limits.field_bytes:
            detail = (
                f"field '{name[:60]}' has {len(field):,} bytes, at most {limits.field_bytes:,} are allowed"
            )
            raise RowProblem("field_too_long", detail)
        if b"\0" in field:
            raise RowProblem("nul", f"field '{name[:60]}' holds a NUL byte")
        try:
            value[name] = field.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = field[error.start]
            raise RowProblem("invalid_utf8", f"byte 0x{byte:02x} in field '{name[:60]}'") from None
    return value


def _records(
    stream: BinaryIO, delimiter: bytes, limits: Limits
) -> Iterator[tuple[int, int, bytes, tuple[str, str] | None]]:
    """(first line, offset, bytes without line end, problem) of each record; blank lines are none.

    A record goes on over line ends while a quote is open, however long: text inside quotes never becomes
    rows of its own.
    """
    parts: list[bytes] = []
    first = begin = size = 0
    in_quotes = cut = False
    for number, line in enumerate(bounded_lines(stream, limits.row_bytes), start=1):
        if not in_quotes:
            if not line.raw.strip(b"\r\n") and not line.cut:
                continue
            first, begin, size, cut, parts = number, line.offset, 0, False, []
        size += line.size
        cut = cut or line.cut or size > limits.row_bytes + 1
        if not cut or not parts:
            parts.append(line.raw)
        # Of a line too long to hold, the number of its quotes tells whether one is open at its end.
        in_quotes = (
            in_quotes ^ bool(line.quotes % 2) if line.cut else _ends_open(line.raw, delimiter, in_quotes)
        )
        if not in_quotes:
            problem = ("line_too_long", too_long("record", size, limits)) if cut else None
            yield first, begin, _without_end(b"".join(parts)), problem
    if in_quotes:
        yield (
            first,
            begin,
            b"".join(parts),
            ("unterminated_quote", "the quote is open at the end of the file"),
        )


def _without_end(record: bytes) -> bytes:
    if record.endswith(b"\r\n"):
        return record[:-2]
    return record[:-1] if record.endswith(b"\n") else record


def _ends_open(line: bytes, delimiter: bytes, in_quotes: bool) -> bool:
    """Whether a quoted field is open at the end of `line`; `in_quotes`: whether one was at its beginning."""
    if b'"' not in line:
        return in_quotes
    place = 0
    while True:
        if in_quotes:
            matched = _QUOTED.match(line, place)
            assert matched is not None  # it matches nothing, too
            place = matched.end()
            if place == len(line):
                return True
            place += 1
            in_quotes = False
        elif line[place : place + 1] == b'"':
            place += 1
            in_quotes = True
            continue
        # Only a quote right after a delimiter opens a field; the rest of this one is skipped.
        place = line.find(delimiter, place) + 1
        if not place:
            return False


def _fields(record: bytes, delimiter: bytes) -> list[bytes] | None:
    """The fields of a record, unquoted; None where its quoting is broken."""
    if b'"' not in record:
        # A lone carriage return or line end cannot stand outside quotes.
        return None if b"\r" in record or b"\n" in record else record.split(delimiter)
    fields: list[bytes] = []
    place = 0
    while True:
        if record[place : place + 1] == b'"':
            matched = _QUOTED.match(record, place + 1)
            assert matched is not None  # it matches nothing, too
            end = matched.end() + 1
            if matched.end() == len(record) or record[end : end + 1] not in (b"", delimiter):
                return None
            fields.append(matched.group().replace(b'""', b'"'))
        else:
            end = record.find(delimiter, place)
            end = len(record) if end < 0 else end
            field = record[place:end]
            if b"\n" in field or b"\r" in field:
                return None
            fields.append(field)
        if end >= len(record):
            return fields
        place = end + 1
