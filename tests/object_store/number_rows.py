"""A small table, and how it is written."""

from typing import Any

import pyarrow as pa

from assets.records import Record
from resources.table_refs import Provenance, TableRef
from resources.tables import LanceTables

NUMBERS = Record(
    "numbers", "id", pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("v", pa.int64())])
)


def put(tables: LanceTables, key: str, mode: str, *ids: str, value: int = 0, **more: Any) -> TableRef:
    rows = pa.table({"id": list(ids), "v": [value] * len(ids)}, schema=NUMBERS.schema)
    return tables.write(NUMBERS, rows, mode=mode, provenance=Provenance("run-1", "numbers", key), **more)  # type: ignore[arg-type]


def content(tables: LanceTables, ref: TableRef) -> dict[str, int]:
    rows = tables.read(ref)
    assert rows.num_rows == len(set(rows["id"].to_pylist()))
    return dict(zip(rows["id"].to_pylist(), rows["v"].to_pylist(), strict=True))
