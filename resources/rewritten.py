"""Which files of tables were written again after their versions were acknowledged: content of rows was erased.

Nothing else rewrites a file of a version. A record is written before the file is exchanged, so that a verification
never takes an erasure for tampering; after a kill between the two, the same erasure, run again, exchanges it.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from resources.commits import CommitLog
from resources.files import sync_path
from resources.side_chain import SideChain
from resources.table_files import StoredFile

_COLUMNS = {"table_name": "TEXT", "path": "TEXT", "size": "INTEGER", "sha256": "TEXT", "reason": "TEXT"}

Replacing = Callable[[Path, Path], None]
"""Told of a file of a table, and of the file that is about to take its place."""


def exchange(file: Path, replacement: Path, replacing: Replacing) -> None:
    """Puts `replacement`, on the same file system, in the place of `file`, after `replacing` was told; durable."""
    sync_path(replacement)
    replacing(file, replacement)
    os.replace(replacement, file)
    sync_path(file.parent)


def record_rewritten(log: CommitLog, table: str, file: StoredFile, reason: str) -> None:
    """Record that a file of a table will be `file` from now on; durable on return."""
    about = {"path": file.path, "size": file.size, "sha256": file.sha256}
    _chain(log).append([{"table_name": table, **about, "reason": reason}])


def files_now(log: CommitLog, table: str, files: Iterable[StoredFile]) -> tuple[StoredFile, ...]:
    """The files of a version as they are since the last erasure."""
    found = {one.path: one for one in _files(log, table)}  # the last of each path
    return tuple(found.get(one.path, one) for one in files)


def states_of(log: CommitLog, table: str) -> set[tuple[str, str]]:
    """Every state (path, SHA-256) that a file of the table has had by the log."""
    states = {(one.path, one.sha256) for one in _files(log, table)}
    return states | {(one.path, one.sha256) for commit in log.history(table) for one in log.files(commit)}


def check_rewritten(log: CommitLog) -> str | None:
    """What is wrong with the records; None if nothing."""
    return _chain(log).problem()


def _files(log: CommitLog, table: str) -> list[StoredFile]:
    return [
        StoredFile(one["path"], one["size"], one["sha256"])
        for one in _chain(log).records()
        if one["table_name"] == table
    ]


def _chain(log: CommitLog) -> SideChain:
    return SideChain(log, "rewritten", _COLUMNS)
