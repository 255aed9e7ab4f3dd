"""Giving versions of tables up: which may go, what that frees, and the removal, safe against a kill at any instant.

The order is: a row in the log of what was reclaimed -> tag -> files. After the first the version counts as given up,
whatever of it is left; the next removal takes that too. Files of no version, which killed writes leave, go as well.
"""

import contextlib
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from resources import lance_folder
from resources.commits import Commit
from resources.errors import SultanaError
from resources.files import exclusive_lock, sync_filesystem
from resources.orphans import files_of_no_version, remove_files
from resources.reclaimed import reclaimed, record_reclaimed
from resources.tables import LanceTables
from resources.time_limit import within_time

Version = tuple[str, int]
"""A table and the number of one of its versions."""

LONGEST_WAIT = 600.0
ORPHAN_SECONDS = 3600.0
"""A call into Lance that took too long was given up and may still write; after this long it does not."""
NEWEST, YOUNG, HELD_BY_TAG = "newest version", "younger than the retention age", "holds a tag of somebody's"


@dataclass(frozen=True)
class Plan:
    """What becomes of one table. `leftovers` are versions on disk that nobody acknowledged, or that were given up."""

    table: str
    given_up: tuple[Commit, ...]
    leftovers: tuple[int, ...]
    kept: Mapping[int, str]
    """Version -> why it stays."""

    @property
    def versions(self) -> list[int]:
        """All that is removed."""
        return sorted({*self.leftovers, *(commit.version for commit in self.given_up)})


@contextlib.contextmanager
def no_writer(tables: LanceTables) -> Iterator[list[str]]:
    """The names of all tables, none of which can be written meanwhile.

    Raises SultanaError where a writer does not end within ten minutes.
    """
    names = tables.commits.tables()
    with contextlib.ExitStack() as locks:
        for name in names:
            locks.enter_context(exclusive_lock(tables.lock(name), LONGEST_WAIT))
        yield names


def plan(tables: LanceTables, table: str, held: Mapping[Version, str], before: datetime.datetime) -> Plan:
    """Which versions of a table may go: acknowledged before `before`, not among `held`, not the newest.

    `held` says why each version that something depends on has to stay. A version with a tag that Sultana did not
    set stays as well.
    """
    folder = tables.folder(table)
    gone = reclaimed(tables.commits)
    history = tables.commits.history(table)
    # A folder that was removed and rebuilt gives its numbers again: only the last holder counts.
    living = {commit.version: commit for commit in history}
    on_disk = [
        version for version in lance_folder.versions_on_disk(folder)[::-1] if version <= history[-1].version
    ]
    tags = lance_folder.tags(folder)
    kept: dict[int, str] = {}
    given_up, leftovers = [], []
    for version in on_disk:
        commit = living.get(version)
        tagged = {name for name, number in tags.items() if number == version}
        others = tagged - ({commit.tag} if commit is not None else lance_folder.own_tags(folder, version))
        if commit is not None and commit.sequence == history[-1].sequence:
            kept[version] = NEWEST
        elif commit is not None and commit.sequence not in gone and (table, version) in held:
            kept[version] = held[table, version]
        elif others:
            kept[version] = f"{HELD_BY_TAG}: {min(others)}"
        elif commit is None or commit.sequence in gone:
            leftovers.append(version)
        elif datetime.datetime.fromisoformat(commit.recorded_at) >= before:
            kept[version] = YOUNG
        else:
            given_up.append(commit)
    return Plan(table, tuple(given_up), tuple(leftovers), kept)


def bytes_of(tables: LanceTables, planned: Plan) -> int:
    """The bytes of the files that only the versions to be removed are made of."""
    if not planned.versions:
        return 0
    folder = tables.folder(planned.table)
    dataset = lance_folder.open_version(folder, lance_folder.versions_on_disk(folder)[0])
    files: pa.Table = within_time(f"listing {folder.name}", lambda: dataset.tracked_files().read_all())
    versions, paths = files["version"].to_pylist(), files["path"].to_pylist()
    removed = set(planned.versions)
    needed = {path for version, path in zip(versions, paths, strict=True) if version not in removed}
    sizes = {one.path: one.size for one in folder.files()}
    return sum(sizes.get(path, 0) for path in set(paths) - needed)


def remove(tables: LanceTables, planned: Plan, run_id: str, reason: str) -> int:
    """Remove what was planned, and orphans; the bytes freed. Only for use inside `no_writer`, with a plan made there.

    Raises SultanaError where Lance cannot remove it; the versions then count as given up, and the next removal
    takes them.
    """
    folder = tables.folder(planned.table)
    if not planned.versions:
        return _remove_orphans(tables, planned.table)
    if planned.given_up:
        record_reclaimed(tables.commits, planned.given_up, run_id, reason)
    lance_folder.remove_tags(folder, planned.versions)
    try:
        dataset = lance_folder.open_version(folder, lance_folder.versions_on_disk(folder)[0])
        freed = within_time(
            f"removing versions of {folder.name}",
            dataset.cleanup_old_versions,
            datetime.timedelta(0),
            versions=planned.versions,
            error_if_tagged_old_versions=False,
        )
    except (ValueError, OSError, RuntimeError) as error:
        raise SultanaError(
            f"Versions of the table {planned.table} in {tables.where} cannot be removed: {error}",
            "Run `sultana doctor`; then run the same command again, which removes them",
            code="table-cleanup-failed",
        ) from error
    if folder.path is not None:
        sync_filesystem(folder.path)
    return int(freed.bytes_removed) + _remove_orphans(tables, planned.table)


def _remove_orphans(tables: LanceTables, table: str) -> int:
    """The bytes freed; none where it cannot be known which files are needed."""
    try:
        found = files_of_no_version(tables, table, ORPHAN_SECONDS)
    except (SultanaError, ValueError, OSError, RuntimeError):  # Lance has no class for what it cannot read
        return 0
    return remove_files(tables.folder(table), found)


def data_files(tables: LanceTables, table: str) -> Sequence[int]:
    """The bytes of each data file of the newest version of a table."""
    head = tables.head(table)
    if head is None:
        return ()
    sizes = {one.path: one.size for one in tables.folder(table).files(lance_folder.DATA)}
    return [
        sizes.get(f"{lance_folder.DATA}/{file.path}", 0)
        for fragment in tables.open(head).get_fragments()
        for file in fragment.metadata.files
    ]
