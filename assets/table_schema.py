"""Whether stored tables have the columns that `records.py` declares."""

from collections.abc import Sequence

import pyarrow as pa

from assets.outcome import Outcome
from assets.records import Record


def schema_differences(stored: pa.Schema, declared: pa.Schema) -> list[str]:
    """Each column that is missing, not declared, or of another type or nullability, in words; order is free."""
    found = []
    for field in declared:
        if field.name not in stored.names:
            found.append(f"column {field.name} is missing")
            continue
        has = stored.field(field.name)
        if has.type != field.type:
            found.append(f"column {field.name} is {has.type}, not {field.type}")
        elif has.nullable != field.nullable:
            found.append(f"column {field.name} {'may' if has.nullable else 'may not'} be null")
    return found + [f"column {name} is not declared" for name in stored.names if name not in declared.names]


def schemas_as_declared(tables: Sequence[tuple[Record, pa.Schema]]) -> Outcome:
    """Whether the stored schema of each table is that of its record."""
    differences = [
        f"{record.table}: {one}"
        for record, stored in tables
        for one in schema_differences(stored, record.schema)
    ]
    names = ", ".join(record.table for record, _ in tables)
    return Outcome(
        not differences,
        {
            "columns": sum(len(stored) for _, stored in tables),
            "differences": len(differences),
            "differences_allowed": 0,
        },
        "; ".join(differences)
        if differences
        else f"{names}: every column is as assets/records.py declares it",
        "Materialize the asset again with this version of Sultana; where that changes nothing, another program "
        "wrote the table: move its folder away first",
    )
