"""Real runs of small definitions: a code server, what it starts, and what became of a run."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import ModuleTarget

from resources.run_process import PROCESS_TAG
from tests.faults.counts import count

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0
DEFINITIONS = "tests.faults.small_definitions"


def wait_for(what: str, holds: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> Any:
    """What `holds` gives once it is true."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, f"waited {patience:g} s in vain for {what}"
        time.sleep(0.05)
    return found


@contextmanager
def workspace(instance: dg.DagsterInstance, module: str = DEFINITIONS) -> Iterator[WorkspaceRequestContext]:
    """A code server of its own process, as the web server and the daemon start it; no run outlives the block."""
    target = ModuleTarget(module, None, str(PROJECT), "small")
    try:
        with WorkspaceProcessContext(instance, target) as context:  # type: ignore[arg-type]
            yield context.create_request_context()
    finally:
        for run in instance.get_runs():
            worker = worker_of(instance, run.run_id)
            if worker is not None and not run.is_finished and is_there(worker):
                os.kill(worker, signal.SIGKILL)


def launch(
    instance: dg.DagsterInstance,
    context: WorkspaceRequestContext,
    job: str = "work",
    run_config: dict[str, Any] | None = None,
    tags: dict[str, str] | None = None,
) -> str:
    """The id of a run that has just been given to the code server."""
    from tests.faults.small_definitions import defs

    location = context.get_code_location("small")
    remote = next(iter(location.get_repositories().values())).get_full_job(job)
    run = instance.create_run_for_job(
        defs.resolve_job_def(job),
        run_config=run_config or {},
        tags=tags or {},
        remote_job_origin=remote.get_remote_origin(),
        job_code_origin=remote.get_python_origin(),
    )
    instance.launch_run(run.run_id, context)
    return run.run_id


def worker_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The id of the process that carries out a run, once it has said so."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return int(run.tags[PROCESS_TAG].split(":")[1]) if PROCESS_TAG in run.tags else None


def status_of(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


def is_there(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def events_after(instance: dg.DagsterInstance, run_id: str, moment: float) -> list[dg.EventLogEntry]:
    """What the log of a run says of the time after a moment."""
    return [one for one in instance.all_logs(run_id) if one.timestamp > moment]


def kinds(entries: Sequence[dg.EventLogEntry]) -> set[str]:
    return {
        one.dagster_event.event_type_value if one.dagster_event is not None else "a line" for one in entries
    }


def kills(usual: int) -> int:
    """How often to kill: as SULTANA_FAULT_KILLS says, or what is usual."""
    return count("SULTANA_FAULT_KILLS", usual)


def shown(entries: Sequence[dg.EventLogEntry]) -> str:
    return json.dumps([[one.timestamp, one.message] for one in entries], indent=1)
