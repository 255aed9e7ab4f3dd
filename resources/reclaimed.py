"""Which acknowledged versions of tables were reclaimed: a table of its own beside the commits, in the same chain.

A row is written before anything is removed, so that a version that is gone is never called missing. It carries the
hash of the commit that it is about, that of the commit made last, and that of the row before it.
"""

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from resources.commits import Commit, CommitLog

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reclaimed (
    sequence INTEGER PRIMARY KEY,
    table_name TEXT NOT NULL,
    version INTEGER NOT NULL,
    commit_sequence INTEGER NOT NULL UNIQUE,
    commit_hash TEXT NOT NULL,
    last_commit_hash TEXT NOT NULL,
    run_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT
"""
_PRESENT = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'reclaimed'"


@dataclass(frozen=True)
class Reclaimed:
    """One version that was given up: the commit that acknowledged it, by place and hash, when and why."""

    sequence: int
    table: str
    version: int
    commit_sequence: int
    commit_hash: str
    last_commit_hash: str
    run_id: str
    reason: str
    recorded_at: str
    previous_hash: str
    hash: str


def _hash(fields: tuple[object, ...]) -> str:
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode("ascii")).hexdigest()


def record_reclaimed(log: CommitLog, commits: Sequence[Commit], run_id: str, reason: str) -> None:
    """Record that the versions of these commits are given up: all of them or none; durable on return.

    Raises SultanaError where the log cannot be written.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
    with log.connection(write=True) as connection:
        connection.execute(_SCHEMA)
        (newest,) = connection.execute("SELECT hash FROM commits ORDER BY sequence DESC LIMIT 1").fetchone()
        last = connection.execute(
            "SELECT sequence, hash FROM reclaimed ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        sequence, previous = last or (0, "")
        for commit in commits:
            sequence += 1
            about = (commit.table, commit.version, commit.sequence, commit.hash)
            fields = (sequence, *about, newest, run_id, reason, now, previous)
            previous = _hash(fields)
            connection.execute(
                f"INSERT INTO reclaimed VALUES ({', '.join('?' * 11)})",
                astuple(Reclaimed(*fields, previous)),
            )


def reclaimed(log: CommitLog) -> dict[int, Reclaimed]:
    """What was reclaimed, by the sequence number of its commit."""
    with log.connection(write=False) as connection:
        if connection.execute(_PRESENT).fetchone() is None:
            return {}
        rows = connection.execute("SELECT * FROM reclaimed ORDER BY sequence").fetchall()
    return {one.commit_sequence: one for one in (Reclaimed(*row) for row in rows)}


def check_reclaimed(log: CommitLog) -> str | None:
    """What is wrong with the records of what was reclaimed; None if nothing."""
    commits = {commit.sequence: commit for table in log.tables() for commit in log.history(table)}
    hashes = {commit.hash for commit in commits.values()}
    previous = ""
    for place, one in enumerate(reclaimed(log).values(), start=1):
        *fields, own = astuple(one)
        commit = commits.get(one.commit_sequence)
        about = commit is not None and (commit.table, commit.version, commit.hash)
        if (
            one.sequence != place
            or one.previous_hash != previous
            or own != _hash(tuple(fields))
            or about != (one.table, one.version, one.commit_hash)
            or one.last_commit_hash not in hashes
        ):
            return (
                f"row {place} of what was reclaimed does not follow from the row before it or from its commit: "
                "a row was edited, added or removed"
            )
        previous = own
    return None
