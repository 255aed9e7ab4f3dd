"""Removing the content of rows from every version of a Lance table at once, without changing rows, ids or versions.

Versions share data files, and a version is a list of them. So a data file is written again with the content of some
rows emptied (same rows, same order, same columns) and renamed over the old one: every version, tag and row address
stays what it was. A manifest keeps the size of each file, from which a reader finds the file's end; the new file is
therefore filled up to the size of the old one, between the tables that its last bytes point to and those bytes.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from resources.errors import SultanaError
from resources.files import disk_full_explained
from resources.manifest_sizes import forget_data_size
from resources.rewritten import Replacing, exchange

if TYPE_CHECKING:
    from lance.file import LanceFileReader

FOOTER_BYTES = 40
"""The end of a Lance file, version 2: where its tables begin (absolute), their lengths, its version and `LANC`."""

_MAGIC = b"LANC"
_COMPRESSED = {b"lance-encoding:compression": b"zstd"}


def data_files(folder: Path) -> list[Path]:
    """Every data file of a table, whether a version refers to it or not."""
    return sorted((folder / "data").glob("*.lance"))


def stored_rows(folder: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """These columns of every row on the disk, of all versions; a file that lacks one of them is passed over."""
    for file in data_files(folder):
        if set(columns) <= set(_reader(file).metadata().schema.names):
            yield from _reader(file, list(columns)).read_all().to_batches()


def erase_rows(
    folder: Path,
    key: str,
    ids: Collection[str],
    columns: Sequence[str],
    replacing: Replacing = lambda file, replacement: None,
) -> int:
    """Empties `columns` of every stored row whose `key` is one of `ids`; how many rows of how many versions' files
    it found. Texts become empty, of messages the content, numbers of vectors 0; null stays null. `replacing` is told of
    each file, and of the one that will take its place, before they are exchanged.

    Only under the writer lock of the table, and while nobody reads it. Raises SultanaError, with the file as it was,
    where a file holds content without the key, or cannot be written in the same size.
    """
    wanted = pa.array(sorted(ids), pa.string())
    found = 0
    for leftover in (folder / "data").glob(".erasing-*"):  # of an erasure that was killed
        leftover.unlink()
    for file in data_files(folder):
        names = _reader(file).metadata().schema.names
        here = [name for name in columns if name in names]
        if not here:
            continue
        if key not in names:
            raise SultanaError(
                f"{file} holds {', '.join(here)} without {key}, so rows cannot be told apart in it",
                f"Move {folder} away and materialize its asset again",
                code="table-layout-unknown",
            )
        keys = _reader(file, [key]).read_all().to_table()[key]
        hits = pc.is_in(keys, value_set=wanted)
        if count := pc.sum(hits).as_py() or 0:
            found += count
            rows = _reader(file).read_all().to_table()
            for name in here:
                place = rows.schema.get_field_index(name)
                rows = rows.set_column(
                    place, rows.schema.field(place), _emptied(rows[name].combine_chunks(), hits)
                )
            _replace(file, rows, replacing)
    return found


def _reader(file: Path, columns: list[str] | None = None) -> "LanceFileReader":
    from lance.file import LanceFileReader

    return LanceFileReader(str(file), columns=columns)


def _emptied(column: pa.Array, hits: pa.ChunkedArray) -> pa.Array:
    """The column with empty values where it is hit."""
    if isinstance(column, pa.ChunkedArray):  # of one chunk or none
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    places = hits.to_numpy().nonzero()[0]
    empty = pa.array([_empty(value) for value in column.take(pa.array(places)).to_pylist()], column.type)
    order = list(range(len(column)))
    for number, place in enumerate(places):
        order[place] = len(column) + number
    return pa.concat_arrays([column, empty]).take(pa.array(order))


def _empty(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        return ""
    if isinstance(value, float):
        return 0.0
    if isinstance(value, dict):
        return {**value, "content": ""}
    return [_empty(one) for one in value]


def _replace(file: Path, rows: pa.Table, replacing: Replacing) -> None:
    """Writes a data file again in its own size; what it held is on the disk no more once this returns."""
    size = file.stat().st_size
    temporary = file.with_name(f".erasing-{file.name}")
    compressed = pa.schema(
        [field.with_metadata({**(field.metadata or {}), **_COMPRESSED}) for field in rows.schema]
    )
    with disk_full_explained(file.parent):
        try:
            # Emptied rows take less, but small files can come out larger for other reasons.
            if not any(_write(temporary, rows, schema, size, file) for schema in (rows.schema, compressed)):
                manifests = sorted((file.parents[1] / "_versions").glob("*.manifest"))
                forget_data_size(manifests, file.name, replacing)
            exchange(file, temporary, replacing)
        finally:
            temporary.unlink(missing_ok=True)


def _write(temporary: Path, rows: pa.Table, schema: pa.Schema, size: int, old: Path) -> bool:
    """Writes the rows with this schema; whether they fit into `size` bytes, and are filled up to them."""
    from lance.file import LanceFileWriter

    about = _reader(old).metadata()
    with LanceFileWriter(
        str(temporary), schema, version=f"{about.major_version}.{about.minor_version}"
    ) as writer:
        for batch in rows.cast(schema).to_batches():
            writer.write_batch(batch)
    content = temporary.read_bytes()
    if content[-len(_MAGIC) :] != _MAGIC:
        raise SultanaError(
            f"{temporary} has an end that this release does not know",
            "Report this, please",
            code="table-layout-unknown",
        )
    if len(content) > size:
        return False
    body, footer = content[:-FOOTER_BYTES], content[-FOOTER_BYTES:]
    temporary.write_bytes(body + bytes(size - len(content)) + footer)
    return True
