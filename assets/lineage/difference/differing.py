"""Rows that differ between two lineages, of whatever table, as rows of one shape; and what they are, counted."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.records import ORIGIN, RAW_INSTRUCTIONS

MOST_COUNTED = 20
PLACE = ("source", "file", "file_sha256", "position", "licence")
"""Columns that say where a row stood, where a table has no `origins`."""

DIFFERING_ROW = pa.schema(
    [
        ("table", pa.string()),
        ("side", pa.string()),  # a or b
        ("change", pa.string()),  # only, or changed: then there is a row of each side
        ("row_id", pa.string()),
        ("kind", pa.string()),  # original or interpolated, where the table says so
        ("slots", pa.int64()),  # of a curriculum
        ("first_step", pa.int64()),  # of a curriculum
        ("tasks", pa.list_(pa.string())),
        ("parents", pa.list_(pa.string())),  # of a mix
        ("origins", pa.list_(ORIGIN)),
    ]
)
"""One row that differs. What a table does not know is null."""


def row_batch(
    table: str, side: str, state: NDArray[np.uint8], rows: pa.RecordBatch, key: str
) -> pa.RecordBatch:
    """Rows of a table as a batch of DIFFERING_ROW. `state` (n,) is 1 for a row of this side alone, 2 for a changed one.

    What the columns `kind`, `task`, `task_a`, `task_b`, `parent_a`, `parent_b`, `origins`, `source` and what belongs
    to it say is taken over, where `rows` has them.
    """
    names, count = set(rows.schema.names), rows.num_rows
    columns: dict[str, pa.Array] = {
        "table": pa.array([table] * count),
        "side": pa.array([side] * count),
        "change": pa.array(["", "only", "changed"]).take(pa.array(state)),
        "row_id": rows[key],
    }
    if "kind" in names:
        columns["kind"] = rows["kind"]
    for target, found in (("tasks", ("task", "task_a", "task_b")), ("parents", ("parent_a", "parent_b"))):
        if there := [rows[name] for name in found if name in names]:
            columns[target] = _lists(there)
    if "origins" in names:
        columns["origins"] = rows["origins"]
    elif "source" in names:
        known = {name: rows[name] for name in PLACE if name in names}
        if key == RAW_INSTRUCTIONS.key:
            known["origin_id"] = rows[key]
        structs = pa.StructArray.from_arrays(
            [known.get(one.name, _unknown(one, count)) for one in ORIGIN], fields=list(ORIGIN)
        )
        columns["origins"] = pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), structs)
    return differing_rows(columns, count)


def differing_rows(columns: Mapping[str, pa.Array], count: int) -> pa.RecordBatch:
    """A batch of DIFFERING_ROW; columns that are not given are null."""
    return pa.RecordBatch.from_arrays(
        [
            columns[one.name].cast(one.type) if one.name in columns else pa.nulls(count, one.type)
            for one in DIFFERING_ROW
        ],
        schema=DIFFERING_ROW,
    )


def _unknown(one: pa.Field, count: int) -> pa.Array:
    if pa.types.is_string(one.type):
        return pa.nulls(count, one.type) if one.nullable else pa.array([""] * count)
    return pa.array(np.zeros(count, np.int64))


def _lists(columns: list[pa.Array]) -> pa.ListArray:
    """Columns of text as one of lists, without what is null."""
    count, width = len(columns[0]), len(columns)
    order = np.arange(count * width).reshape(width, count).T.ravel()
    flat = pa.concat_arrays(columns).take(pa.array(order))
    valid = flat.is_valid().to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(valid)])[::width]
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat.drop_null())


class Counts:
    """How often texts, or sources with licences, occur; a row counts once for each that it has."""

    def __init__(self) -> None:
        self._found: dict[Any, int] = {}

    def add_lists(self, lists: pa.Array) -> None:
        """Counts the texts of lists."""
        for one in pc.value_counts(lists.flatten()).to_pylist():
            self._add(one["values"], one["counts"])

    def add_origins(self, lists: pa.Array) -> None:
        """Counts the sources with licences of lists of origins."""
        flat = lists.flatten()
        if not len(flat):
            return
        row = pc.list_parent_indices(lists)
        found = pa.table({"row": row, "source": flat.field("source"), "licence": flat.field("licence")})
        once = found.group_by(["row", "source", "licence"]).aggregate([])
        for one in once.group_by(["source", "licence"]).aggregate([([], "count_all")]).to_pylist():
            self._add((one["source"], one["licence"]), one["count_all"])

    def _add(self, key: Any, count: int) -> None:
        self._found[key] = self._found.get(key, 0) + count

    def texts(self) -> list[dict[str, Any]]:
        """The most frequent tasks, as JSON values."""
        return [{"task": task, "rows": count} for task, count in self._largest()]

    def places(self) -> list[dict[str, Any]]:
        """The most frequent sources, as JSON values."""
        return [
            {"source": source, "licence": licence, "rows": count}
            for (source, licence), count in self._largest()
        ]

    def _largest(self) -> list[tuple[Any, int]]:
        return sorted(self._found.items(), key=lambda item: (-item[1], str(item[0])))[:MOST_COUNTED]
