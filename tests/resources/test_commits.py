import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resources.commits import CommitLog
from resources.errors import SultanaError

ROOT = Path(__file__).parents[2]


def record(log: CommitLog, version: int, table: str = "t", key: str | None = None) -> None:
    log.record(
        table, version, f"{version:064x}", 10 * version, "id", key or f"k{version}", "run", "asset", "tag"
    )


def test_the_head_is_the_commit_recorded_last(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "commits.sqlite")
    assert log.head("t") is None and log.history("t") == [] and log.tables() == []
    for version in (1, 3):
        record(log, version)
    record(log, 9, table="other")
    again = CommitLog(tmp_path / "commits.sqlite")
    head = again.head("t")
    assert head is not None
    assert (head.version, head.rows, head.tag, head.key) == (3, 30, "tag", "id")
    assert [commit.version for commit in again.history("t")] == [1, 3]
    assert again.tables() == ["other", "t"]
    found = again.by_idempotency_key("t", "k1")
    assert found is not None and found.version == 1
    assert again.by_idempotency_key("other", "k1") is None
    assert again.check() is None


def test_it_is_durable_by_its_settings(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "commits.sqlite")
    with log._open(write=False) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE commits SET digest = 'forged' WHERE sequence = 2",
        "DELETE FROM commits WHERE sequence = 2",
        "UPDATE commits SET version = 7, hash = 'forged' WHERE sequence = 1",
        "INSERT INTO commits SELECT 9, table_name, version, digest, row_count, key_column, tag, 'x', run_id, "
        "asset_key, recorded_at, files_sha256, previous_hash, hash FROM commits WHERE sequence = 3",
    ],
)
def test_an_edited_log_shows(tmp_path: Path, statement: str) -> None:
    log = CommitLog(tmp_path / "commits.sqlite")
    for version in (1, 2, 3):
        record(log, version)
    with sqlite3.connect(log.path) as connection:
        connection.execute(statement)
    connection.close()
    assert "does not follow" in str(log.check())


def test_a_log_that_was_removed_is_not_silently_replaced(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "commits.sqlite")
    log.path.unlink()
    with pytest.raises(SultanaError, match="cannot be used"):
        log.head("t")
    assert not log.path.exists()


WRITER = """
import sys
from pathlib import Path
from resources.commits import CommitLog
log = CommitLog(Path(sys.argv[1]))
for version in range(25):
    log.record("t", version, "d", 1, "id", f"{sys.argv[2]}-{version}", "run", "asset", "tag")
"""


def test_four_first_starts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "commits.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)], cwd=ROOT) for n in range(4)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    log = CommitLog(path)
    assert len({commit.idempotency_key for commit in log.history("t")}) == 100
    assert log.check() is None


def test_a_commit_is_quick(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "commits.sqlite")
    record(log, 0)
    start = time.perf_counter()
    for version in range(1, 21):
        record(log, version)
    assert (time.perf_counter() - start) / 20 < 0.25  # seconds; a few ms where nothing else runs
