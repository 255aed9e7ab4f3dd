"""R5: the process of a run is killed while its step works. Nothing comes from that run afterwards."""

import os
import random
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from orchestration.checks import CHECKS
from orchestration.definitions import defs
from orchestration.instance import open_instance
from resources.definitions import Storage
from tests.faults.counts import SEED, tell
from tests.faults.launched import (
    events_after,
    is_there,
    kills,
    kinds,
    launch,
    shown,
    status_of,
    wait_for,
    worker_of,
    workspace,
)
from tests.faults.small_definitions import TICKS_FILE, WITHOUT_DEATH

UNDER_WAY_SECONDS = 5.0
"""What had passed the fence at the moment of the kill may take this long to be written."""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder that `SULTANA_DATA` names; no model is needed."""
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    return tmp_path


def ticks(data: Path, run_id: str) -> list[tuple[int, float]]:
    """(process, time) of every tick of a run's step."""
    file = data / TICKS_FILE
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [(int(pid), float(moment)) for run, pid, moment in lines if run == run_id]


def commits(run_id: str) -> list[float]:
    """When a run's commits were acknowledged: seconds since 1970."""
    log = Storage().tables().commits
    if not log.path.exists():
        return []
    with log.connection(write=False) as connection:
        found = connection.execute("SELECT recorded_at FROM commits WHERE run_id = ?", [run_id]).fetchall()
    return [datetime.fromisoformat(moment).timestamp() for (moment,) in found]


def test_every_asset_and_check_has_the_resource_that_lets_its_step_die_with_its_run() -> None:
    found = [*defs.resolve_asset_graph().assets_defs, *CHECKS]
    assert len(found) > 20
    assert not [one.node_def.name for one in found if "storage" not in one.required_resource_keys]


@pytest.mark.slow
@pytest.mark.parametrize("alone", [False, True], ids=["death with the parent", "the fence alone"])
def test_nothing_comes_from_a_run_whose_process_was_killed(
    data: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    if alone:
        monkeypatch.setenv(WITHOUT_DEATH, "1")
    random_ = random.Random(SEED)
    count = kills(6) // 2
    with open_instance(data) as instance, workspace(instance) as context:
        for number in range(count):
            # The last of them makes nothing but its one materialization, which is due after the kill.
            writes = number < count - 1
            config = {"ops": {"ticking": {"config": {"seconds": 60.0 if writes else 6.0, "commits": writes}}}}
            run_id = launch(instance, context, run_config=config)
            wait_for("ticks", lambda run_id=run_id: len(ticks(data, run_id)) > 3)
            time.sleep(random_.uniform(0, 0.5))
            step = ticks(data, run_id)[0][0]
            worker = worker_of(instance, run_id)
            assert worker is not None and is_there(worker) and is_there(step)
            os.kill(worker, signal.SIGKILL)
            killed = time.time()
            wait_for("the failure", lambda run_id=run_id: status_of(instance, run_id) == "FAILURE", 30)
            wait_for("the end of the step", lambda step=step: not is_there(step), 30)
            # As the daemon does within seconds, where one runs.
            instance.event_log_storage.free_concurrency_slots_for_run(run_id)

            told = f"seed {SEED}, kill {number}"
            late = events_after(instance, run_id, killed + UNDER_WAY_SECONDS)
            assert not [moment for moment in commits(run_id) if moment > killed + UNDER_WAY_SECONDS], told
            assert not kinds(instance.all_logs(run_id)) & {
                "ASSET_MATERIALIZATION",
                "STEP_OUTPUT",
                "HANDLED_OUTPUT",
                "STEP_SUCCESS",
                "RUN_SUCCESS",
            }, told
            # The code server and the launcher speak of the run; its step only of having been refused.
            assert kinds(late) <= {"ENGINE_EVENT", "PIPELINE_FAILURE", "STEP_FAILURE", "STEP_UP_FOR_RETRY"}, (
                f"{told}: {shown(late)}"
            )
            after = events_after(instance, run_id, killed)
            refused = [one for one in after if kinds([one]) & {"STEP_FAILURE", "STEP_UP_FOR_RETRY"}]
            assert len(refused) == (1 if alone else 0), f"{told}: {shown(after)}"
            assert all("may not commit" in str(one.dagster_event) for one in refused), told
            if not alone:
                assert ticks(data, run_id)[-1][1] < killed + 1.0, told
            assert not commits(run_id) or writes
        tell(f"seed {SEED}: {count} runs killed, {'the fence alone' if alone else 'steps die'}")
