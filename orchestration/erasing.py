"""`sultana retract --erase`: content of retracted rows leaves the tables, and Dagster's record of what was shown.

Previews of raw_instructions, instructions and quarantine, and answers of the job `trace_row`, are kept in Dagster's
event log with texts of rows in them; those strings are replaced. MLflow's runs hold no text of rows of the pool.
"""

import json
import mmap
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg

from assets.instructions.erasures import Found, erase, find, record, shown_forms
from assets.instructions.retractions import Retraction, Standing
from assets.materialized import materializations
from assets.presentation import cell
from resources.definitions import data_folder
from resources.errors import SultanaError
from resources.tables import LanceTables

JOB = "retract"
"""The job of this in the UI: its own run is no reader."""

ERASED = "(erased)"
WINDOW = 20
"""Characters from which on a text is looked for inside of others; a shorter one has to be all of a string."""
_UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
_LARGEST_SWEPT = 512 << 20
_NOT_SWEPT = ("models", "lance", "starter")


def refuse_while_running(instance: dg.DagsterInstance) -> None:
    """Raises SultanaError while a run may read tables: their files are exchanged under its hands."""
    running = [run for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)) if run.job_name != JOB]
    if running:
        raise SultanaError(
            f"Run {running[0].run_id} is going on, and may read what is to be erased",
            "Wait until it has ended, or end it, and give the same command again",
            code="runs-in-progress",
        )


def erase_content(
    instance: dg.DagsterInstance, tables: LanceTables, stands: Standing, retraction: Retraction
) -> dict[str, Any]:
    """Erases what a retraction that stands says; what was erased where, as JSON values.

    The order is such that the same call finishes what was cut short: the texts to look for are read from the
    tables, so the tables come last. `left` names files that still hold one of the texts.
    """
    newest = next((made.table() for made in materializations(instance, "raw_instructions")), None)
    found = find(tables, newest, Standing((retraction,)), stands)
    recorded = record(tables, found, retraction.retraction_id)
    needles = Needles(shown_forms(found, cell))
    strings = _erase_events(instance, needles) if needles else 0
    stored = erase(tables, found)
    return {
        "rows": found.to_json(),
        "newly_recorded": recorded,
        "stored_rows": stored,
        "event_strings": strings,
        "left": [str(path.relative_to(data_folder())) for path in _sweep(data_folder(), found)],
    }


class Needles:
    """Texts to be found in strings: as a whole, or inside where they are long enough."""

    def __init__(self, texts: set[str]) -> None:
        self.whole = texts
        self.starts: dict[str, list[str]] = {}
        for text in texts:
            if len(text) >= WINDOW:
                # What is cut ends with an ellipsis, so its beginning has to do.
                self.starts.setdefault(text[:WINDOW], []).append(text[: 3 * WINDOW].rstrip("…"))

    def __bool__(self) -> bool:
        return bool(self.whole)

    def are_in(self, text: str) -> bool:
        """Whether a string is, or holds, one of the texts."""
        if text in self.whole:
            return True
        if text.startswith("!["):  # a picture
            return False
        return any(
            text.startswith(one, place)
            for place in range(len(text) - WINDOW + 1)
            for one in self.starts.get(text[place : place + WINDOW], ())
        )

    def without(self, value: Any) -> tuple[Any, int]:
        """A JSON value with each string that holds a text replaced, and how many were."""
        if isinstance(value, str):
            return (ERASED, 1) if self.are_in(value) else (value, 0)
        if isinstance(value, list):
            parts = [self.without(one) for one in value]
            return [part for part, _ in parts], sum(count for _, count in parts)
        if isinstance(value, dict):
            named = {name: self.without(one) for name, one in value.items()}
            return {name: part for name, (part, _) in named.items()}, sum(n for _, n in named.values())
        return value, 0


def _erase_events(instance: dg.DagsterInstance, needles: Needles) -> int:
    """Replaces the texts in Dagster's event log, whichever database holds it; how many strings."""
    from dagster._core.storage.event_log.schema import (
        AssetCheckExecutionsTable,
        AssetKeyTable,
        SqlEventLogStorageTable,
    )
    from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

    storage = instance.event_log_storage
    while hasattr(storage, "_storage"):
        storage = storage._storage
    if not isinstance(storage, SqlEventLogStorage):
        raise SultanaError(
            f"The event log {type(storage).__name__} is in no database that can be searched",
            "Remove the texts of the rows from it, or keep Dagster's events in SQLite or PostgreSQL",
            code="event-log-unsearchable",
        )
    columns = [
        (SqlEventLogStorageTable, ("event",)),
        (AssetKeyTable, ("last_materialization", "cached_status_data")),
        (AssetCheckExecutionsTable, ("evaluation_event",)),
    ]
    count = 0
    for connect in _connections(storage):
        with connect() as connection:
            for table, names in columns:
                count += _erase_column(connection, table, names, needles)
    for database in sorted(Path(instance.root_directory).rglob("*.db")):
        _forget_free_pages(database)
    return count


def _connections(storage: Any) -> Iterator[Any]:
    """What opens each database of the event log: SQLite has one for each run beside the index."""
    yield storage.index_connection
    if hasattr(storage, "path_for_shard"):
        for run_id in storage.get_all_run_ids():
            yield lambda run_id=run_id: storage.run_connection(run_id)


def _erase_column(connection: Any, table: Any, names: tuple[str, ...], needles: Needles) -> int:
    import sqlalchemy

    if not sqlalchemy.inspect(connection).has_table(table.name):
        return 0
    if connection.dialect.name == "sqlite":
        connection.execute(sqlalchemy.text("PRAGMA secure_delete = ON"))
    count = 0
    for name in names:
        column = table.c[name]
        # Ids first: an event can be large, and SQLite does not like a cursor over rows that change.
        for (identity,) in connection.execute(
            sqlalchemy.select(table.c.id).where(column.is_not(None))
        ).fetchall():
            text = connection.execute(sqlalchemy.select(column).where(table.c.id == identity)).scalar()
            try:
                value = json.loads(text)
            except ValueError:
                continue
            cleaned, found = needles.without(value)
            if found:
                connection.execute(
                    table.update().where(table.c.id == identity).values({name: json.dumps(cleaned)})
                )
                count += found
    return count


def _forget_free_pages(database: Path) -> None:
    """Rewrites a SQLite database, so that neither free pages nor the write-ahead log hold what was replaced."""
    try:
        with closing(sqlite3.connect(database, timeout=60.0, isolation_level=None)) as connection:
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError as error:
        raise SultanaError(
            f"{database} cannot be rewritten: {error}",
            "Stop the Dagster UI and daemon, and give the same command again",
            code="database-in-use",
        ) from error
    if busy:
        raise SultanaError(
            f"The write-ahead log of {database} is in use, and may hold erased text",
            "Stop the Dagster UI and daemon, and give the same command again",
            code="database-in-use",
        )


def _sweep(data: Path, found: Found) -> list[Path]:
    """Files below the data folder, tables and base models aside, that hold the first long text of a row."""
    wanted = set()
    for turns in found.conversations:
        if text := next((turn["content"] for turn in turns if len(turn["content"]) >= WINDOW), None):
            wanted |= {text[:60].encode(), json.dumps(text[:60])[1:-1].encode()}
    left = []
    for path in sorted(data.rglob("*")) if wanted else ():
        if path.relative_to(data).parts[0] in _NOT_SWEPT or path.is_symlink() or not path.is_file():
            continue
        if 0 < path.stat().st_size <= _LARGEST_SWEPT:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if any(content.find(one) >= 0 for one in wanted):
                    left.append(path)
    return left
