"""Ticks of sensors and schedules, evaluated one by one as Dagster's daemon does, and what they ask for, carried out."""

from datetime import UTC, datetime

import dagster as dg

from orchestration.automation import FOLLOWING
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.schedules import weekly_training
from orchestration.sensors import sources_have_changed
from tests.orchestration.deployment import Deployment

UP_TO_CLUSTERS = {
    "instructions",
    "quarantine",
    "dropped_instructions",
    "instruction_embeddings",
    "interpolated_instructions",
    "diversity_clusters",
}
"""What follows new raw rows in one run."""


class Sensor:
    """Ticks of the sensor on sources."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.cursor: str | None = None
        self.skipped = ""

    def tick(self) -> list[dg.RunRequest]:
        with open_instance(self.deployment.folder) as instance:
            context = dg.build_sensor_context(
                instance=instance, cursor=self.cursor, repository_def=defs.get_repository_def()
            )
            found = sources_have_changed(context)
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor
        self.skipped = found.skip_reason.skip_message or "" if found.skip_reason else ""
        return list(found.run_requests or [])

    def ticks(self, count: int = 4) -> list[dg.RunRequest]:
        """All that a number of ticks ask for."""
        return [request for _ in range(count) for request in self.tick()]


class Daemon:
    """Ticks of the automation sensor, as the daemon makes them."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=defs.get_repository_def()
        )
        found = FOLLOWING.evaluate_tick(context)
        self.cursor = found.cursor
        return list(found.run_requests)


def tick(
    instance: dg.DagsterInstance,
    schedule: dg.ScheduleDefinition = weekly_training,
    time: datetime = datetime(2026, 3, 1, 4, tzinfo=UTC),
) -> tuple[list[dg.RunRequest], str]:
    """The runs that a tick of a schedule asks for, and the reason where there are none."""
    context = dg.build_schedule_context(
        instance=instance, repository_def=defs.get_repository_def(), scheduled_execution_time=time
    )
    found = schedule.evaluate_tick(context)
    return list(found.run_requests or []), found.skip_message or ""


def carry_out(
    instance: dg.DagsterInstance, request: dg.RunRequest, job: str = ""
) -> dg.ExecuteInProcessResult:
    """Executes a request in this process, whether it succeeds or not; `job` where it is not of assets alone."""
    definition = defs.resolve_job_def(job) if job else defs.resolve_implicit_global_asset_job_def()
    return definition.execute_in_process(
        instance=instance,
        run_config=request.run_config,
        asset_selection=list(request.asset_selection) if request.asset_selection else None,
        partition_key=request.partition_key,
        tags=dict(request.tags),
        raise_on_error=False,
    )


def assets_of(*requests: dg.RunRequest) -> set[str]:
    """The assets that requests name."""
    return {key.to_user_string() for one in requests for key in one.asset_selection or []}
