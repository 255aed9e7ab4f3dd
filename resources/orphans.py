"""Files in a table's folder that belong to no version: what writes leave that were killed."""

import time
from collections.abc import Sequence

from resources import lance_folder
from resources.reclaimed import reclaimed
from resources.table_folder import FoundFile, TableFolder
from resources.table_fragments import nothing_awaited
from resources.tables import LanceTables
from resources.time_limit import within_time

_PLACES = (lance_folder.DATA, lance_folder.DELETIONS, lance_folder.INDICES, "_transactions")


def files_of_no_version(tables: LanceTables, table: str, idle_seconds: float = 0.0) -> list[FoundFile]:
    """Files that no version on disk and no acknowledged version has, and that were not written to for so long.

    Only for use under the writer lock. None while files may wait for their commit (`LanceTables.fragments`). Raises
    SultanaError, ValueError, OSError or RuntimeError where the files of a version cannot be listed: then it is not
    known which are needed.
    """
    if not nothing_awaited(tables.lock(table)):
        return []
    folder = tables.folder(table)
    versions = lance_folder.versions_on_disk(folder)
    if not versions:
        return []
    newest = lance_folder.open_version(folder, versions[0])
    tracked = within_time(f"listing {folder.name}", lambda: newest.tracked_files().read_all())
    used = set(tracked["path"].to_pylist())
    gone = reclaimed(tables.commits)
    for commit in tables.commits.history(table):
        if commit.sequence not in gone:
            used |= {one.path for one in tables.commits.files(commit)}
    before = time.time() - idle_seconds
    return [
        one
        for place in _PLACES
        for one in folder.files(place)
        if one.path not in used and one.modified <= before
    ]


def remove_files(folder: TableFolder, files: Sequence[FoundFile]) -> int:
    """Remove files of no version from a table's folder, durably; the bytes freed. Only under the writer lock."""
    folder.remove([one.path for one in files])
    return sum(one.size for one in files)
