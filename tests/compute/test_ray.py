"""On a real Ray cluster of three nodes every stage makes what this machine makes, also where they are killed.

Slow: a cluster starts in half a minute, and a worker in a few seconds.
"""

import json
from typing import Any

import pytest

from tests.compute.loopback import reason_to_skip, run_module
from tests.compute.matrix import WORKERS
from tests.compute.stages import STAGES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
Lines = dict[tuple[str, int], dict[str, Any]]


def lines_of(module: str) -> list[dict[str, Any]]:
    """What the module prints; skips where no cluster can be started."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    return [json.loads(line) for line in run_module(module, timeout=1400).splitlines() if line[:1] == "{"]


@pytest.fixture(scope="module")
def matrix() -> Lines:
    return {(line["stage"], line["workers"]): line for line in lines_of("tests.compute.matrix")}


@pytest.fixture(scope="module")
def faults() -> dict[str, dict[str, Any]]:
    return {line["stage"]: line for line in lines_of("tests.compute.faults")}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("workers", WORKERS)
def test_a_stage_makes_the_same_on_ray_with_any_number_of_workers(
    matrix: Lines, stage: str, workers: int
) -> None:
    found = matrix[stage, workers]
    assert found["equal"], found


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_and_a_node_killed_in_the_middle_of_a_stage_change_nothing(
    faults: dict[str, dict[str, Any]], stage: str
) -> None:
    found = faults[stage]
    assert found["killed"] == 2 and found["workers_lost"] >= 2, found
    assert found["equal"], found


def test_the_graph_has_the_same_data_versions_on_ray() -> None:
    found = {line["asset"]: line for line in lines_of("tests.compute.graph") if line["asset"] != "seconds"}
    assert {"curriculum", "diversity_clusters", "baseline_evaluation"} <= found.keys()
    assert [line for line in found.values() if line["here"] != line["ray"]] == []


def test_what_a_pool_refuses_and_gives_up() -> None:
    found = {line["case"]: line for line in lines_of("tests.compute.refusals")}
    assert found["error of the work"] == {
        "case": "error of the work",
        "code": "row-refused",
        "problem": "Row 5 is wrong",
        "remedy": "Leave it out",
    }
    assert found["part that ends its worker"]["code"] == "worker-lost"
    assert found["part that ends its worker"]["problem"].startswith(
        "Part 3 ended the worker that did it 4 times"
    )
    assert found["no room"]["code"] == "ray-no-room"
    assert found["other code on the node"]["code"] == "worker-differs"
    # While part 0 takes its time, parts behind it wait: four for each of two workers, and no more.
    assert 4 <= found["most parts taken ahead"]["taken"] <= 8
    assert found["pass broken off"]["result"] == [1, 2, 3, 4]
