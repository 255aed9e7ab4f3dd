"""Runs whose process is gone: marked failed, and their places in pools given back.

A run that lives in the process of the command line cannot say that it was killed. Without this, it would
stay "started" for ever, and the next run would wait for its place in a pool just as long.
"""

import os
from pathlib import Path

import dagster as dg

PROCESS_TAG = "sultana/process"
IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, *IN_PROGRESS]


def process_identity(pid: int | None = None) -> str | None:
    """What names a process for good: boot, process id and start time; None where there is no such process."""
    pid = os.getpid() if pid is None else pid
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The second field, the command, is in brackets and may hold spaces.
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
    return f"{boot}:{pid}:{started}"


def dead_runs(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Unfinished runs of the command line whose process is gone."""
    found = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        identity = run.tags.get(PROCESS_TAG)
        if identity is not None and process_identity(int(identity.split(":")[1])) != identity:
            found.append(run)
    return found


def runs_in_progress(instance: dg.DagsterInstance, own: str = "") -> list[str]:
    """The ids of runs in progress, without `own` and those whose process is gone."""
    idle = {run.run_id for run in dead_runs(instance)} | {own}
    found = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
    return sorted(run.run_id for run in found if run.run_id not in idle)


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks unfinished runs of the command line whose process is gone as failed; returns their ids."""
    dead = dead_runs(instance)
    for run in dead:
        instance.report_run_failed(run, "Its process is gone: it was killed, or the machine was restarted.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
    return [run.run_id for run in dead]
