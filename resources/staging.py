"""A version's data files, written and checked, but not committed: nothing is visible yet."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from resources import lance_folder
from resources.time_limit import within_time

if TYPE_CHECKING:
    from lance import LanceDataset

# Lance gathers each column until it has 8 MiB of it, and a narrow column keeps every batch it came with
# (1,000 MB held while 1,200 MB passed). A data file of its own for every 64 MiB bounds that.
_FILE_BYTES = 64 << 20


def stage_stream(
    folder: Path,
    base: "LanceDataset | None",
    table: str,
    key: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> Any:
    """Write the data files of an overwrite, or of an append to `base`; Lance's uncommitted transaction."""
    from lance.fragment import write_fragments

    key_type = schema.field(key).type
    nothing = pa.array([], key_type)
    keys: list[pa.Array] = []
    errors: list[BaseException] = []

    def checked() -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                conforming = lance_folder.conform(batch, schema, table)
                # A copy: a column can be a window on a buffer that holds the whole batch.
                keys.append(pa.concat_arrays([conforming.column(key), nothing]))
                yield conforming
        except BaseException as error:  # Lance would pass on its text only
            errors.append(error)
            raise

    mode = (
        "append" if base is not None else "overwrite" if lance_folder.versions_on_disk(folder) else "create"
    )
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
            reader = pa.RecordBatchReader.from_batches(schema, one_file())
            transactions.append(
                write_fragments(reader, str(folder), schema=schema, mode=mode, return_transaction=True)
            )
    except (ValueError, OSError, RuntimeError):
        if errors:
            raise errors[0] from None
        raise
    if base is not None:
        keys.extend(lance_folder.read_keys(base, key).chunks)
    lance_folder.check_unique(pa.chunked_array(keys, type=key_type), key, table)
    whole = transactions[0]
    for transaction in transactions[1:]:
        whole.operation.fragments.extend(transaction.operation.fragments)
    return whole


def stage_upsert(
    base: "LanceDataset", table: str, key: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Any:
    """Write the data files of an upsert into `base`; Lance's uncommitted transaction."""
    rows = pa.Table.from_batches(
        [lance_folder.conform(batch, schema, table) for batch in batches], schema=schema
    )
    lance_folder.check_unique(rows.column(key), key, table)
    merge = base.merge_insert(key).when_matched_update_all().when_not_matched_insert_all()
    transaction, _ = within_time(f"merging into {table}", merge.execute_uncommitted, rows)
    return transaction
