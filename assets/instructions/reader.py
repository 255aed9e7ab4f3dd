"""The one reader of user files: nothing else in the project parses them.

Two rules. A bad row never stops the load and never vanishes: it comes out as a row with a problem. A
bad file (its compression, its container, its encoding) fails as a whole, with an error that names it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from assets.instructions.csv_files import csv_rows
from assets.instructions.decompress import HEAD_BYTES, SUFFIXES, compression_of, refuse_archive, unpacked
from assets.instructions.json_files import Lines, array_rows, cut_lines, document_rows, jsonl_rows
from assets.instructions.json_rows import is_blank, parse_object
from assets.instructions.parquet_files import parquet_rows
from assets.instructions.rows import REASONS, Limits, ParsedRow, RowProblem
from resources.errors import SultanaError

__all__ = [
    "FORMATS",
    "REASONS",
    "Limits",
    "Lines",
    "ParsedRow",
    "RowProblem",
    "format_of_name",
    "line_parts",
    "read_rows",
]

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet")
_BY_SUFFIX = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_SAMPLE = 256 << 10
_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def format_of_name(name: str) -> str | None:
    """The format that a file's name tells, compressed or not; None where it tells none."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    return _BY_SUFFIX.get(suffixes[-1]) if suffixes else None


def read_rows(
    path: Path,
    *,
    name: str | None = None,
    format: str | None = None,
    limits: Limits | None = None,
    lines: Lines | None = None,
) -> Iterator[ParsedRow]:
    """Rows of a file in its order, good and bad; of some of its lines where `line_parts` gave them.

    `name` is what errors call the file, and tells its format where `format` is None. Memory holds one
    row and one block of the file, not the file. Raises SultanaError for a bad file: for a damaged
    archive before any row comes out.
    """
    name = name or path.name
    limits = limits or Limits()
    if format is not None and format not in FORMATS:
        raise SultanaError(
            f"'{format}' is not a format of {name}", f"Use one of {', '.join(FORMATS)}", code="choice-unknown"
        )
    if not path.exists():
        raise SultanaError(
            f"{name} does not exist ({path})", "Correct the path of the source", code="source-not-found"
        )
    if not path.is_file():
        raise SultanaError(
            f"{name} is not a regular file ({path})",
            "Name a file, a folder or a glob",
            code="not-a-regular-file",
        )
    try:
        if lines is not None:
            with path.open("rb") as stream:
                yield from jsonl_rows(stream, limits, lines)
            return
        with unpacked(path, name, limits) as plain:
            yield from _plain_rows(plain, name, format, limits)
    except OSError as error:
        raise SultanaError(
            f"{name} cannot be read: {error.strerror or error}",
            "Check the file, its permissions and its disk",
            code="file-unreadable",
        ) from error


def line_parts(path: Path, *, name: str, format: str | None, limits: Limits, size: int) -> list[Lines] | None:
    """Where a file can be cut into parts of about `size` bytes; None where its rows are found only from its beginning
    on, and where it is a bad file, which is told by whoever reads it.

    Only JSON Lines can: a quote of CSV may go on over lines, and elements of an array are found by their brackets.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        if compression_of(head) or path.suffix.lower() in SUFFIXES:
            return None
        try:
            refuse_archive(name, head)
            layout = _layout(stream, name, format, limits)
        except SultanaError:
            return None
        return list(cut_lines(stream, layout.start, size)) if layout.kind == "lines" else None


class _Layout(NamedTuple):
    """How the rows of an unpacked file lie, and where they begin: parquet, csv, tsv, array, document or lines."""

    kind: str
    start: int


def _plain_rows(path: Path, name: str, format: str | None, limits: Limits) -> Iterator[ParsedRow]:
    with path.open("rb") as stream:
        kind, start = _layout(stream, name, format, limits)
        stream.seek(start)
        if kind == "parquet":
            yield from parquet_rows(path, name, limits)
        elif kind in ("csv", "tsv"):
            yield from csv_rows(stream, name, b"," if kind == "csv" else b"\t", limits)
        elif kind == "array":
            yield from array_rows(stream, start, limits)
        elif kind == "document":
            yield from document_rows(stream, start, name, Path(name).name.split(".")[0], limits)
        else:
            yield from jsonl_rows(stream, limits)


def _layout(stream: BinaryIO, name: str, format: str | None, limits: Limits) -> _Layout:
    """Raises SultanaError where no rows can be told."""
    stream.seek(0)
    head = stream.read(_SAMPLE)
    if head.startswith(b"PAR1") or format == "parquet" or (format_of_name(name) == "parquet" and not format):
        if format not in (None, "parquet") or not head.startswith(b"PAR1"):
            raise SultanaError(
                f"{name} {'is' if head.startswith(b'PAR1') else 'is not'} a Parquet file",
                "Such a file begins with PAR1. Correct the suffix or 'format', or fetch the file again",
                code="format-mismatch",
            )
        return _Layout("parquet", 0)
    _check_encoding(head, name)
    start = len(_BOM) if head.startswith(_BOM) else 0
    head = head[start:]
    chosen = format or format_of_name(name)
    opening = start + len(head) - len(head.lstrip(b" \t\r\n")) + 1
    first = head.lstrip(b" \t\r\n")[:1]
    if chosen is None and first in (b"[", b"{"):
        chosen = "json"
    if chosen is None:
        raise SultanaError(
            f"The format of {name} is told neither by its suffix nor by its first bytes",
            f"Set 'format' of the source to one of {', '.join(FORMATS)}",
            code="format-unsupported",
        )
    if chosen in ("csv", "tsv"):
        return _Layout(chosen, start)
    # The suffixes .json and .jsonl are often given to each other's content.
    lines = _looks_like_lines(head, stream, start, limits)
    if first == b"[" and not lines and format != "jsonl":
        return _Layout("array", opening)
    if first == b"{" and not lines and chosen == "json":
        return _Layout("document", opening)
    return _Layout("lines", start)


def _looks_like_lines(head: bytes, stream: BinaryIO, start: int, limits: Limits) -> bool:
    """Whether JSON content is one value per line rather than one value.

    It is where the first line is a whole value and more follows, or where the first line is damaged, does
    not go on in the next one, and a later line of the first block is a whole object.
    """
    first, _, rest = head.lstrip(b" \t\r\n").partition(b"\n")
    if not rest.strip(b" \t\r\n"):
        stream.seek(start)
        stream.readline(limits.row_bytes + len(head))
        rest = stream.read(_SAMPLE)
        if is_blank(rest):
            return False
    if _is_value(first, limits):
        return True
    if first[:1] == b"[" or first.rstrip(b" \t\r")[-1:] in (b",", b"{", b"["):
        return False
    return any(line[:1] == b"{" and _is_value(line, limits) for line in rest.split(b"\n")[:1000])


def _is_value(line: bytes, limits: Limits) -> bool:
    try:
        parse_object(line, limits)
    except RowProblem as problem:
        # Any other problem is that of a whole JSON value.
        return problem.reason not in ("not_json", "nul", "invalid_utf8", "too_deep", "trailing_data")
    return True


def _check_encoding(head: bytes, name: str) -> None:
    """Raise SultanaError where the first block is UTF-16, UTF-32 or a one-byte encoding such as Latin-1."""
    kind = None
    if head.startswith(_UTF16) or b"\0" in head[:2]:
        kind = "UTF-16 or UTF-32 (or a binary file)"
    else:
        # One undecodable row is that row's problem; where no row outside ASCII is UTF-8, it is the file's.
        lines = [line for line in head.split(b"\n")[:-1] or [head] if not line.isascii()]
        if len(lines) >= 3 and not any(_is_utf8(line) for line in lines):
            kind = "a one-byte encoding such as Latin-1 or Windows-1252 (or a binary file)"
    if kind:
        raise SultanaError(
            f"{name} is not UTF-8 text; it looks like {kind}",
            "Save it as UTF-8, for example with: iconv -f LATIN1 (or UTF-16) -t UTF-8",
            code="encoding-not-utf8",
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
