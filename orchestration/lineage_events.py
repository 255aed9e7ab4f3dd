"""OpenLineage events of what was materialized: told as it happens, and again from Dagster's event log.

A hook on each asset sends them. It runs in the process of the step, just after Dagster has stored what the step
made, whoever started the run: the UI, the terminal, a schedule or a sensor. (A sensor of its own would need the
daemon, which `sultana run` does without; the asset's function would announce what Dagster may yet fail to store.)
Nothing is attached where no transport is configured.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from assets.materialization import OWNER
from assets.materialized import Materialized, made_in_run, made_in_step, record_at
from resources.definitions import Storage
from resources.errors import SultanaError
from resources.lineage_transport import emit, is_configured, namespace
from resources.standards import standards
from resources.table_refs import TableRef
from resources.tables import LanceTables

if TYPE_CHECKING:
    from assets.lineage.exports.openlineage_events import Made


def made_for_events(instance: dg.DagsterInstance, tables: LanceTables, one: Materialized) -> "Made":
    """A materialization as OpenLineage events are made from; where it was reused, the one that did the work.

    Raises SultanaError where Dagster no longer knows what it was made from, or a table cannot be read.
    """
    with standards():
        from assets.lineage.exports.openlineage_events import Made

    record = one.record
    first = one
    if one.run_id != record["made_by_run"]:
        first = made_in_run(instance, record["made_by_run"], one.asset, one.partition) or one
    run = instance.get_run_by_id(record["made_by_run"])
    seconds = first.metadata["seconds"].value
    return Made(
        record=record,
        data_version=one.data_version,
        ended=first.timestamp,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        upstream={asset: record_at(instance, pointer) for asset, pointer in record["upstream"].items()},
        schemas={ref["table"]: tables.schema(TableRef.from_json(ref)) for ref in record["tables"].values()},
        owners=[OWNER],
        job=run.job_name if run else None,
    )


@dg.success_hook(required_resource_keys={"storage"})
def lineage_events(context: dg.HookContext) -> None:
    """Sends the OpenLineage events of a step's materializations; a failure is a warning in the run's log."""
    try:
        with standards():
            from assets.lineage.exports.openlineage_events import run_events

        storage: Storage = context.resources.storage
        made = made_in_step(context.instance, context.run_id, context.step_key)
        sent = emit(
            event
            for one in made
            for event in run_events(made_for_events(context.instance, storage.tables(), one), namespace())
        )
    except SultanaError as error:
        context.log.warning(f"{error} (the run goes on: what it made is stored)")
        return
    context.log.info(f"{sent} OpenLineage events were sent")


def announced(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, with events sent when they are materialized where a transport is configured."""
    if not is_configured():
        return list(assets)
    return [one.with_hooks({lineage_events}) for one in assets]
