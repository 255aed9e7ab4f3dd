"""A version's data files, written and checked, but not committed: nothing is visible yet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from resources import lance_folder
from resources.merkle import merkle_root
from resources.row_hashes import HASH_FIELD, ROW_HASH, hash_values, with_hashes
from resources.table_folder import TableFolder
from resources.time_limit import Feed, within_time, within_time_fed

if TYPE_CHECKING:
    from lance import LanceDataset

# Lance gathers each column until it has 8 MiB of it, and a narrow column keeps every batch it came with
# (1,000 MB held while 1,200 MB passed). A data file of its own for every 64 MiB bounds that.
_FILE_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Staged:
    """Lance's uncommitted transaction, and the keys and hashes of all rows that the version will have."""

    transaction: Any
    keys: pa.ChunkedArray
    hashes: pa.ChunkedArray

    def root(self) -> str:
        """The Merkle root over the rows: what identifies the version's content."""
        return merkle_root((hash_values(chunk) for chunk in self.keys.chunks), self.hashes.chunks)


def write_files(
    folder: TableFolder,
    base: "LanceDataset | None",
    table: str,
    key: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    mode: str = "",
) -> Staged:
    """Write the data files of these rows alone, with the hash of each row. `mode` is Lance's: create, append or
    overwrite; by default an append to `base`, or an overwrite where there is none. The transaction names the files;
    there may be none where there are no rows.
    """
    from lance.fragment import write_fragments

    stored = schema.append(HASH_FIELD)
    key_type = schema.field(key).type
    nothing = pa.array([], key_type)
    keys: list[pa.Array] = []
    hashes: list[pa.Array] = []
    errors: list[BaseException] = []

    def checked() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                conforming = with_hashes(lance_folder.conform(batch, schema, table), schema.names)
                hashes.append(conforming.column(ROW_HASH))
                # A copy: a column can be a window on a buffer that holds the whole batch.
                keys.append(pa.concat_arrays([conforming.column(key), nothing]))
                yield conforming
        except BaseException as error:  # Lance would pass on its text only
            errors.append(error)
            raise

    stream = checked()
    pending = next(stream, None)

    def one_file() -> Iterator[pa.RecordBatch]:
        nonlocal pending
        size = 0
        while pending is not None and size < _FILE_BYTES:
            size += pending.nbytes
            yield pending
            pending = next(stream, None)

    transactions: list[Any] = []
    try:
        while pending is not None or not transactions:
            feed = Feed(one_file())
            transactions.append(
                within_time_fed(
                    f"writing {table}",
                    feed,
                    write_fragments,
                    pa.RecordBatchReader.from_batches(stored, feed),
                    folder.uri if base is None else base,
                    schema=stored,
                    mode=mode or _mode_of(folder, base),
                    return_transaction=True,
                    storage_options=folder.options,
                )
            )
    except (ValueError, OSError, RuntimeError):
        if errors:
            raise errors[0] from None
        raise
    for transaction in transactions[1:]:
        transactions[0].operation.fragments.extend(transaction.operation.fragments)
    return Staged(
        transactions[0],
        pa.chunked_array(keys, type=key_type),
        pa.chunked_array(hashes, type=HASH_FIELD.type),
    )


def stage_stream(
    folder: TableFolder,
    base: "LanceDataset | None",
    table: str,
    key: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> Staged:
    """Write the data files of an overwrite, or of an append to `base`, with the hash of each row."""
    staged = write_files(folder, base, table, key, schema, batches)
    return added_to(staged, base, table, key)


def _mode_of(folder: TableFolder, base: "LanceDataset | None") -> str:
    if base is not None:
        return "append"
    return "overwrite" if lance_folder.versions_on_disk(folder) else "create"


def added_to(staged: Staged, base: "LanceDataset | None", table: str, key: str) -> Staged:
    """`staged`, whose rows are new, with the keys and hashes of those of `base` behind them.

    Raises SultanaError where a key is there twice.
    """
    if base is not None:
        before = lance_folder.read_keys_and_hashes(base, key)
        staged = Staged(
            staged.transaction,
            pa.chunked_array([*staged.keys.chunks, *before[key].chunks], type=staged.keys.type),
            pa.chunked_array([*staged.hashes.chunks, *before[ROW_HASH].chunks], type=HASH_FIELD.type),
        )
    lance_folder.check_unique(staged.keys, key, table)
    return staged


def stage_upsert(
    base: "LanceDataset", table: str, key: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Staged:
    """Write the data files of an upsert into `base`, with the hash of each row."""
    rows = pa.Table.from_batches(
        [with_hashes(lance_folder.conform(batch, schema, table), schema.names) for batch in batches],
        schema=schema.append(HASH_FIELD),
    )
    lance_folder.check_unique(rows.column(key), key, table)
    merge = base.merge_insert(key).when_matched_update_all().when_not_matched_insert_all()
    transaction, _ = within_time(f"merging into {table}", merge.execute_uncommitted, rows)
    before = lance_folder.read_keys_and_hashes(base, key)
    kept = before.filter(pc.invert(pc.is_in(before[key], value_set=rows[key].combine_chunks())))
    return Staged(
        transaction,
        pa.chunked_array([*kept[key].chunks, *rows[key].chunks], type=schema.field(key).type),
        pa.chunked_array([*kept[ROW_HASH].chunks, *rows[ROW_HASH].chunks], type=HASH_FIELD.type),
    )
