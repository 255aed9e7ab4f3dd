"""The commit log: which version of which table is acknowledged, durable at the moment it says so.

Lance finds the newest version of a table by listing a folder, and syncs nothing: after a power cut
the newest versions may be gone or unreadable. So a version counts only once its row is in this SQLite
database (write-ahead log, synchronous=FULL), written after the data were synced. Each row carries the
hash of the row before it, so that an edited, removed or inserted row shows.
"""

import contextlib
import datetime
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from resources.chained import chained_hash, first_unchained
from resources.data_format import FORMAT, check_format
from resources.errors import SultanaError
from resources.files import disk_full, disk_full_explained, exclusive_lock, made_aside, make_folder
from resources.sqlite_files import refuse_left_log
from resources.table_files import StoredFile, files_digest

_SCHEMA = """
CREATE TABLE commits (
    sequence INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    row_count INTEGER NOT NULL,
    key_column TEXT NOT NULL,
    tag TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    asset_key TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    files_sha256 TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE TABLE files (
    sequence INTEGER NOT NULL REFERENCES commits (sequence),
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (sequence, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX commits_by_table ON commits (table_name, sequence);
CREATE INDEX commits_by_idempotency_key ON commits (table_name, idempotency_key);
"""
_COLUMNS = (
    "sequence, table_name, version, digest, row_count, key_column, tag, idempotency_key, run_id, asset_key, "
    "recorded_at, files_sha256, previous_hash, hash"
)
_BUSY_SECONDS = 60.0
_NEEDED_BYTES = 1 << 20


@dataclass(frozen=True)
class Commit:
    """One acknowledged version of a table.

    `recorded_at` is UTC, ISO 8601; `sequence` counts from 1; `files_sha256` is `files_digest` of its files.
    """

    sequence: int
    table: str
    version: int
    digest: str
    rows: int
    key: str
    tag: str
    idempotency_key: str
    run_id: str
    asset_key: str
    recorded_at: str
    files_sha256: str
    previous_hash: str
    hash: str


class CommitLog:
    """The acknowledged versions of all tables, in one SQLite file that is created on first use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            self._create()

    def _create(self) -> None:
        make_folder(self.path.parent)
        with exclusive_lock(self.path.with_name(f".{self.path.name}.lock")):
            if self.path.exists():
                return
            refuse_left_log(self.path)
            self._refuse_tables_without_log()
            with (
                made_aside(self.path) as temporary,
                contextlib.closing(sqlite3.connect(temporary)) as connection,
            ):
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(_SCHEMA)
                connection.execute(f"PRAGMA user_version={FORMAT}")

    def _refuse_tables_without_log(self) -> None:
        tables = sorted(
            one.parent.parent.name for one in self.path.parent.glob("*.lance/_versions/*.manifest")
        )
        if tables:
            raise SultanaError(
                f"The commit log {self.path} is gone, and tables are there, among them {tables[0]}: none of their "
                "versions is acknowledged without it",
                "Restore the data folder from a backup; to start anew, move the tables away",
                code="commit-log-gone",
            )

    @contextlib.contextmanager
    def _open(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        # One connection for each call: safe with threads, forks and kills, and still under a
        # millisecond. mode=rw, so that a log removed under our feet is not silently replaced.
        uri = f"{self.path.resolve().as_uri()}?mode=rw"
        try:
            with (
                disk_full_explained(self.path.parent),
                contextlib.closing(
                    sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
                ) as connection,
            ):
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                check_format(connection, self.path.parent.parent)
                yield connection
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            # Opening needs a few kilobytes beside the file; without them SQLite says "disk I/O error".
            if self.path.parent.exists() and shutil.disk_usage(self.path.parent).free < _NEEDED_BYTES:
                raise disk_full(self.path.parent) from error
            raise SultanaError(
                f"The commit log {self.path} cannot be used: {error}",
                "Check that the file and its folder exist and are writable, or restore them from a backup; "
                "without it no version of a table is acknowledged",
                code="commit-log-unusable",
            ) from error

    def connection(self, *, write: bool) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """A transaction on the log's database, for what is kept beside the commits."""
        return self._open(write=write)

    def record(
        self,
        table: str,
        version: int,
        digest: str,
        rows: int,
        key: str,
        idempotency_key: str,
        run_id: str,
        asset_key: str,
        tag: str = "",
        files: Sequence[StoredFile] = (),
    ) -> Commit:
        """Acknowledge a version of `table`; durable on return. `key` is the column that identifies a row,
        `files` are those of the version.

        Raises SultanaError where the log cannot be written; the version is then not acknowledged.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        with self._open(write=True) as connection:
            last = connection.execute(
                "SELECT sequence, hash FROM commits ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            sequence, previous = (last[0] + 1, last[1]) if last else (1, "")
            content = (table, version, digest, rows, key, tag, idempotency_key, run_id, asset_key, now)
            fields = (sequence, *content, files_digest(files), previous)
            commit = Commit(*fields, chained_hash(fields))
            connection.execute(
                f"INSERT INTO commits ({_COLUMNS}) VALUES ({', '.join('?' * 14)})", astuple(commit)
            )
            connection.executemany(
                "INSERT INTO files (sequence, path, size, sha256) VALUES (?, ?, ?, ?)",
                [(sequence, one.path, one.size, one.sha256) for one in files],
            )
        return commit

    def _select(self, condition: str, *values: object) -> list[Commit]:
        with self._open(write=False) as connection:
            found = connection.execute(f"SELECT {_COLUMNS} FROM commits {condition}", values).fetchall()
        return [Commit(*row) for row in found]

    def head(self, table: str) -> Commit | None:
        """The version of `table` acknowledged last."""
        found = self._select("WHERE table_name = ? ORDER BY sequence DESC LIMIT 1", table)
        return found[0] if found else None

    def by_idempotency_key(self, table: str, key: str) -> Commit | None:
        """The commit of `table` that carries this idempotency key, the last if there are several."""
        found = self._select(
            "WHERE table_name = ? AND idempotency_key = ? ORDER BY sequence DESC LIMIT 1", table, key
        )
        return found[0] if found else None

    def knows(self, hash: str) -> bool:
        """Whether a commit of this log carries this hash."""
        return bool(self._select("WHERE hash = ?", hash))

    def files(self, commit: Commit) -> tuple[StoredFile, ...]:
        """The files of an acknowledged version, by path.

        Raises SultanaError where the list is not the one whose hash the commit carries.
        """
        with self._open(write=False) as connection:
            rows = connection.execute(
                "SELECT path, size, sha256 FROM files WHERE sequence = ? ORDER BY path", (commit.sequence,)
            ).fetchall()
        found = tuple(StoredFile(*row) for row in rows)
        if files_digest(found) != commit.files_sha256:
            raise SultanaError(
                f"The list of files of {commit.table} version {commit.version} in {self.path} was changed",
                "Restore the commit log from a backup",
                code="commit-log-changed",
            )
        return found

    def history(self, table: str) -> list[Commit]:
        """All commits of `table`, the oldest first."""
        return self._select("WHERE table_name = ? ORDER BY sequence", table)

    def tables(self) -> list[str]:
        """The names of all tables with an acknowledged version, sorted."""
        with self._open(write=False) as connection:
            rows = connection.execute(
                "SELECT DISTINCT table_name FROM commits ORDER BY table_name"
            ).fetchall()
        return [row[0] for row in rows]

    def check(self) -> str | None:
        """What is wrong with the log (SQLite's integrity check, the chain of hashes); None if nothing."""
        with self._open(write=False) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            return f"SQLite's integrity check says: {verdict}"
        place = first_unchained(astuple(commit) for commit in self._select("ORDER BY sequence"))
        if place is not None:
            return f"row {place} does not follow from the row before it: a row was edited, added or removed"
        return None
