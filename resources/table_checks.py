"""Read-only checks of the Lance tables against the commit log, for `sultana doctor`."""

from collections.abc import Collection, Container, Iterator, Mapping, Sequence

from resources import lance_folder
from resources.commits import Commit
from resources.errors import SultanaError
from resources.findings import Finding
from resources.placed import check_placed
from resources.reclaimed import check_reclaimed, reclaimed
from resources.repaired import check_repaired
from resources.rewritten import check_rewritten, files_now
from resources.table_files import StoredFile, changed_files
from resources.table_folder import TableFolder
from resources.table_repairs import (
    let_stand,
    orphans,
    remove_head,
    remove_orphans,
    remove_phantom,
    tag_again,
    writer_of,
)
from resources.tables import LanceTables

ANOTHER = "another program"
LOG_DAMAGED, LOG_BEHIND = "commit-log-damaged", "commit-log-behind"

Named = Collection[tuple[str, int, str]]
"""Table, number and digest of versions that another record names."""

_RESTORE = "Restore the folder from a backup, or move it away and materialize the table's asset again"
_RESTORE_LOG = "Restore the commit log from a backup"


def check_tables(tables: LanceTables, named: Named | None) -> list[Finding]:
    """Everything wrong with the tables; nothing is changed.

    `named` are the versions that Dagster's event log names: one that the commit log does not know shows that the log
    was rolled back. None where they cannot be read; then a version that nobody acknowledged is not offered for removal.
    """
    log = tables.commits
    for problem in filter(
        None,
        (log.check(), check_placed(log), check_reclaimed(log), check_rewritten(log), check_repaired(log)),
    ):
        return [Finding(log.path.name, problem, _RESTORE_LOG, LOG_DAMAGED)]
    histories = {table: log.history(table) for table in log.tables()}
    known = {(one.table, one.version, one.digest) for history in histories.values() for one in history}
    findings = [
        Finding(
            table,
            f"version {version} is named by a materialization, and the commit log does not know it: it is older than "
            "what it belongs to",
            "Restore the whole data folder from one backup",
            LOG_BEHIND,
        )
        for table, version, digest in sorted(set(named or ()) - known)
    ]
    findings = findings or list(_check_place(tables, histories))
    if findings:
        return findings
    gone = reclaimed(log)
    for table in tables.place.tables():
        if table not in histories:
            findings.append(_unknown_table(tables, table, named is not None))
    for table, history in histories.items():
        findings.extend(_check_table(tables, table, history, gone))
    return findings


def check_leftovers(tables: LanceTables, can_drop: bool) -> list[Finding]:
    """What killed writes left behind: whole versions that nobody acknowledged, and files of none. It harms nothing."""
    findings = []
    for table in tables.commits.tables():
        folder, pointer = tables.folder(table), tables.commits.history(table)[-1]
        above = [one for one in lance_folder.versions_on_disk(folder) if one > pointer.version]
        if left := [one for one in above if lance_folder.readable_properties(folder, one) is not None]:
            findings.append(_head(tables, table, left, pointer.version, can_drop))
        own = {commit.tag for commit in tables.commits.history(table)}
        for name, version in lance_folder.tags(folder).items():
            if version is None and name not in own:
                path = lance_folder.tag_path(name)
                problem = (
                    f"the tag {name} is torn: which version it held is not known, and Lance lists no tag"
                )
                remedy = f"Delete {folder.uri}/{path}, and tag the version that was meant again"
                findings.append(Finding(table, problem, remedy, "tag-of-others-torn", "warning"))
        if left_over := orphans(tables, table):
            size = sum(one.size for one in left_over)
            findings.append(
                Finding(
                    table,
                    f"{len(left_over)} files ({size:,} bytes) in {folder.uri} belong to no version: a write was killed",
                    "Nothing to do but for the room that they take",
                    "orphan-files",
                    "warning",
                    remove_orphans(tables, table),
                )
            )
    return findings


def _check_place(tables: LanceTables, histories: Mapping[str, Sequence[Commit]]) -> Iterator[Finding]:
    """Whether the object store knows this log as the one of its tables, and as new as they are."""
    if problem := tables.place.owned_by_another():
        remedy = "Use the data folder whose tables these are, or another place for the tables of this one"
        yield Finding(tables.where, problem, remedy, "tables-of-another-log")
        return
    for table in sorted({*histories, *tables.place.tables()}):
        if tables.place.is_behind(table):
            yield Finding(
                table,
                f"the commit log does not know what was acknowledged last in {tables.where}: it is older than the "
                "table, or a copy of the log that goes on elsewhere",
                "Use the data folder that wrote last; if it is lost for good, let the repair take this log for the "
                "newest: later versions then count as never acknowledged",
                LOG_BEHIND,
                repair=let_stand(tables, table),
            )


def _unknown_table(tables: LanceTables, table: str, can_drop: bool) -> Finding:
    try:
        folder = tables.folder(table)
    except SultanaError as error:
        folder = tables.place.folder(table)
        return Finding(folder.name, error.problem, f"Move {folder.uri} away", "foreign-folder", "warning")
    versions = lance_folder.versions_on_disk(folder)
    if any(lance_folder.readable_properties(folder, one) is not None for one in versions):
        return _head(tables, table, versions, 0, can_drop)
    return Finding(
        table,
        "no version is acknowledged: its first write did not finish",
        "Materialize its asset; if no asset writes it, remove the folder",
        "phantom-table",
        "warning",
        remove_phantom(tables, table),
    )


def _head(tables: LanceTables, table: str, versions: Sequence[int], pointed: int, can_drop: bool) -> Finding:
    by = sorted({writer_of(tables.folder(table), version) or ANOTHER for version in versions})
    above = f"version {', '.join(map(str, sorted(versions)))} above the acknowledged {pointed}"
    if ANOTHER in by:
        return Finding(
            table,
            f"{above} was written past Sultana, and nothing here reads it",
            f"Move what is yours in {tables.folder(table).uri} to a folder of its own; the next write goes on from the "
            "acknowledged version",
            "foreign-version",
            "warning",
        )
    return Finding(
        table,
        f"{above} was written for {by[-1]} and never acknowledged",
        "The same work, materialized again, takes it over; what is not wanted can be removed",
        "unacknowledged-head",
        "warning",
        remove_head(tables, table) if can_drop else None,
    )


def _check_table(
    tables: LanceTables, table: str, history: list[Commit], gone: Container[int]
) -> Iterator[Finding]:
    folder, pointer = tables.folder(table), history[-1]
    on_disk = lance_folder.versions_on_disk(folder)
    if not on_disk:
        yield Finding(table, f"the folder {folder.uri} is gone", _RESTORE, "table-missing")
        return
    above = [version for version in on_disk if version > pointer.version]
    unreadable = [one for one in above if lance_folder.readable_properties(folder, one) is None]
    for version in unreadable:
        yield Finding(
            table,
            f"version {version}, above the acknowledged {pointer.version}, cannot be read",
            "Nothing to do: the next write removes it; it was never acknowledged",
            "unreadable-head",
            "warning",
            remove_head(tables, table, unreadable_only=True),
        )
    # A folder that was removed and rebuilt gives its numbers again: only the last holder counts.
    living = [
        commit
        for commit in {commit.version: commit for commit in history}.values()
        if commit.sequence not in gone
    ]
    try:
        files = {
            commit.version: files_now(tables.commits, table, tables.commits.files(commit))
            for commit in living
        }
    except SultanaError as error:
        yield Finding(tables.commits.path.name, error.problem, error.remedy, LOG_DAMAGED)
        return
    damaged = changed_files(folder, {one.path: one for found in files.values() for one in found}.values())
    for path, problem in damaged.items():
        holders = sorted(version for version, found in files.items() if path in {one.path for one in found})
        versions = f"version{'s' * (len(holders) > 1)} {', '.join(map(str, holders))}"
        told = f"the file {path} of {versions} {problem}"
        if path.startswith("_versions/"):
            told = f"the acknowledged {versions} is missing or unreadable: its file {path} {problem}"
        code = "file-missing" if problem == "is missing" else "file-changed"
        yield Finding(table, told, _RESTORE, code)
    yield from _check_versions(tables, table, living, files, damaged)
    if not any(one.path in damaged for one in files.get(pointer.version, ())):
        yield from _check_keys(folder, pointer)


def _check_versions(
    tables: LanceTables,
    table: str,
    living: list[Commit],
    files: Mapping[int, Sequence[StoredFile]],
    damaged: Container[str],
) -> Iterator[Finding]:
    folder = tables.folder(table)
    tags = lance_folder.tags(folder)
    for commit in living:
        if any(one.path in damaged for one in files[commit.version]):
            continue  # told by its files
        stored = lance_folder.readable_properties(folder, commit.version)
        if stored is None:
            problem = f"the acknowledged version {commit.version} is missing or unreadable"
            yield Finding(table, problem, _RESTORE, "version-damaged")
        elif stored.get(lance_folder.DIGEST) != commit.digest:
            problem = f"version {commit.version} has another digest than was acknowledged"
            yield Finding(table, problem, _RESTORE, "version-damaged")
        elif tags.get(commit.tag) != commit.version:
            state = (
                "missing" if commit.tag not in tags else "torn" if tags[commit.tag] is None else "on another"
            )
            yield Finding(
                table,
                f"the tag {commit.tag} of version {commit.version} is {state}",
                f"Delete the tag if there is one, and tag version {commit.version} as {commit.tag} again",
                {"missing": "tag-missing", "torn": "tag-torn"}.get(state, "tag-moved"),
                repair=tag_again(tables, table, commit),
            )


def _check_keys(folder: TableFolder, pointer: Commit) -> Iterator[Finding]:
    try:
        dataset = lance_folder.open_version(folder, pointer.version)
        keys = lance_folder.read_keys(dataset, pointer.key)
    except (ValueError, OSError, RuntimeError) as error:
        problem = f"the key column {pointer.key} cannot be read: {error}"
        yield Finding(pointer.table, problem, _RESTORE, "version-damaged")
        return
    try:
        lance_folder.check_unique(keys, pointer.key, pointer.table)
    except SultanaError as error:
        yield Finding(pointer.table, error.problem, error.remedy, "repeated-keys")
        return
    if len(keys) != pointer.rows:
        problem = f"version {pointer.version} has {len(keys)} rows; {pointer.rows} were acknowledged"
        yield Finding(pointer.table, problem, _RESTORE, "version-damaged")
