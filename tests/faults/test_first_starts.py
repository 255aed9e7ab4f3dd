"""R12: first starts that are killed, and eight at once: MLflow's database, the Dagster instance, the commit log."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.instance import open_instance
from resources.commits import CommitLog
from resources.tracking import Tracking
from tests.faults import warm
from tests.faults.counts import SEED, count, tell

AT_ONCE = 8


def start_instance(folder: Path) -> None:
    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
        instance.get_asset_keys()
        if not instance.get_dynamic_partitions("seed"):
            raise AssertionError("the seeds are not offered")


def start_log(folder: Path) -> None:
    log = CommitLog(folder / "lance" / "commits.sqlite")
    if log.check() is not None:
        raise AssertionError(log.check())


def start_registry(folder: Path) -> None:
    tracking = Tracking(None, folder / "mlflow")
    if tracking.check():
        raise AssertionError(tracking.check())
    with tracking.client() as client:
        client.create_run(client.get_experiment_by_name("Default").experiment_id)


STARTS: dict[str, Callable[[Path], None]] = {
    "Dagster": start_instance,
    "commit log": start_log,
    "MLflow": start_registry,
}


def start(name: str, folder: Path) -> float:
    """Start it; the seconds that took."""
    began = time.monotonic()
    STARTS[name](folder)
    return time.monotonic() - began


def announce_and_start(say: Callable[[str], None], name: str, folder: Path) -> None:
    say("ready")
    STARTS[name](folder)


def left_over(folder: Path) -> list[str]:
    """What was made to the side and not put into place."""
    return [str(path) for path in folder.rglob(".*") if path.is_dir() and any(path.iterdir())]


def kill_starts(name: str, folder: Path, kills: int, seed: int) -> None:
    draw = random.Random(f"{seed}:{name}")
    longest = warm.call(start, name, folder / "whole")
    killed = 0
    for number in range(kills):
        place = folder / str(number)
        delay = draw.uniform(0.0, longest)
        killed += warm.kill_after(delay, announce_and_start, name, place) == "killed"
        try:
            warm.call(start, name, place)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, kill {number} after {delay:.3f} s: {error}") from None
        assert left_over(place) == []
    tell(f"{name}: {killed} of {kills} first starts killed, none is bricked (seed {seed})")


@pytest.mark.parametrize("name", ["Dagster", "commit log"])
def test_a_killed_first_start_bricks_nothing(kept_on_failure: Path, name: str) -> None:
    kill_starts(name, kept_on_failure, 3, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS)
def test_many_killed_first_starts_brick_nothing(kept_on_failure: Path, name: str) -> None:
    kill_starts(name, kept_on_failure, count("SULTANA_FAULT_STARTS", 10), SEED + 1000)


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS)
def test_eight_first_starts_at_once(kept_on_failure: Path, name: str) -> None:
    for turn in range(count("SULTANA_FAULT_STARTS", 10) // 5):
        started = [warm.start(start, name, kept_on_failure / str(turn)) for _ in range(AT_ONCE)]
        for process, connection in started:
            warm.result(process, connection)
