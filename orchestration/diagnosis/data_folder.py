"""Is the data folder whole, of this release's form, and nobody else's to read? Are its databases closed properly?"""

import stat
from collections.abc import Iterator
from pathlib import Path

from orchestration.diagnosis.finding import Examined, Finding
from resources.data_format import check_data_folder
from resources.databases import EVERY, INSTANCE, present
from resources.errors import SultanaError
from resources.findings import Repair
from resources.sqlite_files import checkpoint, integrity, is_open, refuse_left_log

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def check_folder(examined: Examined) -> Iterator[Finding]:
    """The data folder has this release's form, and only its owner can look into it."""
    folder = examined.folder
    try:
        check_data_folder(folder)
    except SultanaError as error:
        yield Finding(error.problem, error.remedy, code=error.code)
        return
    if folder.is_dir() and (mode := stat.S_IMODE(folder.stat().st_mode)) & OTHERS:
        yield Finding(
            f"Other users of this machine can look into {folder} (its mode is {mode:o})",
            f"Make it private: chmod 700 {folder}",
            "warning",
            "folder-not-private",
            Repair(f"make {folder} private (mode 700)", lambda: folder.chmod(mode & ~OTHERS), quiet=False),
        )


def check_logs(examined: Examined) -> Iterator[Finding]:
    """No database has a write-ahead log of a process that was killed, and no such log is without its database."""
    for log in present(examined.folder, EVERY, "-wal"):
        database = log.with_name(log.name.removesuffix("-wal"))
        try:
            refuse_left_log(database)
        except SultanaError as error:
            yield Finding(error.problem, error.remedy, code=error.code)
            continue
        if database.exists() and log.stat().st_size and not is_open(log) and not is_open(database):
            yield _left(database)


def _left(database: Path) -> Finding:
    return Finding(
        f"A process that was killed has left a write-ahead log beside {database}: what it holds counts, and the file "
        "alone is not the database",
        "Nothing to do: whoever opens the database next brings it in; never remove it, nor copy the one without the "
        "other",
        "warning",
        "log-left-behind",
        Repair(f"bring the write-ahead log of {database} into it", lambda: checkpoint(database), quiet=False),
    )


def damaged_databases(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each of Dagster's databases that is not whole, and what SQLite says of it."""
    for database in present(folder, INSTANCE):
        if (verdict := integrity(database)) != "ok":
            yield database, " ".join(verdict.split())[:300]
