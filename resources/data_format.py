"""Which form a data folder has: the number that its commit log carries, and what is said where it is another.

The commit log is what everything else is read by, so that its number stands for the whole folder: tables, the records
of materializations in Dagster, tags in MLflow.
"""

import contextlib
import sqlite3
from pathlib import Path

from resources.databases import LOG
from resources.errors import SultanaError

FORMAT = 1
"""Counted up with every change after which this release cannot read, or would misread, what was written before."""

RESTORING = ".restoring"
"""The file that lies in a data folder while it is restored."""

# Folders of this form were made before they carried a number.
_FIRST_COLUMNS = {"commits": {"files_sha256", "idempotency_key", "hash"}, "files": {"path", "size", "sha256"}}


def check_format(connection: sqlite3.Connection, folder: Path) -> None:
    """Raises SultanaError where the commit log of the data folder has not the form that this release writes."""
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found == FORMAT or (found == 0 and _has_first_form(connection)):
        return
    if found > FORMAT:
        raise SultanaError(
            f"The data folder {folder} was made by a later release of Sultana: its form is {found}, and this release "
            f"knows {FORMAT}",
            "Install that release, or set SULTANA_DATA to another folder",
            code="data-of-later-release",
        )
    raise SultanaError(
        f"The data folder {folder} was made by an earlier release of Sultana, in a form that this one cannot read",
        "Open it with the release that made it; to go on with this one, set SULTANA_DATA to a new folder and "
        "materialize everything again from the sources",
        code="data-of-earlier-release",
    )


def check_data_folder(folder: Path) -> None:
    """Raises SultanaError where a data folder has another form, or where its restoration did not end."""
    refuse_half_restored(folder)
    log = folder / LOG
    if not log.exists():
        return
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(  # what cannot be read is told where it is read
            sqlite3.connect(f"{log.resolve().as_uri()}?mode=rw", uri=True, timeout=60.0)
        ) as connection,
    ):
        check_format(connection, folder)


def refuse_half_restored(folder: Path) -> None:
    """Raises SultanaError where the restoration of a backup into the folder did not end."""
    if (folder / RESTORING).exists():
        raise SultanaError(
            f"A backup was being restored into {folder}, and that did not end: it is not whole",
            "Give the same `sultana restore` again; it goes on from there",
            code="restore-unfinished",
        )


def _has_first_form(connection: sqlite3.Connection) -> bool:
    for table, columns in _FIRST_COLUMNS.items():
        found = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not found >= columns:
            return False
    return True
