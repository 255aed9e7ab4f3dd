"""R2: a kill at every mutating system call of each way of writing: afterwards the state is the old or the new one."""

import contextlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from resources import time_limit
from resources.errors import SultanaError
from tests.faults import model_work, system_calls, table_work, warm
from tests.faults.counts import SEED, count, tell

POINTS = "SULTANA_FAULT_SYSTEM_CALLS"
"""How many system calls of each way of writing are drawn; 0 for all of them."""

WAYS = ("first write", "overwrite", "append", "upsert", "indexed append", "clean-up")


def work_of(way: str) -> int:
    """The number of the first write of this kind, with some before it."""
    table = "indexed" if way.startswith("indexed") else "plain"
    if way == "first write":
        return 0
    for number in range(14, 1000):
        work = table_work.drawn(SEED, number)
        if way == "clean-up" and not work.table:
            return number
        if work.table == table and work.mode == way.removeprefix("indexed "):
            return number
    raise AssertionError(way)


def prepare(root: Path, number: int) -> None:
    """Everything before the write of this number."""
    table_work.go_on(lambda _: None, root, root.with_suffix(".journal"), SEED, number)


def write(root: Path, number: int) -> None:
    journal = table_work.Journal(root.with_suffix(".journal"))
    journal.say("begun", number)
    journal.say("done", number, table_work.do(table_work.LanceTables(root), table_work.drawn(SEED, number)))


def compare(root: Path) -> list[str]:
    done, begun = table_work.Journal(root.with_suffix(".journal")).read()
    return table_work.compare(root, SEED, done, begun, torn=True) or table_work.write_each(root, 10**6)


def kill_at_each(
    folder: Path,
    points: int,
    work: Callable[[Path], None],
    compare: Callable[[Path], list[str]],
    name: str,
) -> None:
    """Kill `work` on what is in `folder / "now"`, each time as it is now, at `points` system calls, 0 for all."""
    old, now = folder / "old", folder / "now"
    shutil.copytree(now, old)

    def copied() -> Path:
        shutil.rmtree(now)
        shutil.copytree(old, now)
        return now / "store"

    every = system_calls.calls_of(folder / "log", work, copied())
    drawn = random.Random(f"{SEED}:{name}").sample(every, min(points, len(every))) if points else every
    killed = 0
    for call in drawn:
        place = copied()
        killed += system_calls.killed_at(call, work, place)
        if wrong := warm.call(compare, place):
            raise AssertionError(f"{name}, killed at {call[0]} number {call[1]}: {wrong}")
    tell(f"{name}: killed at {killed} of {len(every)} system calls, 0 broken")
    assert killed > len(drawn) // 2


class Write:
    """The write of one number, as a function of where."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, root: Path) -> None:
        write(root, self.number)


class WriteOrRefuse(Write):
    """The same; a SultanaError is as good an end, and no call may take long."""

    def __call__(self, root: Path) -> None:
        time_limit.STORAGE_SECONDS = 20.0
        with contextlib.suppress(SultanaError):
            super().__call__(root)


def publish(root: Path) -> None:
    told = model_work.Told(root.with_suffix(".told"))
    number = len(told.read(1 << 20))
    model_work.publish(root, SEED, number)
    told.add(number)


def compare_models(root: Path) -> list[str]:
    return model_work.compare(root, root.with_suffix(".told"), 1 << 20, SEED)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["upsert", "indexed append"])
def test_a_disk_that_fails_at_a_system_call_of_a_write(kept_on_failure: Path, way: str) -> None:
    """Not at `write`: threads wake each other by it, and none of them waits for an answer."""
    system_calls.needs_strace()
    number, store = work_of(way), kept_on_failure / "now" / "store"
    store.parent.mkdir()
    warm.call(prepare, store, number)
    shutil.copytree(store.parent, kept_on_failure / "old")
    every = system_calls.calls_of(kept_on_failure / "log", Write(number), store)
    every = [call for call in every if call[0] != "write"]
    points = count(POINTS, 8) or len(every)
    for call in random.Random(f"{SEED}:{way}").sample(every, min(points, len(every))):
        shutil.rmtree(store.parent)
        shutil.copytree(kept_on_failure / "old", store.parent)
        system_calls.failing_at(call, WriteOrRefuse(number), store)
        if wrong := warm.call(compare, store):
            raise AssertionError(f"{way}, {call[0]} number {call[1]} failed: {wrong}")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_kill_at_a_system_call_of_a_write(kept_on_failure: Path, way: str) -> None:
    system_calls.needs_strace()
    number = work_of(way)
    (kept_on_failure / "now").mkdir()
    warm.call(prepare, kept_on_failure / "now" / "store", number)
    kill_at_each(kept_on_failure, count(POINTS, 8), Write(number), compare, way)


@pytest.mark.slow
def test_a_kill_at_a_system_call_of_a_publication(kept_on_failure: Path) -> None:
    system_calls.needs_strace()
    (kept_on_failure / "now").mkdir()
    (kept_on_failure / "now" / "store.told").touch()
    warm.call(publish, kept_on_failure / "now" / "store")
    kill_at_each(kept_on_failure, count(POINTS, 8), publish, compare_models, "publication")
