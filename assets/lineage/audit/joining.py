"""Rows of a table that are wanted by id, found as the table streams by: the table may be larger than memory."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from resources.tables import LanceTables, TableRef

BATCH_ROWS = 65_536
GATHERED_ROWS = 1 << 20
"""Rows looked up at once. Arrow hashes what is wanted anew at each look-up, as long a work as some 500,000 rows."""


def wanted_rows(
    tables: LanceTables, ref: TableRef, key: str, wanted: pa.Array, columns: Sequence[str]
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """The rows whose `key` is in `wanted` (distinct): their places in `wanted`, and the rows with `columns`.

    One pass over the table, some thousand rows at a time; in the order of the table.
    """
    if not len(wanted):
        return
    for rows in gathered(tables.batches(ref, columns=[key, *columns], batch_size=BATCH_ROWS)):
        place = pc.index_in(rows[key], value_set=wanted)
        if place.null_count < len(place):
            found = rows.filter(place.is_valid())
            yield place.drop_null().to_numpy().astype(np.int64), found


def gathered(batches: Iterable[pa.RecordBatch], rows: int = GATHERED_ROWS) -> Iterator[pa.Table]:
    """The batches as tables of at least `rows` rows, but for the last one."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(waiting)
            waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)
