"""A code location whose sensor asks for a run for each line of a file, again and again: keys keep them apart."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from orchestration.run_workers import claiming
from resources.definitions import data_folder

KEYS_FILE = "keys.txt"
DONE_FILE = "done.txt"


@dg.op
def note(context: dg.OpExecutionContext) -> None:
    """Adds its key to a file."""
    with Path(data_folder(), DONE_FILE).open("a") as file:
        file.write(f"{context.run.tags['key']}\n")


@dg.job(executor_def=claiming(dg.in_process_executor))
def keyed() -> None:
    """One key."""
    note()


@dg.sensor(job=keyed, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def every_key(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest]:
    """A run for each key, without a cursor."""
    del context
    for key in Path(data_folder(), KEYS_FILE).read_text().split():
        yield dg.RunRequest(run_key=key, tags={"key": key})


defs = dg.Definitions(jobs=[keyed], sensors=[every_key])
