"""Rows of JSON Lines files, JSON arrays and Super-NaturalInstructions task documents, streamed.

Memory holds one row and one block of the file, whatever the file's size. Lines end at the byte `\\n`
only: U+2028 and U+0085 are text.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from assets.instructions.json_rows import is_blank, parse_object
from assets.instructions.rows import Limits, ParsedRow, RowProblem, problem_row
from resources.errors import SultanaError

_BLOCK = 256 << 10
_CUT = 4096
_OUTSIDE = re.compile(rb'["\[\]{},]')
_INSIDE = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_MEMBER = re.compile(rb'[ \t\r\n]*"((?:[^"\\]|\\.)*)"[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_QUOTE, _BACKSLASH, _COMMA, _BRACE, _OPENING = b'"'[0], b"\\"[0], b","[0], b"{"[0], b"[{"
_SPACE = b" \t\r\n"

Parse = Callable[[bytes], dict[str, Any]]


class Line(NamedTuple):
    """A line of a file, with its line end."""

    offset: int
    raw: bytes  # cut to its beginning where it is longer than a row may be
    size: int
    quotes: int  # how many `"` a cut line has in all; 0 where it is whole

    @property
    def cut(self) -> bool:
        """Whether the line is longer than a row may be."""
        return self.size > len(self.raw)


class Lines(NamedTuple):
    """Some whole lines of a file: its bytes from `start` to `end`, their SHA-256, and the number of the first."""

    start: int
    end: int
    first: int
    sha256: str


def cut_lines(stream: BinaryIO, start: int, size: int) -> Iterator[Lines]:
    """The lines of a file from offset `start` on, in parts that end at the first line end after `size` bytes."""
    stream.seek(start)
    begin = place = start
    first, ends, found = 1, 0, hashlib.sha256()
    while block := stream.read(_BLOCK):
        while True:
            missing = max(1, size - (place - begin))
            cut = block.find(b"\n", missing - 1) + 1
            if not cut:
                break
            found.update(block[:cut])
            place += cut
            yield Lines(begin, place, first, found.hexdigest())
            first, ends, found = first + ends + block.count(b"\n", 0, cut), 0, hashlib.sha256()
            begin, block = place, block[cut:]
        found.update(block)
        ends += block.count(b"\n")
        place += len(block)
    if place > begin:
        yield Lines(begin, place, first, found.hexdigest())


def bounded_lines(stream: BinaryIO, most: int, end: int = sys.maxsize) -> Iterator[Line]:
    """The lines of a file that begin before offset `end`; memory holds `most` bytes of one."""
    offset = stream.tell()
    while offset < end and (raw := stream.readline(most + 1)):
        size = len(raw)
        quotes = 0
        if size > most and not raw.endswith(b"\n"):
            quotes = raw.count(b'"')
            raw = raw[:_CUT]
            while rest := stream.readline(_BLOCK):
                size += len(rest)
                quotes += rest.count(b'"')
                if rest.endswith(b"\n"):
                    break
        yield Line(offset, raw, size, quotes)
        offset += size


def jsonl_rows(stream: BinaryIO, limits: Limits, lines: Lines | None = None) -> Iterator[ParsedRow]:
    """Rows of a JSON Lines file from the stream's position on, or of some of its lines. Blank lines are no rows."""
    first, end = 1, sys.maxsize
    if lines is not None:
        stream.seek(lines.start)
        first, end = lines.first, lines.end
    for position, (offset, line, size, _) in enumerate(
        bounded_lines(stream, limits.row_bytes, end), start=first
    ):
        if size > len(line):
            yield problem_row(position, offset, "line_too_long", too_long("line", size, limits), line)
            continue
        if line[0] != _BRACE and is_blank(line):
            continue
        try:
            value = parse_object(line, limits)
        except RowProblem as problem:
            reason = problem.reason
            if reason == "not_json" and not line.endswith(b"\n"):
                reason = "ends_mid_row"
            yield problem_row(position, offset, reason, problem.detail, line.rstrip(b"\r\n"))
        else:
            yield ParsedRow(position, offset, value, None, None, line)


def too_long(what: str, size: int, limits: Limits) -> str:
    """The detail of a row that is longer than a row may be."""
    return f"the {what} has {size:,} bytes, at most {limits.row_bytes:,} are allowed"


class _Item(NamedTuple):
    """What lies between two commas of an array or object."""

    offset: int
    raw: bytes  # cut to `keep` + 1 bytes
    size: int
    end: str  # "comma", "close" or "eof"
    after: int  # offset of what follows


def _items(stream: BinaryIO, start: int, keep: int) -> Iterator[_Item]:
    """The items of an array or object whose opening bracket ends at `start`, until it closes."""
    stream.seek(start)
    depth, in_string, escaped = 0, False, False
    parts: list[bytes] = []
    kept = size = 0
    begin = base = start

    def add(part: bytes) -> None:
        nonlocal kept, size
        size += len(part)
        if kept <= keep and part:
            part = part[: keep + 1 - kept]
            parts.append(part)
            kept += len(part)

    while block := stream.read(_BLOCK):
        mark = 0
        place = 1 if escaped else 0
        escaped = False
        while True:
            if in_string:
                matched = _INSIDE.match(block, place)
                assert matched is not None  # it matches nothing, too
                place = matched.end()
                if place == len(block):
                    break
                if block[place] == _BACKSLASH:  # the block ends inside an escape
                    escaped = True
                    break
                place += 1
                in_string = False
            found = _OUTSIDE.search(block, place)
            if found is None:
                break
            place = found.end()
            byte = block[place - 1]
            if byte == _QUOTE:
                in_string = True
            elif byte in _OPENING:
                depth += 1
            elif byte == _COMMA:
                if depth:
                    continue
                add(block[mark : place - 1])
                yield _Item(begin, b"".join(parts), size, "comma", base + place)
                parts, kept, size = [], 0, 0
                mark, begin = place, base + place
            elif depth:
                depth -= 1
            else:
                add(block[mark : place - 1])
                yield _Item(begin, b"".join(parts), size, "close", base + place)
                return
        add(block[mark:])
        base += len(block)
    yield _Item(begin, b"".join(parts), size, "eof", base)


def array_rows(
    stream: BinaryIO, start: int, limits: Limits, parse: Parse | None = None, *, whole_file: bool = True
) -> Iterator[ParsedRow]:
    """Rows of the JSON array whose `[` ends at offset `start`, element by element.

    `parse` turns an element into a row; by default the element is the row. Where the array is the
    `whole_file`, text after it is a problem row.
    """
    parse = parse or (lambda raw: parse_object(raw, limits))
    for position, item in enumerate(_items(stream, start, limits.row_bytes), start=1):
        raw = item.raw.lstrip(_SPACE)
        offset = item.offset + len(item.raw) - len(raw)
        reason = detail = None
        value = None
        if item.end == "eof":
            reason, detail = "ends_mid_row", "the array is not closed"
        elif item.size > limits.row_bytes:
            reason, detail = "line_too_long", too_long("element", item.size, limits)
        elif not raw and item.end == "close" and position == 1:
            pass  # an empty array
        elif not raw:
            reason, detail = "not_json", "nothing between two commas"
        else:
            try:
                value = parse(raw)
            except RowProblem as problem:
                reason, detail = problem.reason, problem.detail
        if reason or value is not None:
            yield ParsedRow(position, offset, value, reason, detail, raw)
        if item.end == "close" and whole_file:
            yield from _text_after(stream, item.after, position + 1)


def _text_after(stream: BinaryIO, offset: int, position: int) -> Iterator[ParsedRow]:
    """A problem row where anything but white space follows a closed array."""
    stream.seek(offset)
    while block := stream.read(_BLOCK):
        if not is_blank(block):
            text = block.lstrip(_SPACE)
            where = offset + len(block) - len(text)
            yield problem_row(position, where, "trailing_data", "more text follows the closed array", text)
            return
        offset += len(block)


def document_rows(stream: BinaryIO, start: int, name: str, task: str, limits: Limits) -> Iterator[ParsedRow]:
    """Rows of a file that is one JSON object, whose `{` ends at offset `start`.

    A Super-NaturalInstructions task document (`Definition` and `Instances`) gives a row per instance;
    any other object is one row. Read twice: for the definition, then for the instances, so that memory
    stays bounded. Raises SultanaError for a task document that is damaged outside its instances.
    """
    about: dict[str, Any] = {}
    instances: int | None = None
    item = None
    broken: str | None = None
    for item in _items(stream, start, limits.row_bytes):
        member = _MEMBER.match(item.raw)
        key = member.group(1) if member else b""
        if (
            key in (b"Instances", b"instances")
            and member
            and item.raw[member.end() : member.end() + 1] == b"["
        ):
            if instances is not None:
                broken = "'Instances' is given twice"
            instances = item.offset + member.end() + 1
        elif key.lower() in _ABOUT and item.size <= limits.row_bytes:
            try:
                part = parse_object(b"{" + item.raw + b"}", limits)
            except RowProblem as problem:
                broken = problem.detail
                continue
            broken = next((f"'{field}' is given twice" for field in part if field in about), broken)
            about |= part
    assert item is not None  # _items always gives a last one
    if instances is None:
        stream.seek(start - 1)
        raw = stream.read(limits.row_bytes + 1)
        if len(raw) > limits.row_bytes:
            raise SultanaError(
                f"{name} is one JSON object of more than {limits.row_bytes:,} bytes, and no task document",
                "Expected one object per line, an array of objects, or a Super-NaturalInstructions task "
                "with 'Definition' and 'Instances'; convert it, for example to JSON Lines",
                code="json-document-invalid",
            )
        yield from _single_row(raw, start - 1, limits)
        return
    definition = _text(about, "definition")
    if broken or not definition:
        raise SultanaError(
            f"{name} looks like a Super-NaturalInstructions task, but {broken or 'it has no Definition'}",
            "Repair the document's members before 'Instances', or remove the file",
            code="json-document-invalid",
        )
    shared = {"definition": definition, "task": task}
    if licence := _text(about, "instance license"):
        shared["licence"] = licence

    def parse(raw: bytes) -> dict[str, Any]:
        value = parse_object(raw, limits)
        return {**shared, **{field: value[field] for field in ("id", "input", "output") if field in value}}

    position, reason = 0, None
    for row in array_rows(stream, instances, limits, parse, whole_file=False):
        position, reason = row.position, row.problem
        yield row
    if item.end == "eof" and reason != "ends_mid_row":
        yield problem_row(
            position + 1, item.offset, "ends_mid_row", "the task document is not closed", item.raw
        )


_ABOUT = frozenset({b"definition", b"instance license"})


def _text(about: dict[str, Any], name: str) -> str:
    """A member that is text or a list of texts, as one text."""
    value = next((value for field, value in about.items() if field.lower() == name), None)
    parts = value if isinstance(value, list) else [value]
    return "\n".join(part for part in parts if isinstance(part, str) and part.strip())


def _single_row(raw: bytes, offset: int, limits: Limits) -> Iterator[ParsedRow]:
    try:
        value = parse_object(raw, limits)
    except RowProblem as problem:
        yield problem_row(1, offset, problem.reason, problem.detail, raw)
    else:
        yield ParsedRow(1, offset, value, None, None, raw)
