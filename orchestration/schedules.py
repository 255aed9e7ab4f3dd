"""Schedules: training, nightly the first seed of each strategy, weekly every seed, and only what has changed; and the
weekly maintenance of the tables.

Trained are the partitions of the settings file that `SULTANA_SETTINGS` names, else those that have a
curriculum already. Times are those of `SULTANA_TIME_ZONE` (UTC where it is not set).
"""

import os
import zoneinfo
from collections.abc import Iterator

import dagster as dg

from assets.materialized import materializations
from assets.partitions import add_partition, materialized_partitions, parse_key
from orchestration.check_results import blocked, in_words
from orchestration.dead_runs import runs_in_progress
from orchestration.jobs import MODEL_ASSETS, TRAINING
from orchestration.model_jobs import MAINTENANCE
from orchestration.refresh import refresh_settings, run_config_for
from orchestration.settings import CONFIGURATIONS
from orchestration.staleness import other_settings, why_stale
from resources.errors import SultanaError

TIME_ZONE = "SULTANA_TIME_ZONE"
NIGHTLY = "0 2 * * *"
WEEKLY = "0 4 * * 0"
MAINTAINED = "0 1 * * 6"
"""Before the nightly training, and long after the weekly one has begun."""

NEEDED = ("diversity_clusters", "benchmark_splits")
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def time_zone() -> str:
    """The time zone of schedules. Raises SultanaError where there is none of that name."""
    name = os.environ.get(TIME_ZONE) or "UTC"
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise SultanaError(
            f"{TIME_ZONE} is '{name}', which is no time zone",
            "Name one as Europe/Istanbul or UTC",
            code="time-zone-unknown",
        ) from None
    return name


def wanted_partitions(instance: dg.DagsterInstance, *, every_seed: bool) -> list[str]:
    """The partitions that a schedule keeps trained, as `seed|strategy`; of each strategy one seed, or every one."""
    settings = refresh_settings()
    if settings is not None and settings.partitions:
        found = [str(key) for key in settings.partitions]
    else:
        found = materialized_partitions(instance, "curriculum")
    keys = sorted({(strategy, int(seed)) for seed, _, strategy in (one.partition("|") for one in found)})
    first = {strategy: seed for strategy, seed in reversed(keys)}
    return [f"{seed}|{strategy}" for strategy, seed in keys if every_seed or first[strategy] == seed]


def why_train(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, partition: str) -> str:
    """Why a partition has to be trained again; empty where it need not.

    Something of it is missing or stale, or was made with other settings than the settings file names.
    """
    settings = refresh_settings()
    ops = (settings.run_config.get("ops") or {}) if settings is not None else None
    for asset in MODEL_ASSETS:
        found = materializations(instance, asset, partition)
        if not found:
            return f"{asset} has not been materialized"
        if reason := why_stale(instance, repository, found[0]):
            return f"{asset}: {reason}"
        if ops is not None:
            wanted = CONFIGURATIONS[asset](**((ops.get(asset) or {}).get("config") or {}))
            if setting := other_settings(found[0], wanted):
                return f"{asset}: the setting '{setting}' has changed"
    return ""


def _requests(
    context: dg.ScheduleEvaluationContext, *, every_seed: bool
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    repository = context.repository_def
    if repository is None:
        raise TypeError("the schedule is evaluated without a repository")
    instance = context.instance
    missing = [name for name in NEEDED if not instance.get_latest_materialization_event(dg.AssetKey(name))]
    if missing:
        yield dg.SkipReason(f"Nothing can be trained yet: {', '.join(missing)} has not been materialized")
        return
    if refused := blocked(instance, repository, MODEL_ASSETS):
        yield dg.SkipReason(f"What training reads did not pass its checks: {in_words(refused)}")
        return
    wanted = wanted_partitions(instance, every_seed=every_seed)
    if not wanted:
        yield dg.SkipReason(
            "Nothing has been trained yet: train a partition once, or name some in SULTANA_SETTINGS"
        )
        return
    under_way = 0
    requested = 0
    for key in wanted:
        reason = why_train(instance, repository, key)
        if not reason:
            continue
        if instance.get_runs(dg.RunsFilter(tags={"dagster/partition": key}, statuses=UNFINISHED), limit=1):
            under_way += 1
            continue
        requested += 1
        add_partition(instance, parse_key(key))  # the settings file may name new ones
        yield dg.RunRequest(
            # Asked for again at the next tick where it fails: training goes on from its last state.
            run_key=f"{context.scheduled_execution_time.isoformat()} {key}",
            partition_key=key,
            run_config=run_config_for(instance, repository, MODEL_ASSETS, key),
            tags={"sultana/started_because": reason},
        )
    if not requested:
        yield dg.SkipReason(
            f"Nothing has changed upstream; partitions up to date: {len(wanted) - under_way}, "
            f"being trained: {under_way}"
        )


@dg.schedule(
    cron_schedule=NIGHTLY,
    job=TRAINING,
    execution_timezone=time_zone(),
    description="Trains and evaluates the first seed of each strategy, where something upstream has changed.",
)
def nightly_training(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """See the description."""
    yield from _requests(context, every_seed=False)


@dg.schedule(
    cron_schedule=WEEKLY,
    job=TRAINING,
    execution_timezone=time_zone(),
    description="Trains and evaluates every seed of each strategy, where something upstream has changed.",
)
def weekly_training(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """See the description."""
    yield from _requests(context, every_seed=True)


@dg.schedule(
    cron_schedule=MAINTAINED,
    job=MAINTENANCE,
    execution_timezone=time_zone(),
    description="Removes versions of tables that nothing depends on and that are older than SULTANA_RETENTION_DAYS "
    "(30), where no run is in progress.",
)
def weekly_maintenance(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """See the description."""
    if running := runs_in_progress(context.instance):
        return dg.SkipReason(f"Runs are in progress that could read what would be removed: {len(running)}")
    return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())


SCHEDULES = [nightly_training, weekly_training, weekly_maintenance]
