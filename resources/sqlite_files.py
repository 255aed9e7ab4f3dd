"""SQLite databases as files: what lies beside one, whether it is whole, who has it open."""

import contextlib
import os
import sqlite3
from pathlib import Path

from resources.errors import SultanaError

_BUSY_SECONDS = 60.0
_MAGIC = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")


def write_ahead_log(database: Path) -> Path:
    """The file beside a database with the transactions that are not yet in it."""
    return database.with_name(f"{database.name}-wal")


def beside(database: Path) -> list[Path]:
    """The files that SQLite keeps beside a database, as far as they are there."""
    names = (f"{database.name}{ending}" for ending in _BESIDE)
    return [path for path in map(database.with_name, names) if path.exists()]


def lies_beside(path: Path) -> bool:
    """Whether SQLite keeps the file beside a database: it is no copy without it."""
    return any(
        path.name.endswith(one) and path.with_name(path.name.removesuffix(one)).exists() for one in _BESIDE
    )


def refuse_left_log(database: Path) -> None:
    """Raises SultanaError where a database that is to be made has a write-ahead log already.

    SQLite would take what the log holds for changes of the new database, and write it over what is in that.
    """
    log = write_ahead_log(database)
    if log.exists() and log.stat().st_size and not database.exists():
        raise SultanaError(
            f"{database} is gone, and its write-ahead log {log} is still there",
            "Restore the database from a backup, or put it back where it was; to start without what was in it, move "
            "the log away",
            code="database-gone",
        )


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database. Raises FileNotFoundError where it is gone."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def integrity(database: Path, *, alone: bool = False) -> str:
    """What SQLite's integrity check says: `ok`, or what is wrong. The database is only read.

    `alone`: nobody else has it open and no log lies beside it; then nothing is made beside it either.
    """
    how = "immutable=1" if alone else "mode=ro"
    try:
        with contextlib.closing(
            sqlite3.connect(f"{database.resolve().as_uri()}?{how}", uri=True, timeout=_BUSY_SECONDS)
        ) as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)


def checkpoint(database: Path) -> None:
    """Bring what a write-ahead log holds into its database, and empty the log."""
    with contextlib.closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def copy_database(source: Path, target: Path) -> None:
    """A copy of a database as one moment has it, while others write to it; one file, readable by its owner only.

    Raises SultanaError where the source cannot be read to its end.
    """
    target.touch(0o600)
    try:
        with (
            contextlib.closing(
                sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)
            ) as read,
            contextlib.closing(sqlite3.connect(target)) as written,
        ):
            read.backup(written)  # all pages in one step: one moment, whatever is written meanwhile
    except sqlite3.Error as error:
        raise SultanaError(
            f"The database {source} cannot be copied: {error}",
            "Run `sultana doctor`; restore the database from an earlier backup if it is damaged",
            code="database-damaged",
        ) from error


def is_open(path: Path) -> bool:
    """Whether a process of this machine has the file open, as far as this user may see."""
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return False
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            handles = os.listdir(folder)
        except OSError:  # gone meanwhile, or somebody else's
            continue
        for handle in handles:
            with contextlib.suppress(OSError):
                found = os.stat(folder / handle)
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False
