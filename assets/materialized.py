"""Reading back what was materialized: the lineage records in Dagster's event log.

A materialization carries one JSON record under `LINEAGE`: configuration, code version, the exact upstream
materializations by their place in the event log, and the Lance versions that it refers to. Reuse, status
and audits read that record and nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from resources.errors import SultanaError
from resources.table_refs import TableRef

LINEAGE = "sultana/lineage"
_AT_ONCE = 500  # records: Dagster gives a thousand at most


@dataclass(frozen=True)
class Materialized:
    """One materialization in Dagster's event log, as Sultana recorded it."""

    asset: str
    partition: str | None
    storage_id: int
    run_id: str
    timestamp: float
    data_version: str
    record: Mapping[str, Any]
    metadata: Mapping[str, dg.MetadataValue]

    def table(self, name: str | None = None) -> TableRef:
        """The Lance version that this materialization refers to; `name` where there are several."""
        tables = self.record["tables"]
        return TableRef.from_json(tables[name] if name else next(iter(tables.values())))

    def pointer(self) -> dict[str, Any]:
        """What another record stores to name this materialization."""
        return {
            "asset": self.asset,
            "partition": self.partition,
            "storage_id": self.storage_id,
            "run_id": self.run_id,
            "data_version": self.data_version,
        }


def materializations(
    instance: dg.DagsterInstance, asset: str, partition: str | None = None, storage_id: int | None = None
) -> list[Materialized]:
    """The newest materialization (or the one at `storage_id`) of an asset or of one of its partitions."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset),
            asset_partitions=[partition] if partition else None,
            storage_ids=[storage_id] if storage_id is not None else None,
        ),
        limit=1,
    ).records
    return [made for one in records for made in _recorded(asset, one)]


def newest_of_partitions(
    instance: dg.DagsterInstance, asset: str, partitions: Iterable[str]
) -> list[Materialized]:
    """The newest materialization of each of these partitions that has one, in their order.

    What Dagster is asked does not grow with the partitions, but for one query more for every five hundred.
    """
    places = instance.get_latest_storage_id_by_partition(
        dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    wanted = [place for one in partitions if (place := places.get(one)) is not None]
    found: dict[int, Materialized] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), storage_ids=part), limit=len(part)
        ).records
        found |= {made.storage_id: made for one in records for made in _recorded(asset, one)}
    return [found[place] for place in wanted if place in found]


def every_materialization(
    instance: dg.DagsterInstance, asset: str, partition: str | None = None
) -> Iterator[Materialized]:
    """All materializations of an asset or of one of its partitions, the newest first."""
    cursor = None
    while True:
        page = instance.fetch_materializations(
            dg.AssetRecordsFilter(
                asset_key=dg.AssetKey(asset), asset_partitions=[partition] if partition else None
            ),
            limit=100,
            cursor=cursor,
        )
        for one in page.records:
            yield from _recorded(asset, one)
        if not page.has_more:
            return
        cursor = page.cursor


def _recorded(asset: str, one: dg.EventLogRecord) -> Iterator[Materialized]:
    """The materialization in a record of the event log, if Sultana made it."""
    event = one.asset_materialization
    if event is not None and LINEAGE in event.metadata:
        yield Materialized(
            asset=asset,
            partition=one.partition_key,
            storage_id=one.storage_id,
            run_id=one.run_id,
            timestamp=one.timestamp,
            data_version=(event.tags or {})["dagster/data_version"],
            record=event.metadata[LINEAGE].value,  # type: ignore[arg-type]
            metadata=event.metadata,
        )


def require(instance: dg.DagsterInstance, asset: str, partition: str | None = None) -> Materialized:
    """The newest materialization of an asset, or a SultanaError that says to make it first."""
    found = materializations(instance, asset, partition)
    if not found:
        where = f" for partition {partition}" if partition else ""
        raise SultanaError(
            f"The asset '{asset}'{where} has not been materialized yet",
            f"Materialize '{asset}' first, or run: sultana run --to {asset}",
            code="not-materialized",
        )
    return found[0]


def record_at(instance: dg.DagsterInstance, pointer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The lineage record of the materialization that a pointer names, with its time as `made_at`, in seconds
    since 1970. Raises SultanaError where it is gone."""
    found = materializations(instance, pointer["asset"], pointer["partition"], pointer["storage_id"])
    if not found:
        raise SultanaError(
            f"Dagster no longer knows materialization {pointer['storage_id']} of '{pointer['asset']}'",
            "Restore the Dagster instance from a backup, or run the same `sultana run` again",
            code="history-missing",
        )
    return {**found[0].record, "made_at": found[0].timestamp}


def follow(instance: dg.DagsterInstance, made: Materialized, asset: str) -> Materialized:
    """The very materialization of `asset` that `made` was made from, however much has come since."""
    pointer = made.record["upstream"][asset]
    found = materializations(instance, asset, pointer["partition"], pointer["storage_id"])
    if not found:
        raise SultanaError(
            f"Dagster no longer knows the materialization of '{asset}' that '{made.asset}' was made from",
            f"Materialize '{made.asset}' again",
            code="history-missing",
        )
    return found[0]


def made_in_run(
    instance: dg.DagsterInstance, run_id: str, asset: str, partition: str | None = None
) -> Materialized | None:
    """The materialization of an asset (or partition) that a run recorded; the last one where there are several."""
    events = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, ascending=False
    ).records
    for one in events:
        event = one.asset_materialization
        if event is not None and event.asset_key == dg.AssetKey(asset) and one.partition_key == partition:
            return next(_recorded(asset, one), None)
    return None


def first_made(instance: dg.DagsterInstance, made: Materialized) -> Materialized:
    """The materialization that `made` is, or is a reuse of: what a run made is recorded again when it is reused."""
    found = made
    for one in every_materialization(instance, made.asset, made.partition):
        if one.record == made.record:
            found = one
    return found


def made_in_step(instance: dg.DagsterInstance, run_id: str, step_key: str) -> list[Materialized]:
    """What a step of a run recorded, in order; a step of several assets records one of each."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    return [
        made
        for one in records
        if one.event_log_entry.step_key == step_key and (event := one.asset_materialization) is not None
        for made in _recorded(event.asset_key.to_user_string(), one)
    ]


def made_before(instance: dg.DagsterInstance, made: Materialized) -> Materialized | None:
    """The newest earlier materialization of the same asset and partition that was not merely reused by `made`."""
    for one in every_materialization(instance, made.asset, made.partition):
        if one.storage_id < made.storage_id and one.record["made_by_run"] != made.record["made_by_run"]:
            return one
    return None
