"""L2: hundreds of commits with compaction and clean-up and kills in between: disk and time to open stay flat."""

import datetime
import os
import random
import time
from pathlib import Path

import pyarrow as pa
import pytest

from orchestration.compaction import compact_table, is_fragmented
from resources import table_cleanup
from resources.orphans import files_of_no_version
from resources.table_cleanup import no_writer, plan, remove
from resources.table_refs import Provenance
from resources.tables import LanceTables
from tests.faults import table_work, warm
from tests.faults.counts import SEED, count, tell

ROUND = 50
ROWS = 60
TEXT_BYTES = 1000
MOST_TIMES_LIVE = 3.0
TABLE = table_work.RECORDS["plain"]


def write_round(root: Path, number: int) -> None:
    """The writes of one round; those that an earlier attempt has done are not made again."""
    tables = LanceTables(root)
    for commit in range(number * ROUND, (number + 1) * ROUND):
        draw = random.Random(f"{SEED}:{commit}")
        first = draw.randrange(commit + 1) * ROWS if commit % 5 == 4 else commit * ROWS
        rows = pa.table(
            {
                "id": [str(one) for one in range(first, first + ROWS)],
                "v": [commit] * ROWS,
                "text": [draw.randbytes(TEXT_BYTES // 2).hex() for _ in range(ROWS)],
            },
            schema=table_work.SCHEMA,
        )
        tables.write(TABLE, rows, mode="upsert", provenance=Provenance("run", "plain", f"commit-{commit}"))


def killed_round(say: object, root: Path, number: int) -> None:
    say("ready")  # type: ignore[operator]
    write_round(root, number)


def maintain(root: Path) -> tuple[float, float, int]:
    """Compact and clean up; bytes on disk by live bytes, seconds to open the newest version, files of no version."""
    tables = LanceTables(root)
    (tables.path("plain") / "data" / "of-no-version.lance").write_bytes(bytes(10))
    long_ago = time.time() - 2 * table_cleanup.ORPHAN_SECONDS
    for path in tables.path("plain").rglob("*"):
        os.utime(path, (long_ago, long_ago))
    if is_fragmented(tables, "plain"):
        compact_table(tables, "plain", "run", dry_run=False)
    now = datetime.datetime.now(datetime.UTC)
    with no_writer(tables):
        remove(tables, plan(tables, "plain", {}, now), "run", "for a test")
    if wrong := tables.check():
        raise AssertionError(wrong)
    head = tables.commits.head("plain")
    assert head is not None
    live = sum(one.size for one in tables.commits.files(head))
    disk = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return (
        disk / live,
        min(_seconds_to_open(root) for _ in range(9)),
        len(files_of_no_version(tables, "plain")),
    )


def _seconds_to_open(root: Path) -> float:
    began = time.perf_counter()
    tables = LanceTables(root)
    ref = tables.head("plain")
    assert ref is not None
    tables.open(ref).count_rows()
    return time.perf_counter() - began


@pytest.mark.slow
def test_the_disk_and_the_time_to_open_stay_flat(kept_on_failure: Path) -> None:
    root, draw = kept_on_failure / "store", random.Random(SEED)
    rounds = count("SULTANA_FAULT_COMMITS", 500) // ROUND
    seconds = []
    for number in range(rounds):
        warm.kill_after(draw.uniform(0.0, 1.0), killed_round, root, number)
        warm.call(write_round, root, number, seconds=300.0)
        times_live, opening, orphans = warm.call(maintain, root)
        tell(
            f"{(number + 1) * ROUND} commits: {times_live:.2f} times the live bytes, open in {opening * 1000:.1f} ms"
        )
        assert times_live <= MOST_TIMES_LIVE and orphans == 0
        seconds.append(opening)
    assert min(seconds[-3:]) < 3 * min(seconds[:3]), seconds
