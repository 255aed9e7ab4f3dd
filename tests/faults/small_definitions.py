"""A code location with small assets that are carried out as the real ones are, for runs that are to be killed."""

import os
import time
from pathlib import Path

import dagster as dg
import pyarrow as pa

import resources.definitions
from assets.materialization import begin
from assets.records import Record
from orchestration.run_workers import claiming
from orchestration.settings import RESOURCES
from resources.definitions import Storage

WITHOUT_DEATH = "SULTANA_TEST_STEPS_OUTLIVE_THEIR_RUN"
"""Where it is set, no step dies with its run: the fence stands alone."""

TICKS = Record("ticks", "id", pa.schema([pa.field("id", pa.string(), nullable=False)]))
TICKS_FILE = "ticks.txt"

if os.environ.get(WITHOUT_DEATH):
    resources.definitions.die_with_parent = lambda: None


class TickingConfig(dg.Config):
    """How long a step works, and whether it commits while it does."""

    seconds: float = 60.0
    commits: bool = True


@dg.asset(pool="device")
def ticking(
    context: dg.AssetExecutionContext, config: TickingConfig, storage: Storage
) -> dg.MaterializeResult:
    """Adds a line to a file every 20 ms, and commits a row as often as it can."""
    stage = begin(context, storage, config, asset="ticking", code_version=context.run_id)
    tables = []
    end, number = time.monotonic() + config.seconds, 0
    while time.monotonic() < end:
        with Path(storage.path(), TICKS_FILE).open("a") as file:
            file.write(f"{context.run_id} {os.getpid()} {time.time()}\n")
        if config.commits:
            rows = pa.table({"id": [f"{context.run_id}-{number}"]}, schema=TICKS.schema)
            tables = [stage.write(TICKS, rows, mode="append", part=[context.run_id, number])]
            context.log.info(f"tick {number}")
        number += 1
        time.sleep(0.02)
    return stage.result(tables, {"ticks": number}, content=context.run_id)


@dg.asset
def counting(context: dg.AssetExecutionContext, storage: Storage) -> dg.MaterializeResult:
    """One row in one commit, for runs that are many."""
    stage = begin(context, storage, dg.Config(), asset="counting", code_version=context.run_id)
    rows = pa.table({"id": [context.run_id]}, schema=TICKS.schema)
    return stage.result([stage.write(TICKS, rows, mode="append", part=context.run_id)], {})


@dg.asset_check(asset=ticking, name="slow_check")
def slow_check(context: dg.AssetCheckExecutionContext, storage: Storage) -> dg.AssetCheckResult:
    """Holds always."""
    del storage
    return dg.AssetCheckResult(passed=True, metadata={"run": context.run.run_id})


work = dg.define_asset_job("work", selection=dg.AssetSelection.assets("ticking").without_checks())
count = dg.define_asset_job("count", selection=dg.AssetSelection.assets("counting"))

defs = dg.Definitions(
    assets=[ticking, counting],
    asset_checks=[slow_check],
    jobs=[work, count],
    resources={name: RESOURCES[name] for name in ("io_manager", "storage")},
    executor=claiming(
        dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": {"spawn": {}}})
    ),
)
