"""Records that are kept beside the commits, in the commit log's database, each carrying the hash of the one before.

What happens to versions after they were acknowledged is written there: that one was given up, that content of rows
was erased from a file. A record also carries the hash of the commit made last, so that neither can be made up later.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from resources.chained import chained_hash, first_unchained
from resources.commits import CommitLog

_CHAINED = ("last_commit_hash", "recorded_at", "previous_hash", "hash")


class SideChain:
    """One table of records in a commit log; `columns` are their names and SQL types, in order."""

    def __init__(self, log: CommitLog, name: str, columns: Mapping[str, str]) -> None:
        self._log, self._name, self._own = log, name, tuple(columns)
        self._columns = ("sequence", *self._own, *_CHAINED)
        types = {name: f"{kind} NOT NULL" for name, kind in columns.items()}
        declared = {"sequence": "INTEGER PRIMARY KEY"} | types | dict.fromkeys(_CHAINED, "TEXT NOT NULL")
        listed = ", ".join(f"{key} {kind}" for key, kind in declared.items())
        self._schema = f"CREATE TABLE IF NOT EXISTS {name} ({listed}) STRICT"

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records with the columns declared: all of them or none; durable on return.

        Raises SultanaError where the log cannot be written.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        places = ", ".join("?" * len(self._columns))
        with self._log.connection(write=True) as connection:
            connection.execute(self._schema)
            newest = connection.execute("SELECT hash FROM commits ORDER BY sequence DESC LIMIT 1").fetchone()
            last = connection.execute(
                f"SELECT sequence, hash FROM {self._name} ORDER BY sequence DESC LIMIT 1"
            ).fetchone()
            sequence, previous = last or (0, "")
            for record in records:
                sequence += 1
                last_commit = newest[0] if newest else ""
                fields = (sequence, *(record[name] for name in self._own), last_commit, now, previous)
                previous = chained_hash(fields)
                connection.execute(f"INSERT INTO {self._name} VALUES ({places})", (*fields, previous))

    def records(self) -> list[dict[str, Any]]:
        """All records in order, with `sequence` from 1 and what chains them."""
        with self._log.connection(write=False) as connection:
            there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
            if connection.execute(there, (self._name,)).fetchone() is None:
                return []
            rows = connection.execute(f"SELECT * FROM {self._name} ORDER BY sequence").fetchall()
        return [dict(zip(self._columns, row, strict=True)) for row in rows]

    def problem(self) -> str | None:
        """What is wrong with the chain of records; None if nothing."""
        commits = {commit.hash for table in self._log.tables() for commit in self._log.history(table)}
        commits.add("")  # of a record made before the first commit
        records = self.records()
        place = first_unchained([tuple(record.values()) for record in records])
        if place is None:
            strays = (one["sequence"] for one in records if one["last_commit_hash"] not in commits)
            place = next(strays, None)
        if place is not None:
            return (
                f"row {place} of the table {self._name} does not follow from the row before it: "
                "a row was edited, added or removed"
            )
        return None
