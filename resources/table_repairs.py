"""What mends a table without touching a version that was acknowledged. Each looks again under the writer lock."""

import shutil

from resources import lance_folder
from resources.commits import Commit
from resources.errors import SultanaError
from resources.files import sync_filesystem, sync_path
from resources.findings import Repair
from resources.orphans import files_of_no_version, remove_files
from resources.table_folder import FoundFile, TableFolder
from resources.tables import LanceTables


def remove_phantom(tables: LanceTables, table: str) -> Repair:
    """For a folder of which no version was ever acknowledged, nor can be read."""

    def mend() -> None:
        with tables.locked(table):
            folder = tables.folder(table)
            versions = lance_folder.versions_on_disk(folder)
            readable = any(lance_folder.readable_properties(folder, one) for one in versions)
            if readable or tables.commits.head(table) is not None:
                raise _written_since(table)
            _remove_folder(folder)

    return Repair(f"remove {tables.folder(table).uri}", mend)


def remove_head(tables: LanceTables, table: str, *, unreadable_only: bool = False) -> Repair:
    """For versions above the one acknowledged last; the folder as well, where none is acknowledged."""

    def mend() -> None:
        with tables.locked(table):
            folder, commit = tables.folder(table), tables.commits.head(table)
            for version in lance_folder.versions_on_disk(folder):
                if version <= (commit.version if commit else 0):
                    break
                readable = lance_folder.readable_properties(folder, version) is not None
                if readable and unreadable_only:
                    continue
                if readable and writer_of(folder, version) is None:
                    raise _written_since(table)
                lance_folder.remove_version(folder, version)
            if commit is None:
                _remove_folder(folder)

    kind = "unreadable versions" if unreadable_only else "versions"
    return Repair(f"remove the {kind} of {table} above the acknowledged one", mend)


def writer_of(folder: TableFolder, version: int) -> str | None:
    """The asset for which Sultana wrote a version that can be read; None where another program did.

    A write that goes on from an older version brings that one back first, and Lance's commit of that says nothing.
    """
    stored = lance_folder.readable_properties(folder, version) or {}
    if lance_folder.IDEMPOTENCY_KEY in stored:
        return stored[lance_folder.ASSET_KEY]
    operation = lance_folder.open_version(folder, version).read_transaction(version).operation
    return "a write that was killed" if type(operation).__name__ == "Restore" else None


def tag_again(tables: LanceTables, table: str, commit: Commit) -> Repair:
    """For a version without the tag that its commit names."""

    def mend() -> None:
        with tables.locked(table):
            folder = tables.folder(table)
            lance_folder.set_tag(folder, lance_folder.open_version(folder, commit.version), commit.tag)
            if folder.path is not None:
                sync_filesystem(folder.path)

    return Repair(f"tag version {commit.version} of {table} as {commit.tag}", mend, quiet=False)


def let_stand(tables: LanceTables, table: str) -> Repair:
    """For a table in an object store of which the commit log is behind: what the log says is to count."""

    def mend() -> None:
        with tables.locked(table):
            tables.place.let_stand(table, tables.commits.head(table))

    return Repair(f"take the commit log for the newest of {table}", mend, quiet=False)


def orphans(tables: LanceTables, table: str) -> list[FoundFile]:
    """Files that no version on disk and no acknowledged version has; none while somebody writes the table.

    None, too, where the files of a version cannot be listed: then nothing is known.
    """
    try:
        with tables.locked(table, wait=0.0):
            return files_of_no_version(tables, table)
    except (SultanaError, ValueError, OSError, RuntimeError):  # Lance has no class for what it cannot read
        return []


def remove_orphans(tables: LanceTables, table: str) -> Repair:
    """For files that no version has."""

    def mend() -> None:
        with tables.locked(table):
            remove_files(tables.folder(table), files_of_no_version(tables, table))

    return Repair(f"remove the files in {tables.folder(table).uri} that belong to no version", mend)


def _remove_folder(folder: TableFolder) -> None:
    if folder.path is None:
        folder.remove([one.path for one in folder.files()])
        return
    shutil.rmtree(folder.path)  # refuses a link
    sync_path(folder.path.parent)


def _written_since(table: str) -> SultanaError:
    return SultanaError(
        f"The table {table} was written since it was examined",
        "Run `sultana doctor` again",
        code="written-meanwhile",
    )
