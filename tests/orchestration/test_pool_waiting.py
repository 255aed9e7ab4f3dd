"""A run that waits for a place in a pool takes no core from the run that has it, and says so."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob

from orchestration.instance import open_instance
from orchestration.pool_waiting import asleep_while_waiting
from orchestration.run_workers import claiming

WAIT = 4.0


@dg.op(pool="device")
def nothing() -> None: ...


@dg.job(executor_def=claiming(dg.multiprocess_executor))
def in_processes() -> None:
    nothing()


@dg.job
def in_this_process() -> None:
    nothing()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    with open_instance(tmp_path) as made:
        yield made


@contextmanager
def held(instance: dg.DagsterInstance) -> Iterator[str]:
    """The id of a run that has the only place of the pool for WAIT seconds."""
    storage = instance.event_log_storage
    storage.set_concurrency_slots("device", 1)
    run = instance.create_run_for_job(in_this_process, status=dg.DagsterRunStatus.STARTED)
    assert storage.claim_concurrency_slot("device", run.run_id, "step").is_claimed
    freeing = threading.Timer(WAIT, storage.free_concurrency_slots_for_run, [run.run_id])
    freeing.start()
    yield run.run_id
    freeing.join()


def test_a_run_in_this_process_waits_asleep_and_says_for_whom(instance: dg.DagsterInstance) -> None:
    told: list[str] = []
    with held(instance) as holder, asleep_while_waiting(instance, told.append):
        began, used = time.monotonic(), time.thread_time()
        assert in_this_process.execute_in_process(instance=instance).success
        assert time.monotonic() - began >= WAIT - 0.5
        assert time.thread_time() - used < 0.6 * WAIT
    assert told == [f"nothing waits for its place in the pool 'device', which the run {holder} has"]


def test_a_run_of_the_ui_waits_asleep(instance: dg.DagsterInstance) -> None:
    made_again = ReconstructableJob.for_module("tests.orchestration.test_pool_waiting", "in_processes")
    with held(instance):
        began, used = time.monotonic(), time.thread_time()
        with dg.execute_job(made_again, instance) as result:
            assert result.success
        assert time.monotonic() - began >= WAIT - 0.5
        assert time.thread_time() - used < 0.6 * WAIT


def test_a_run_that_waits_for_nobody_says_nothing(instance: dg.DagsterInstance) -> None:
    told: list[str] = []
    with asleep_while_waiting(instance, told.append):
        assert in_this_process.execute_in_process(instance=instance).success
    assert told == []
