"""Rows of an audit or a comparison as a file: Parquet or JSON Lines, written whole or not at all."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
import pyarrow as pa

from resources.errors import SultanaError
from resources.files import sync_path

ROW_FILES = (".parquet", ".jsonl")


def checked_rows_file(file: Path, endings: Sequence[str] = ROW_FILES) -> Path:
    """`file` as an absolute path. Raises SultanaError where it ends in none of `endings`, exists, or has no folder."""
    file = file.expanduser().resolve()
    if file.suffix not in endings:
        raise SultanaError(
            f"{file} does not end in {' or '.join(endings)}",
            f"Name a file such as audit{endings[0]}",
            code="output-suffix-wrong",
        )
    if file.exists():
        raise SultanaError(
            f"{file} exists already",
            "Name another file, or remove this one if it is not needed",
            code="output-exists",
        )
    if not file.parent.is_dir():
        raise SultanaError(
            f"The folder {file.parent} does not exist",
            "Create it, or name another file",
            code="output-not-writable",
        )
    return file


def write_rows_file(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes batches of `schema` as they come, one in memory after the other; the number of rows."""
    # Renamed into place: a file of that name is whole.
    temporary = file.with_name(f".{file.name}.tmp{file.suffix}")
    try:
        written = (_parquet if file.suffix == ".parquet" else _json_lines)(temporary, schema, batches)
        sync_path(temporary)
        os.replace(temporary, file)
        sync_path(file.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def _parquet(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def _json_lines(file: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    count = 0
    with file.open("wb") as lines:
        for batch in batches:
            for row in batch.to_pylist():
                lines.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            count += batch.num_rows
    return count
