"""R8: eight processes write one table at once: no row is lost, no key is there twice, no conflict is told."""

import time
from pathlib import Path

import pytest

from resources.tables import LanceTables
from tests.faults import table_work, warm
from tests.faults.counts import count, tell

WRITERS = 8
SHARED = 20


def work_of(writer: int, turn: int) -> table_work.Work:
    """A write of a key of one's own and, but for every fourth, of keys that all write."""
    number = turn * WRITERS + writer
    own = {f"own-{number}": number}
    if turn % 4 == 3:
        return table_work.Work(number, "plain", "append", own)
    shared = {f"shared-{(turn + place) % SHARED}": number for place in range(3)}
    return table_work.Work(number, "plain", "upsert", own | shared)


def write(root: Path, writer: int, turns: int, begin: float) -> int:
    """The number of writes that failed."""
    time.sleep(max(0.0, begin - time.time()))
    failures = 0
    for turn in range(turns):
        try:
            table_work.do(LanceTables(root), work_of(writer, turn))
        except Exception as error:  # noqa: BLE001 - each is one that reaches the user
            tell(f"writer {writer}, turn {turn}: {error!r}")
            failures += 1
        if writer == 0 and turn % 10 == 9:
            table_work.do(LanceTables(root), table_work.Work(-turn, "", "append", {}))
    return failures


def compare(root: Path, turns: int) -> list[str]:
    """How the table differs from one in which the same writes came one after the other, as the commit log says."""
    tables = LanceTables(root)
    works = {work_of(w, turn).key: work_of(w, turn) for w in range(WRITERS) for turn in range(turns)}
    rows: table_work.Rows = {}
    keys = [one.idempotency_key for one in tables.commits.history("plain")]
    for key in keys:
        rows = table_work.after(rows, works[key])
    wrong = [one.problem for one in tables.check()]
    if sorted(keys) != sorted(works):
        wrong.append(f"{len(works)} writes were made and {len(keys)} acknowledged")
    head = tables.head("plain")
    if head is None or table_work.stored(tables, head) != rows:
        wrong.append("the rows are not those of the writes in their order")
    return wrong


def write_at_once(root: Path, turns: int) -> None:
    begin = time.time() + 1.0
    writers = [warm.start(write, root, writer, turns, begin) for writer in range(WRITERS)]
    failures = [warm.result(*one, seconds=60.0 + turns * 10.0) for one in writers]
    assert failures == [0] * WRITERS
    assert warm.call(compare, root, turns) == []
    tell(f"{WRITERS} writers of {turns} writes: 0 lost, 0 doubled, 0 refused")


def test_eight_writers_at_once(quick_disk: Path) -> None:
    write_at_once(quick_disk / "store", 2)


@pytest.mark.slow
def test_eight_writers_of_many_writes(quick_disk: Path) -> None:
    write_at_once(quick_disk / "store", count("SULTANA_FAULT_WRITES", 25))
