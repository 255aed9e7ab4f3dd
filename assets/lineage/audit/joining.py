"""Rows of a table that are wanted by id, found as the table streams by: the table may be larger than memory."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from resources.table_refs import TableRef
from resources.tables import LanceTables

BATCH_ROWS = 65_536
GATHERED_ROWS = 1 << 19
"""Rows looked up at once. Arrow hashes what is wanted anew at each look-up, which takes as long as so many rows do."""

_SIGNED_BYTES, _SIGNATURE_BITS = 8, 24


def wanted_rows(
    tables: LanceTables, ref: TableRef, key: str, wanted: pa.StringArray, columns: Sequence[str]
) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """The rows whose `key` is in `wanted` (distinct): their places in `wanted`, and the rows with `columns`.

    One pass over the table, in its order. Of the rows that are not wanted most are passed over by a signature of
    their key, before anything is looked up or kept.
    """
    if not len(wanted):
        return
    likely = np.zeros(1 << _SIGNATURE_BITS, np.bool_)
    likely[signatures(wanted)] = True
    waiting: list[pa.RecordBatch] = []
    for batch in tables.batches(ref, columns=[key, *columns], batch_size=BATCH_ROWS):
        waiting.append(batch.filter(pa.array(likely[signatures(batch[key])])))
        if sum(one.num_rows for one in waiting) >= GATHERED_ROWS:
            yield _looked_up(waiting, key, wanted)
            waiting = []
    if waiting:
        yield _looked_up(waiting, key, wanted)


def _looked_up(
    batches: list[pa.RecordBatch], key: str, wanted: pa.StringArray
) -> tuple[NDArray[np.int64], pa.Table]:
    rows = pa.Table.from_batches(batches)
    place = pc.index_in(rows[key], value_set=wanted)
    return place.drop_null().to_numpy().astype(np.int64), rows.filter(place.is_valid())


def signatures(keys: pa.StringArray) -> NDArray[np.int64]:
    """A number below 2^24 of each key, from its last bytes: equal keys have equal ones."""
    _, offsets, content = keys.buffers()
    ends = np.frombuffer(offsets, np.int32)[keys.offset : keys.offset + len(keys) + 1].astype(np.int64)
    starts, ends = ends[:-1], ends[1:]
    text = np.frombuffer(content, np.uint8) if content is not None and content.size else np.zeros(1, np.uint8)
    mixed = np.zeros(len(keys), np.uint64)
    for back in range(1, _SIGNED_BYTES + 1):
        place = ends - back
        byte = np.where(place >= starts, text[np.maximum(place, 0)], 0).astype(np.uint64)
        mixed = (mixed ^ byte) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(64 - _SIGNATURE_BITS)).astype(np.int64)
