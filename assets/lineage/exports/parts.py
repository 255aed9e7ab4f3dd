"""One part of an export as a file or folder: JSON Lines, Parquet or a dataset of the library `datasets`."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from assets.lineage.exports.layout import DATA_FORMATS, part_path
from resources.files import sha256_file

GROUP_ROWS = 4096
"""Rows written at once: a row group of Parquet, a record batch of Arrow."""

Rows = Iterable[Mapping[str, Any]]


def write_part(folder: Path, name: str, format: str, schema: pa.Schema, rows: Rows) -> int:
    """Write the rows of one part into `folder`; the number of rows. Without rows nothing is written.

    Equal rows give equal bytes, with the same versions of pyarrow and datasets.
    """
    if format not in DATA_FORMATS:
        raise ValueError(f"no such format: {format!r}")
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return 0
    rows = itertools.chain([first], rows)
    path = folder / part_path(name, format)
    return _write_dataset(path, schema, rows) if format == "datasets" else write_file(path, schema, rows)


def write_file(path: Path, schema: pa.Schema, rows: Rows) -> int:
    """Write rows as JSON Lines or Parquet, whichever the file's name ends in (.jsonl, .parquet); the number of rows."""
    return (_write_parquet if path.suffix == ".parquet" else _write_json_lines)(path, schema, rows)


def _write_json_lines(path: Path, schema: pa.Schema, rows: Rows) -> int:
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(
                orjson.dumps({name: row[name] for name in schema.names}, option=orjson.OPT_APPEND_NEWLINE)
            )
            count += 1
    return count


def _write_parquet(path: Path, schema: pa.Schema, rows: Rows) -> int:
    import pyarrow.parquet as pq

    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for batch in _batches(schema, rows):
            file.write_batch(batch)
            count += batch.num_rows
    return count


def _write_dataset(path: Path, schema: pa.Schema, rows: Rows) -> int:
    import datasets

    temporary = path.with_name(f".{path.name}.arrow")
    with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for batch in _batches(schema, rows):
            stream.write_batch(batch)
    with pa.memory_map(str(temporary)) as file, _without_bars():
        table = pa.ipc.open_stream(file).read_all()
        # The library's own fingerprint has the time in it.
        datasets.Dataset(table, fingerprint=sha256_file(temporary)[:16]).save_to_disk(path)
        count: int = table.num_rows
    temporary.unlink()
    return count


def _batches(schema: pa.Schema, rows: Rows) -> Iterator[pa.RecordBatch]:
    rows = iter(rows)
    while group := list(itertools.islice(rows, GROUP_ROWS)):
        yield pa.RecordBatch.from_pylist(group, schema=schema)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    import datasets

    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
