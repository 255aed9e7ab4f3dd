"""Rows of Parquet files, streamed. Types are checked before the first row, text in every batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assets.instructions.json_rows import check_value
from assets.instructions.rows import Limits, ParsedRow, RowProblem, problem_row, refuse_repeated
from resources.errors import SultanaError
from resources.text import escape_terminal

# Few, because a dictionary lets a file of some kilobytes stand for rows of gigabytes.
_BATCH_ROWS = 16

TEXT_COLUMNS = frozenset(
    {
        "instruction",
        "input",
        "output",
        "prompt",
        "completion",
        "response",
        "question",
        "definition",
        "context",
    }
)
CHAT_COLUMNS = frozenset({"messages", "conversations", "conversation"})


def parquet_rows(path: Path, name: str, limits: Limits) -> Iterator[ParsedRow]:
    """Rows of a Parquet file. Columns that are neither text nor numbers nor lists of them are left out.

    Raises SultanaError for a damaged file, for a column of text or turns that holds something else, and where
    the rows are so much larger than the file that it must have been made to fill a memory.
    """
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            columns = _columns(file.schema_arrow, name, limits)
            metadata = file.metadata
            groups = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
            if max(groups, default=0) > limits.unpacked_bytes:
                raise SultanaError(
                    f"A row group of {name} has more than {limits.unpacked_bytes:,} bytes",
                    "Write the file with smaller row groups",
                    code="row-group-too-large",
                )
            most = max(limits.ratio * path.stat().st_size, limits.ratio_from_bytes)
            if sum(groups) > most:
                raise _too_large(name, limits)
            position = unpacked = 0
            for encoded in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                batch = _decoded(encoded)
                unpacked += batch.nbytes
                if unpacked > most:
                    raise _too_large(name, limits)
                for value, problem in _values(batch, limits):
                    position += 1
                    if problem is None:
                        yield ParsedRow(position, -1, value, None, None, b"")
                    else:
                        yield problem_row(position, -1, problem.reason, problem.detail, b"")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        # Arrow reports damage as an OSError without a number; with one, it is the machine's.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SultanaError(
            f"{name} is a damaged Parquet file: {escape_terminal(str(error), 200)}",
            "Fetch or write it again, and compare its checksum with the original's",
            code="file-damaged",
        ) from error


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows with every text spelt out, so that their size can be told."""
    if not any(pa.types.is_dictionary(one.type) for one in batch.schema):
        return batch
    columns = [one.dictionary_decode() if pa.types.is_dictionary(one.type) else one for one in batch.columns]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _too_large(name: str, limits: Limits) -> SultanaError:
    return SultanaError(
        f"The rows of {name} are more than {limits.ratio} times as large as the file",
        "So much may not come out, against files made to fill a memory or a disk; write it as JSON Lines if you "
        "trust it",
        code="archive-too-large",
    )


def _values(
    batch: pa.RecordBatch, limits: Limits
) -> Iterator[tuple[dict[str, Any] | None, RowProblem | None]]:
    try:
        # Reading alone does not look at text: invalid UTF-8 would be found when the row is stored.
        batch.validate(full=True)
        rows: Iterator[dict[str, Any] | None] = iter(batch.to_pylist())
    except pa.ArrowInvalid:
        rows = (_valid_row(batch.slice(row, 1)) for row in range(batch.num_rows))
    for row in rows:
        if row is None:
            yield None, RowProblem("invalid_utf8", "a text column holds bytes that are not UTF-8")
            continue
        try:
            check_value(row, limits)
        except RowProblem as problem:
            yield None, problem
        else:
            yield row, None


def _valid_row(row: pa.RecordBatch) -> dict[str, Any] | None:
    try:
        # Copied, because validation looks at the whole buffer behind a slice.
        alone = row.take(pa.array([0]))
        alone.validate(full=True)
    except pa.ArrowInvalid:
        return None
    return alone.to_pylist()[0]


def _columns(schema: pa.Schema, name: str, limits: Limits) -> list[str]:
    refuse_repeated(schema.names, name)
    for field in schema:
        kind = field.type
        if pa.types.is_null(kind):
            continue
        expected = None
        if field.name in CHAT_COLUMNS and not (_is_list(kind) and pa.types.is_struct(kind.value_type)):
            expected = "a list of turns (structs)"
        elif field.name in TEXT_COLUMNS and not (
            _is_text(kind)
            or (_is_list(kind) and (_is_text(kind.value_type) or pa.types.is_struct(kind.value_type)))
            or (field.name == "question" and pa.types.is_struct(kind))
        ):
            expected = "text"
        if expected:
            raise SultanaError(
                f"Column '{field.name}' of {name} holds {kind}, expected {expected}",
                "Convert or rename the column",
                code="column-type-wrong",
            )
    return [field.name for field in schema if _is_plain(field.type, limits.depth - 1)]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_plain(kind: pa.DataType, deepest: int) -> bool:
    """Whether a row can hold such a value: text, numbers, and lists and objects of them, `deepest` levels deep."""
    if _is_list(kind):
        return deepest > 0 and _is_plain(kind.value_type, deepest - 1)
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        alone = len({one.name for one in fields}) == len(fields)
        return deepest > 0 and alone and all(_is_plain(one.type, deepest - 1) for one in fields)
    return (
        _is_text(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )
