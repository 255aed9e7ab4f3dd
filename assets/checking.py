"""What every asset check does at its door: find the materialization to look at, and say what was found.

A check looks at what its own run materialized, else at the newest materialization: of its partition, or where
it runs alone without one, of whichever partition came last. What blocks fails as an error, and keeps
everything downstream in the run from starting; what does not block fails as a warning.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.failures import explained_step
from assets.materialized import Materialized, made_in_run, require
from assets.outcome import Outcome
from assets.presentation import cell
from assets.records import Record
from assets.table_schema import schemas_as_declared
from resources.definitions import Storage
from resources.run_process import check_in_progress
from resources.tables import LanceTables

SCHEMA_AS_DECLARED = "schema_as_declared"


def schema_spec(asset: str) -> dg.AssetCheckSpec:
    """The check that an asset's tables have the columns that `records.py` declares."""
    return dg.AssetCheckSpec(
        SCHEMA_AS_DECLARED,
        asset=asset,
        blocking=True,
        description="Every column of the stored table has the name, type and nullability that the data dictionary "
        "(assets/records.py) declares.",
    )


class Checking:
    """A check in the making: its run, and the tables it may read."""

    def __init__(self, context: dg.AssetCheckExecutionContext, storage: Storage) -> None:
        self.context = context
        self.storage = storage

    @cached_property
    def tables(self) -> LanceTables:
        """The Lance tables, for reading."""
        return self.storage.tables()

    def made(self, asset: str) -> Materialized:
        """The materialization to look at. Raises SultanaError where there is none."""
        partition = str(self.context.partition_key) if self.context.has_partition_key else None
        instance = self.context.instance
        return made_in_run(instance, self.context.run.run_id, asset, partition) or require(
            instance, asset, partition
        )

    def column(self, made: Materialized, name: str) -> pa.Array:
        """One column of the table that a materialization refers to."""
        return self.tables.read(made.table(), columns=[name])[name].combine_chunks()

    def field(self, made: Materialized, column: str, name: str) -> pa.Array:
        """One field of the structs in a column of lists, of all rows one after the other; reads a batch at a time."""
        kept = self.tables.schema(made.table()).field(column).type.value_type.field(name).type
        nothing = pa.array([], kept)
        # A copy of each part: the field alone is a window on a buffer that may hold the others.
        parts = [
            pa.concat_arrays([pc.struct_field(batch.column(0).flatten(), name), nothing])
            for batch in self.tables.batches(made.table(), [column])
        ]
        return pa.concat_arrays([*parts, nothing])

    def schemas(self, made: Materialized, *records: Record) -> Outcome:
        """Whether the tables of a materialization are as their records declare."""
        return schemas_as_declared(
            [(record, self.tables.schema(made.table(record.table))) for record in records]
        )

    def results(
        self, measures: Mapping[tuple[str, str], Callable[[], Outcome]]
    ) -> Iterator[dg.AssetCheckResult]:
        """The result of each selected check; `measures` are named by asset and check.

        Raises SultanaError where the run has ended meanwhile.
        """
        blocking = {spec.key: spec.blocking for spec in self.context.check_specs}
        for key in sorted(self.context.selected_asset_check_keys, key=str):
            asset = key.asset_key.to_user_string()
            with explained_step(f"{asset}, check {key.name}"):
                found = measures[asset, key.name]()
            check_in_progress(self.context.instance, self.context.run.run_id, f"{asset}, check {key.name}")
            if not found.passed:
                # In the log of a run, the UI shows no more of a result than its numbers.
                level = logging.ERROR if blocking[key] else logging.WARNING
                self.context.log.log(level, f"{asset}, check {key.name}: {found.sentence}")
            yield dg.AssetCheckResult(
                passed=found.passed,
                asset_key=key.asset_key,
                check_name=key.name,
                severity=dg.AssetCheckSeverity.ERROR if blocking[key] else dg.AssetCheckSeverity.WARN,
                description=found.sentence,
                metadata={
                    name: cell(value) if isinstance(value, float) else value
                    for name, value in found.measured.items()
                },
            )
