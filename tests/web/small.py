"""Definitions of two assets, a job, a schedule and a sensor: something to start, to wipe and to switch on."""

import dagster as dg

seeds = dg.DynamicPartitionsDefinition(name="seed")


@dg.asset
def first() -> None:
    """Nothing."""


@dg.asset(partitions_def=seeds)
def second() -> None:
    """Nothing, by seed."""


make_first = dg.define_asset_job("make_first", [first])


@dg.sensor(job=make_first)
def notices() -> dg.SkipReason:
    """Notices nothing."""
    return dg.SkipReason("nothing")


defs = dg.Definitions(
    assets=[first, second],
    jobs=[make_first],
    sensors=[notices],
    schedules=[dg.ScheduleDefinition(name="nightly", job=make_first, cron_schedule="0 3 * * *")],
)
