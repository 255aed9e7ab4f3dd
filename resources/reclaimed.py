"""Which acknowledged versions of tables were reclaimed.

A record is written before anything is removed, so that a version that is gone is never called missing. It carries
the place and the hash of the commit that it is about.
"""

from collections.abc import Sequence

from resources.commits import Commit, CommitLog
from resources.side_chain import SideChain

_COLUMNS = {
    "table_name": "TEXT",
    "version": "INTEGER",
    "commit_sequence": "INTEGER",
    "commit_hash": "TEXT",
    "run_id": "TEXT",
    "reason": "TEXT",
}


def record_reclaimed(log: CommitLog, commits: Sequence[Commit], run_id: str, reason: str) -> None:
    """Record that the versions of these commits are given up: all of them or none; durable on return.

    Raises SultanaError where the log cannot be written.
    """
    _chain(log).append(
        [
            {
                "table_name": commit.table,
                "version": commit.version,
                "commit_sequence": commit.sequence,
                "commit_hash": commit.hash,
                "run_id": run_id,
                "reason": reason,
            }
            for commit in commits
        ]
    )


def reclaimed(log: CommitLog) -> dict[int, str]:
    """When each version that was given up was, in UTC (ISO 8601), by the sequence number of its commit."""
    return {one["commit_sequence"]: one["recorded_at"] for one in _chain(log).records()}


def check_reclaimed(log: CommitLog) -> str | None:
    """What is wrong with the records of what was reclaimed; None if nothing."""
    if problem := _chain(log).problem():
        return problem
    commits = {commit.sequence: commit for table in log.tables() for commit in log.history(table)}
    for one in _chain(log).records():
        commit = commits.get(one["commit_sequence"])
        about = (one["table_name"], one["version"], one["commit_hash"])
        if commit is None or (commit.table, commit.version, commit.hash) != about:
            return f"row {one['sequence']} of what was reclaimed is about a commit that there is not"
    return None


def _chain(log: CommitLog) -> SideChain:
    return SideChain(log, "reclaimed", _COLUMNS)
