"""R6: runs whose process is gone are found and failed, and only those; a whole tree that was killed starts again."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from assets.materialized import materializations
from orchestration import dead_runs
from orchestration.dead_runs import fail_dead_runs, runs_in_progress
from orchestration.definitions import defs
from orchestration.instance import LAUNCHER, SETTINGS, open_instance
from orchestration.run_workers import WatchedRunLauncher
from resources.errors import SultanaError
from resources.run_process import PROCESS_TAG, carried_out, check_in_progress
from tests.faults.counts import tell
from tests.faults.launched import PROJECT, status_of, wait_for
from tests.orchestration.servers import sultana_ui

WORKER = """
import os, sys, time
from types import SimpleNamespace
from resources.run_process import claim
instance = SimpleNamespace(root_directory=sys.argv[1], get_run_by_id=lambda run_id: None)
claim(instance, sys.argv[2])
if len(sys.argv) > 3 and os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
    os._exit(0)
os.write(1, b"%d\\n" % os.getpid())
time.sleep(60)
"""


@dg.op
def nothing() -> None: ...


@dg.job
def job() -> None:
    nothing()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    with open_instance(tmp_path) as made:
        yield made


@contextmanager
def worker(instance: dg.DagsterInstance, run: dg.DagsterRun, *options: str) -> Iterator[list[int]]:
    """The ids of a process that carries out a run, and of its forked child where an option asks for one."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, instance.root_directory, run.run_id, *options],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    others = [int(process.stdout.readline()) for _ in range(1 + len(options))]
    try:
        yield [process.pid, *(one for one in others if one != process.pid)]
    finally:
        for pid in {process.pid, *others}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def started(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)


def monitor(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """The status of a run after Dagster's run monitoring has looked at it."""
    record = instance.get_run_record_by_id(run.run_id)
    assert record is not None
    monitor_started_run(instance, None, record, logging.getLogger("test"))  # type: ignore[arg-type]
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status.value


def test_run_monitoring_fails_a_run_when_its_process_is_killed_and_not_before(
    instance: dg.DagsterInstance,
) -> None:
    assert isinstance(instance.run_launcher, WatchedRunLauncher)
    assert instance.run_monitoring_enabled and instance.run_monitoring_poll_interval_seconds <= 10
    run = started(instance)
    assert monitor(instance, run) == "STARTED"  # its process has not said anything yet
    with worker(instance, run, "fork") as (pid, child):
        assert monitor(instance, run) == "STARTED" and runs_in_progress(instance) == [run.run_id]
        os.kill(pid, signal.SIGSTOP)
        assert monitor(instance, run) == "STARTED" and fail_dead_runs(instance) == []
        check_in_progress(instance, run.run_id, "step")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.kill(child, 0)  # what it forked lives on, and is not the run
        with pytest.raises(SultanaError, match="may not commit") as refused:
            check_in_progress(instance, run.run_id, "step")
        assert refused.value.code == "run-ended"
        assert runs_in_progress(instance) == []
        assert monitor(instance, run) == "FAILURE"


def test_a_restart_fails_dead_runs_and_frees_their_places_in_pools(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("device", 1)
    dead, alive = started(instance), started(instance)
    with worker(instance, alive), worker(instance, dead) as (pid,):
        assert storage.claim_concurrency_slot("device", dead.run_id, "step").is_claimed
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert fail_dead_runs(instance) == [dead.run_id]
        assert fail_dead_runs(instance) == []
        assert storage.get_concurrency_info("device").active_slot_count == 0
        assert instance.get_run_by_id(alive.run_id).status.value == "STARTED"  # type: ignore[union-attr]


class Killed(BaseException):
    """Where a process was killed: nothing after it happens."""


@pytest.mark.parametrize("at", ["free_concurrency_slots_for_run", "_remove_pending_steps"])
def test_places_that_a_killed_restart_did_not_free_are_freed_by_the_next(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Else every later `sultana run` would wait for the place for ever, where no daemon runs."""
    storage = instance.event_log_storage
    storage.set_concurrency_slots("device", 1)
    dead, next_one = started(instance, **{PROCESS_TAG: "another-boot:1:1"}), started(instance)
    assert storage.claim_concurrency_slot("device", dead.run_id, "step").is_claimed

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(storage, at, killed)
        with pytest.raises(Killed):
            fail_dead_runs(instance)
    assert status_of(instance, dead.run_id) == "FAILURE"
    with worker(instance, next_one):
        assert fail_dead_runs(instance) == [] and dead_runs.places_of_ended_runs(instance) == []
        assert storage.claim_concurrency_slot("device", next_one.run_id, "step").is_claimed
        assert fail_dead_runs(instance) == []  # and one that is in use stays
        assert storage.get_concurrency_info("device").active_slot_count == 1


def test_a_run_that_is_tried_again_is_not_taken_for_the_one_that_died(instance: dg.DagsterInstance) -> None:
    """Dagster copies the tags of a run to the run that tries it again."""
    first = started(instance, **{PROCESS_TAG: "another-boot:1:1"})
    again = instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        tags=dict(first.tags),
        parent_run_id=first.run_id,
        root_run_id=first.run_id,
    )
    assert fail_dead_runs(instance) == [first.run_id]
    with worker(instance, again):
        assert fail_dead_runs(instance) == []
    assert fail_dead_runs(instance) == [again.run_id]


def test_a_run_of_our_definitions_that_no_process_took_is_dead_after_the_start_timeout(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign, ours = started(instance), started(instance)
    for run in (foreign, ours):
        instance.handle_new_event(
            dg.EventLogEntry(
                error_info=None,
                level="debug",
                user_message="",
                run_id=run.run_id,
                timestamp=time.time(),
                job_name=run.job_name,
                dagster_event=dg.DagsterEvent("PIPELINE_START", run.job_name),
            )
        )
    monkeypatch.setattr(dead_runs, "_is_ours", lambda run: run.run_id == ours.run_id)
    assert fail_dead_runs(instance) == []
    late = time.time() + instance.run_monitoring_start_timeout_seconds + 1
    monkeypatch.setattr("orchestration.dead_runs.time.time", lambda: late)
    assert fail_dead_runs(instance) == [ours.run_id]


def test_a_run_whose_code_server_is_gone_before_it_began_is_failed_at_a_restart(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    def starting(socket_file: str) -> str:
        tags = (
            {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": socket_file})} if socket_file else {}
        )
        return instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING, tags=tags).run_id

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "code"))
        server.listen()
        never_asked, of_one_that_is_gone = starting(""), starting(f"{tmp_path}/gone")
        being_started = starting(f"{tmp_path}/code")
        assert fail_dead_runs(instance) == []
        assert set(fail_dead_runs(instance, restarted=True)) == {never_asked, of_one_that_is_gone}
    assert fail_dead_runs(instance, restarted=True) == [being_started]


def test_files_of_runs_that_have_ended_are_swept_and_those_of_others_stay(
    instance: dg.DagsterInstance,
) -> None:
    ended, dead = started(instance), started(instance)
    for run in (ended, dead):
        with worker(instance, run):
            pass
    instance.report_run_failed(ended)
    folder = Path(instance.root_directory) / "running"
    with carried_out(instance, "3f6f9f0e-0000-4000-8000-000000000000"):
        assert {one.name for one in folder.iterdir()} == {dead.run_id, "3f6f9f0e-0000-4000-8000-000000000000"}
    assert [one.name for one in folder.iterdir()] == [dead.run_id]
    with pytest.raises(SultanaError, match="not a legal name"), carried_out(instance, "../../outside"):
        pass


def test_the_process_of_every_job_claims_its_run() -> None:
    jobs = list(defs.resolve_all_job_defs())
    assert len(jobs) > 15
    makers = {one.name: one.executor_def.executor_creation_fn for one in jobs}
    assert not [name for name, make in makers.items() if make.__module__ != "orchestration.run_workers"]


OLD = SETTINGS.replace("poll_interval_seconds: 10", "poll_interval_seconds: 30")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OLD, f"{SETTINGS}{LAUNCHER}"),
        ("# mine\ntelemetry: {enabled: false}", f"# mine\ntelemetry: {{enabled: false}}\n{LAUNCHER}"),
        ("run_launcher: {module: dagster, class: DefaultRunLauncher}\n", None),
        ("# nothing but a comment\n", f"# nothing but a comment\n{LAUNCHER}"),
    ],
)
def test_settings_of_an_earlier_release_get_the_launcher_and_those_of_the_user_stay(
    tmp_path: Path, text: str, expected: str | None
) -> None:
    (tmp_path / "dagster").mkdir()
    file = tmp_path / "dagster" / "dagster.yaml"
    file.write_text(text)
    for _ in range(2):
        with open_instance(tmp_path) as instance:
            assert isinstance(instance.run_launcher, WatchedRunLauncher) == (expected is not None)
        assert file.read_text() == (expected or text)


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("storage: [")
    with pytest.raises(SultanaError, match=r"dagster.yaml cannot be read") as told:
        open_instance(tmp_path)
    assert told.value.code == "broken-instance-settings"


FAILED_WITHIN_SECONDS = 30.0
CONFIG = {
    "ops": {
        "raw_instructions": {"config": {"starter": {"rows": 400}}},
        "benchmark_splits": {"config": {"starter": {"rows": 400}, "maximum_examples": 24}},
    }
}
ASSETS = (
    "raw_instructions",
    "benchmark_splits",
    "retractions",
    "instructions",
    "quarantine",
    "dropped_instructions",
)
LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


def ask(address: str, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    assert "errors" not in found, found
    data: dict[str, Any] = found["data"]
    return data


def answers(address: str) -> bool:
    try:
        ask(address, "{ version }")
    except OSError:
        return False
    return True


def launched_by_the_page(address: str) -> str:
    """The id of a run of our own assets that was launched as the page of the UI does it."""
    selector = {
        "repositoryLocationName": "sultana",
        "repositoryName": "__repository__",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": [name]} for name in ASSETS],
        "assetCheckSelection": [],
    }
    told = ask(address, LAUNCH, parameters={"selector": selector, "runConfigData": CONFIG, "mode": "default"})
    assert told["launchRun"]["__typename"] == "LaunchRunSuccess", told
    return str(told["launchRun"]["run"]["runId"])


def kill_tree(pid: int) -> int:
    """Kills a process and all below it as a host that crashes does: none of them sees another one die."""
    top = psutil.Process(pid)
    processes = [top, *top.children(recursive=True)]
    for one in processes:
        one.suspend()
    for one in {*processes, *top.children(recursive=True)}:
        one.kill()
    return len(processes)


def unfinished(instance: dg.DagsterInstance) -> list[str]:
    return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=dead_runs.IN_PROGRESS))]


@pytest.mark.slow
def test_a_crash_of_the_whole_tree_leaves_no_run_behind_and_the_retry_ends_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    with open_instance(tmp_path) as instance:

        def is_at_work(run_id: str) -> bool:
            events = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_START)
            return any(one.dagster_event.step_key == "instructions" for one in events if one.dagster_event)

        def tried_again(run_id: str) -> str | None:
            found = [run.run_id for run in instance.get_runs() if run.parent_run_id == run_id]
            return found[0] if found else None

        def crash(process: subprocess.Popen[bytes], run_id: str, moment: str) -> None:
            killed = kill_tree(process.pid)
            process.wait()
            assert killed >= 4 and run_id in unfinished(instance)
            tell(f"killed {moment}: {killed} processes")

        def failed_in_time(run_id: str, began: float) -> None:
            wait_for("the failure", lambda: status_of(instance, run_id) == "FAILURE")
            took = time.monotonic() - began
            tell(f"failed {took:.1f} s after the restart began")
            assert took < FAILED_WITHIN_SECONDS

        with sultana_ui(tmp_path) as (address, process):
            wait_for("the UI", lambda: answers(address))
            first = launched_by_the_page(address)
            wait_for("the launch", lambda: status_of(instance, first) == "STARTING")
            crash(process, first, "while the run starts")

        began = time.monotonic()
        with sultana_ui(tmp_path) as (_, process):
            failed_in_time(first, began)
            second = wait_for("the retry", lambda: tried_again(first))
            wait_for("its work", lambda: is_at_work(second))
            crash(process, second, "in a step")

        began = time.monotonic()
        with sultana_ui(tmp_path):
            failed_in_time(second, began)
            third = wait_for("the second retry", lambda: tried_again(second))
            wait_for("its success", lambda: status_of(instance, third) == "SUCCESS", 240)
            assert unfinished(instance) == []
        assert [run.run_id for run in instance.get_runs()] == [third, second, first]
        storage = instance.event_log_storage
        for key in storage.get_concurrency_keys():
            assert storage.get_concurrency_info(key).active_slot_count == 0
        assert materializations(instance, "instructions")[0].run_id == third
