"""A table of many small data files, written anew as few: a version like any other, with the same rows and digest."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from assets import records
from assets.identity import digest
from assets.records import Record
from resources.errors import SultanaError
from resources.table_cleanup import data_files
from resources.table_refs import Provenance
from resources.tables import LanceTables

FRAGMENTED_FILES = 16
"""Data files from which a table may count as fragmented."""

SMALL_BYTES = 16 << 20
"""Mean bytes of a data file below which it does: one write fills files of 64 MiB."""

ASSET_KEY = "maintenance"
DECLARED = {one.table: one for one in vars(records).values() if isinstance(one, Record)}
"""The tables with a fixed declaration; those of embeddings and features have one for each length of a vector."""


def is_fragmented(tables: LanceTables, table: str) -> bool:
    """Whether the newest version is in many small files, as after many appends."""
    sizes = data_files(tables, table)
    return len(sizes) >= FRAGMENTED_FILES and sum(sizes) / len(sizes) < SMALL_BYTES


def compact_table(tables: LanceTables, table: str, run_id: str, *, dry_run: bool) -> dict[str, Any]:
    """Write the newest version of a table anew; what was done, as JSON values.

    The version before stays as long as something depends on it. Raises SultanaError, with nothing written, where
    the table was written to meanwhile.
    """
    base = tables.head(table)
    commit = tables.commits.head(table)
    if base is None or commit is None:
        raise SultanaError(
            f"The table {table} has no version", "Materialize its asset", code="not-materialized"
        )
    told = {"table": table, "from_version": base.version, "files": len(data_files(tables, table))}
    if dry_run:
        return {**told, "to_version": None}
    schema = tables.schema(base)
    declared = DECLARED.get(table, Record(table, commit.key, schema))

    def rows() -> Iterator[pa.RecordBatch]:
        # Called with the writer lock held: from here on nobody else can write.
        if tables.head(table) != base:
            raise SultanaError(
                f"The table {table} was written to while it was to be compacted",
                "Run the same command again",
                code="table-written-meanwhile",
            )
        yield from tables.batches(base)

    metadata = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    written = tables.write(
        declared,
        rows(),
        mode="overwrite",
        provenance=Provenance(run_id, ASSET_KEY, digest([ASSET_KEY, table, commit.hash])[:32]),
        metadata=metadata,
    )
    if (written.digest, written.rows) != (base.digest, base.rows):
        raise SultanaError(
            f"Version {written.version} of the table {table} is a copy of version {base.version} and differs from it",
            "Run `sultana doctor`",
            code="table-copy-differs",
        )
    return {**told, "to_version": written.version}
