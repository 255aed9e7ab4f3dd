"""R3: power cuts. What was acknowledged is there, the store opens itself, and the next commit works."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestration.instance import open_instance
from resources import tables as tables_module
from resources.commits import CommitLog
from resources.tracking import Tracking
from tests.faults import model_work, power, table_work, warm
from tests.faults.counts import SEED, count, tell

CUTS = "SULTANA_FAULT_CUTS"
CUTS_OF_ONE_DISK = 15
CUTS_OF_ONE_REGISTRY = 5
"""What is compared after a cut is every model published so far, while the next ones are published."""


def cut(
    folder: Path,
    cuts: int,
    seed: int,
    write: Callable[..., None],
    compare: Callable[..., list[str]],
    longest: float = 1.5,
    of_one_disk: int = CUTS_OF_ONE_DISK,
) -> list[str]:
    """What `compare` found to be wrong after each of `cuts`, at instants drawn from `seed`."""
    draw = random.Random(seed)
    wrong: list[str] = []
    for number in range(0, cuts, of_one_disk):
        with power.disk(folder / str(number), draw.choice((1, 5))) as disk:
            journal = folder / str(number) / "acknowledged"
            journal.touch()
            process, connection = warm.start(write, disk.place / "store", journal, seed + number)
            for one in range(number, min(number + of_one_disk, cuts)):
                time.sleep(draw.uniform(0.02, longest))
                copy = folder / str(number) / "copy"
                with power.stopped(process.pid):  # type: ignore[arg-type]
                    most = journal.stat().st_size
                    disk.copy(copy)
                if connection.poll():
                    warm.result(process, connection)
                found = warm.call(
                    mounted_and_compared, compare, copy, disk.place, journal, most, seed + number
                )
                wrong += [f"seed {seed}, cut {one} of {cuts}: {what}" for what in found]
            process.kill()
            process.join()
            told = len(journal.read_bytes().splitlines())
            tell(f"seed {seed}: cuts up to {one + 1}, {told} lines acknowledged")
    return wrong


def mounted_and_compared(
    compare: Callable[..., list[str]], copy: Path, place: Path, journal: Path, most: int, seed: int
) -> list[str]:
    power.mount_in_its_place(copy, place)
    return compare(place / "store", journal, most, seed)


def write_tables(root: Path, journal: Path, seed: int) -> None:
    table_work.go_on(lambda _: None, root, journal, seed, 100_000)


def write_tables_unsynced(root: Path, journal: Path, seed: int) -> None:
    tables_module.sync_filesystem = lambda _: None  # type: ignore[assignment]
    write_tables(root, journal, seed)


def compare_tables(root: Path, journal: Path, most: int, seed: int) -> list[str]:
    done, begun = table_work.Journal(journal).read(most)
    try:
        return table_work.compare(root, seed, done, begun, torn=True) or table_work.write_each(root, 10**6)
    except Exception as error:  # noqa: BLE001 - whatever keeps the store from opening is what is told
        return [repr(error)]


def start_up(root: Path, journal: Path, seed: int) -> None:
    told = model_work.Told(journal)
    for number in range(1000):
        _start_up(root / str(number))
        told.add(number)


def _start_up(folder: Path) -> None:
    with open_instance(folder) as instance:
        instance.get_runs(limit=1)
    CommitLog(folder / "lance" / "commits.sqlite").tables()
    Tracking(None, folder / "mlflow").models()


def compare_starts(root: Path, journal: Path, most: int, seed: int) -> list[str]:
    numbers = model_work.Told(journal).read(most)
    wrong = []
    for number in [*numbers[-2:], len(numbers)]:
        folder = root / str(number)
        if number in numbers and not (folder / "mlflow" / "mlflow.db").exists():
            wrong.append(f"start {number} is gone")
        _start_up(folder)
        if problem := CommitLog(folder / "lance" / "commits.sqlite").check():
            wrong.append(problem)
    return wrong


def test_no_power_cut_loses_an_acknowledged_commit(quick_disk: Path) -> None:
    assert cut(quick_disk, 3, SEED, write_tables, compare_tables) == []


@pytest.mark.slow
def test_many_power_cuts_lose_no_acknowledged_commit(quick_disk: Path) -> None:
    assert cut(quick_disk, count(CUTS, 45), SEED + 1000, write_tables, compare_tables) == []


@pytest.mark.slow
def test_no_power_cut_loses_a_published_model(quick_disk: Path) -> None:
    cuts, work = count(CUTS, 40) // 5, (model_work.go_on, model_work.compare)
    assert cut(quick_disk, cuts, SEED, *work, longest=6.0, of_one_disk=CUTS_OF_ONE_REGISTRY) == []


@pytest.mark.slow
def test_no_power_cut_bricks_a_first_start(quick_disk: Path) -> None:
    assert cut(quick_disk, count(CUTS, 40) // 10, SEED, start_up, compare_starts, longest=8.0) == []


@pytest.mark.slow
def test_without_the_sync_the_cuts_are_seen(quick_disk: Path) -> None:
    assert cut(quick_disk, 6, SEED, write_tables_unsynced, compare_tables)
