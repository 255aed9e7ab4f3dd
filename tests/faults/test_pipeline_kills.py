"""R1: `kill -9` at random instants of `sultana run` with the real assets.

After each kill Dagster's events, the commit log and Lance are compared with each other and with what is known of the
source; the next run ends the work.
"""

import random
import time
from pathlib import Path

import pytest

from resources import lance_folder
from resources.definitions import Storage
from tests.faults import pipeline, warm
from tests.faults.counts import SEED, count, tell

KILLS_OF_ONE_TURN = 4
TURNS_OF_ONE_PLACE = 4


def kill_runs(folder: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    killed, turn, place, longest = 0, 0, pipeline.Place(folder / "0"), 0.0
    while killed < kills:
        if turn == TURNS_OF_ONE_PLACE:
            turn, place = 0, pipeline.Place(folder / str(killed))
        place.folder.mkdir(exist_ok=True)
        try:
            for _ in range(min(KILLS_OF_ONE_TURN, kills - killed)):
                # How far a run gets does not depend on how quick this machine is.
                delay = draw.uniform(0.0, longest or 2.0)
                if warm.kill_after(delay, pipeline.run, place, seed, turn, True) == "killed":
                    killed += 1
            longest = warm.call(ended, place, seed, turn)
            assert warm.call(pipeline.compare, place, seed, (turn,), True) == []
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, after kill {killed} of {kills}: {error}") from None
        turn += 1
    tell(f"seed {seed}: {killed} kills of the pipeline, 0 differences")


def ended(place: pipeline.Place, seed: int, turn: int) -> float:
    """Run it without a kill; the seconds from when it was ready."""
    began = 0.0

    def say(_: str) -> None:
        nonlocal began
        began = time.monotonic()

    pipeline.run(say, place, seed, turn, True)
    return time.monotonic() - began


def test_no_kill_of_the_pipeline_leaves_a_difference(kept_on_failure: Path) -> None:
    kill_runs(kept_on_failure, 4, SEED)


@pytest.mark.slow
def test_many_kills_of_the_pipeline_leave_no_difference(kept_on_failure: Path) -> None:
    kill_runs(kept_on_failure, count("SULTANA_FAULT_KILLS", 100), SEED + 1000)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["an event of no commit", "a commit of no event", "a row that is gone"])
def test_the_comparison_sees_what_a_fault_could_do(quick_disk: Path, damage: str) -> None:
    place = pipeline.Place(quick_disk)
    warm.call(ended, place, SEED, 0)
    assert warm.call(pipeline.compare, place, SEED, (0,), True) == []
    warm.call(do_damage, place, damage)
    assert warm.call(pipeline.compare, place, SEED, (0,), True)


def do_damage(place: pipeline.Place, damage: str) -> None:
    tables = Storage(folder=str(place.data)).tables()
    head = tables.head("instructions")
    assert head is not None
    with tables.commits.connection(write=True) as connection:
        if damage == "an event of no commit":
            connection.execute("UPDATE commits SET version = 7 WHERE table_name = 'quarantine'")
        elif damage == "a commit of no event":
            connection.execute("UPDATE commits SET run_id = 'no run' WHERE table_name = 'quarantine'")
    if damage == "a row that is gone":
        import lance

        dataset = lance.dataset(str(tables.path("instructions")), version=head.version)
        dataset.delete("instruction_id is not null")
        versions = lance_folder.versions_on_disk(tables.folder("instructions"))
        newest, first = (tables.path("instructions") / lance_folder.manifest(one) for one in versions[:2])
        newest.replace(first)
