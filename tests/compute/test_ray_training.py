"""On a real Ray cluster two processes train what two of this machine train, bit for bit, also where they are killed.

Slow: a cluster starts in half a minute, and Ray Train's processes in a quarter.
"""

import json
from typing import Any

import pytest

from tests.compute.loopback import reason_to_skip, run_module
from tests.compute.training_faults import FIRST_KILL, NODES, STEPS
from tests.compute.training_jobs import SHARDINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
Lines = dict[str, dict[str, Any]]


def lines_of(module: str) -> Lines:
    """What the module prints, by case; skips where no cluster can be started."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    lines = [json.loads(line) for line in run_module(module, timeout=1400).splitlines() if line[:1] == "{"]
    return {line["case"]: line for line in lines}


@pytest.fixture(scope="module")
def training() -> Lines:
    return lines_of("tests.compute.training")


@pytest.fixture(scope="module")
def faults() -> Lines:
    return lines_of("tests.compute.training_faults")


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_on_ray_train_what_two_here_train_to_the_last_bit(
    training: Lines, sharding: str
) -> None:
    found = training[sharding]
    assert found["ray"] == found["here"]  # weights, losses, norms, measures, and the steps as they were told
    assert found["ray"]["made"]["steps"] == len(found["ray"]["told"]) == 8
    assert set(found["ray"]["made"]["weights"]) == {"adapter_model.safetensors", "adapter_config.json"}


def test_what_a_training_refuses_is_told_as_on_this_machine(training: Lines) -> None:
    here, ray = training["refused here"], training["refused ray"]
    assert here["code"] == ray["code"] == "training-diverged" and here["problem"] == ray["problem"]
    assert training["no room"]["code"] == "ray-no-room"
    assert training["no room"]["problem"].startswith("No room for 2 processes was found for 3 s")
    assert training["apart"]["code"] == "folder-not-shared"


def test_a_group_that_gets_nowhere_is_given_up(training: Lines) -> None:
    assert training["given up"]["code"] == "training-process-failed"
    assert training["given up"]["problem"].startswith(
        "A training process failed 2 times without getting further"
    )


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_worker_and_a_node_killed_in_the_middle_change_no_bit(faults: Lines, sharding: str) -> None:
    found = faults[f"killed {sharding}"]
    assert found["attempts"] == (3 if sharding == "none" else 2), found
    assert found["ray"]["made"] == found["here"]["made"]
    assert found["ray"]["told"] == list(range(STEPS))  # each once, whatever was done again
    assert found["ray"]["resumed_from"] > FIRST_KILL // 2


@pytest.mark.parametrize("case", ["waiter killed", "broken off"])
def test_nothing_trains_on_when_nobody_waits(faults: Lines, case: str) -> None:
    found = faults[case]
    assert found["left"] == [False, False], found
    assert found["cores"] == [NODES, NODES], found
    if case == "waiter killed":
        assert found["steps"] == ["step 0", "step 9"] and found["running"] == [True, True], found
        assert found["checkpoints"][0] == found["checkpoints"][1] != [], found
