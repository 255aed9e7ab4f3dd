"""R1: `kill -9` at random instants of writes by the one door, and a comparison with the model after each."""

import random
from pathlib import Path

import pytest

from resources import lance_folder
from resources.tables import LanceTables
from tests.faults import table_work, warm
from tests.faults.counts import SEED, count, tell

KILLS_OF_ONE_STORE = 15
WRITES = 10_000


def kill_writes(place: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    killed = 0
    for number in range(kills):
        store = number // KILLS_OF_ONE_STORE
        root, journal = place / f"store-{store}", place / f"store-{store}.journal"
        delay = draw.uniform(0.0, 0.4)
        try:
            killed += (
                warm.kill_after(delay, table_work.go_on, root, journal, seed + store, WRITES) == "killed"
            )
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, before kill {number} of {kills}: {error}") from None
    acknowledged = 0
    for root in place.glob("store-*.journal"):
        done, begun = table_work.Journal(root).read()
        number = seed + int(root.stem.removeprefix("store-"))
        assert warm.call(table_work.compare, root.with_suffix(""), number, done, begun) == []
        acknowledged += len(done)
    assert killed == kills
    tell(f"seed {seed}: {killed} kills, {acknowledged} acknowledged writes, all there")


def test_no_kill_loses_or_doubles_a_row(kept_on_failure: Path) -> None:
    kill_writes(kept_on_failure, 10, SEED)


@pytest.mark.parametrize("damage", ["an older head", "no commit log row", "another row"])
def test_the_comparison_sees_what_a_fault_could_do(quick_disk: Path, damage: str) -> None:
    root = quick_disk / "store-0"
    warm.call(write_and_damage, root, SEED, damage)
    done, begun = table_work.Journal(root.with_suffix(".journal")).read()
    assert warm.call(table_work.compare, root, SEED, done, begun)


def write_and_damage(root: Path, seed: int, damage: str) -> None:
    table_work.go_on(lambda _: None, root, root.with_suffix(".journal"), seed, 10)
    tables = LanceTables(root)
    head = tables.head("plain")
    assert head is not None
    if damage == "an older head":
        (tables.path("plain") / lance_folder.manifest(head.version)).unlink()
    elif damage == "no commit log row":
        with tables.commits.connection(write=True) as connection:
            connection.execute("DELETE FROM files WHERE sequence = (SELECT max(sequence) FROM commits)")
            connection.execute("DELETE FROM commits WHERE sequence = (SELECT max(sequence) FROM commits)")
    else:
        journal = root.with_suffix(".journal")
        journal.write_bytes(journal.read_bytes().replace(head.digest.encode(), b"0" * 64))


@pytest.mark.slow
def test_many_kills_lose_and_double_no_row(kept_on_failure: Path) -> None:
    kill_writes(kept_on_failure, count("SULTANA_FAULT_KILLS", 100), SEED + 1000)
