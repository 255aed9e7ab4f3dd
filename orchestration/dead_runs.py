"""Runs whose process is gone: marked failed, and their places in pools given back.

A process that was killed cannot say so. Without this, its run would stay "started" for ever, and the next run
would wait for its place in a pool just as long.
"""

import json
import socket
import time

import dagster as dg
from dagster._core.storage.tags import GRPC_INFO_TAG

from resources.run_process import PROCESS_TAG, has_begun, is_gone

__all__ = [
    "PROCESS_TAG",
    "dead_runs",
    "fail_dead_runs",
    "is_dead",
    "places_of_ended_runs",
    "runs_in_progress",
]

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
IN_PROGRESS = UNFINISHED[1:]
GONE = "Its process is gone: it was killed, or the machine was restarted."
OUR_MODULE = "orchestration.definitions"
_ANSWER_SECONDS = 2.0


def is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether nobody carries out this unfinished run any more, or nobody ever began to."""
    return is_gone(instance, run) or _never_begun(instance, run)


def _never_begun(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run of our own definitions counts as started for long, and no process has said that it is its."""
    if run.status is not dg.DagsterRunStatus.STARTED or has_begun(instance, run) or not _is_ours(run):
        return False
    record = instance.get_run_record_by_id(run.run_id)
    return (
        record is not None
        and record.start_time is not None
        and time.time() - record.start_time > instance.run_monitoring_start_timeout_seconds
    )


def _is_ours(run: dg.DagsterRun) -> bool:
    """Of another code location in the same instance nothing is known: its processes claim no run."""
    origin = run.job_code_origin
    pointer = origin.repository_origin.code_pointer if origin is not None else None
    return getattr(pointer, "module", None) == OUR_MODULE


def _was_launched_in_vain(run: dg.DagsterRun) -> bool:
    """Whether the code server that was to start the process of a run is gone, or was never asked."""
    if run.status is not dg.DagsterRunStatus.STARTING:
        return False
    if (
        GRPC_INFO_TAG not in run.tags
    ):  # which is written right after the status, and before the server is asked
        return True
    server = json.loads(run.tags[GRPC_INFO_TAG])
    try:
        if path := server.get("socket"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_ANSWER_SECONDS)
                connection.connect(path)
        else:
            socket.create_connection((server["host"], server["port"]), _ANSWER_SECONDS).close()
    except OSError:
        return True
    return False


def dead_runs(instance: dg.DagsterInstance, *, restarted: bool = False) -> list[dg.DagsterRun]:
    """Unfinished runs that nobody carries out any more.

    With `restarted`, also those whose code server is gone before it has started their process: only a caller on
    the machine of the code servers, which are not restarted by anybody else, can know that.
    """
    found = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=UNFINISHED)):
        if is_dead(instance, run) or (
            restarted and not has_begun(instance, run) and _was_launched_in_vain(run)
        ):
            now = instance.get_run_by_id(run.run_id)  # it may have ended by itself since it was listed
            if now is not None and not now.is_finished:
                found.append(now)
    return found


def runs_in_progress(instance: dg.DagsterInstance, own: str = "") -> list[str]:
    """The ids of runs in progress, without `own` and the dead ones."""
    idle = {run.run_id for run in dead_runs(instance)} | {own}
    found = instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS))
    return sorted(run.run_id for run in found if run.run_id not in idle)


def places_of_ended_runs(instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    """Places in pools that are held, or waited for, in the name of a run that has ended: pool and run, in order."""
    storage = instance.event_log_storage
    ended: dict[str, bool] = {}
    found = set()
    for pool, info in storage.get_concurrency_infos(sorted(storage.get_concurrency_keys())).items():
        for run_id in {one.run_id for one in info.claimed_slots} | {one.run_id for one in info.pending_steps}:
            if run_id not in ended:
                run = instance.get_run_by_id(run_id)
                ended[run_id] = run is None or run.is_finished
            if ended[run_id]:
                found.add((pool, run_id))
    return sorted(found)


def fail_dead_runs(instance: dg.DagsterInstance, *, restarted: bool = False) -> list[str]:
    """Marks `dead_runs` as failed and frees the places in pools of all runs that have ended; returns their ids."""
    dead = dead_runs(instance, restarted=restarted)
    for run in dead:
        instance.report_run_failed(run, GONE)
    # Also of those that a caller before this one failed, and was killed before it freed their places.
    for run_id in {run_id for _, run_id in places_of_ended_runs(instance)}:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return [run.run_id for run in dead]
