"""Content of rows removed from every version of a table, with the new hash of each file on the record."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from resources.errors import SultanaError
from resources.files import disk_full_explained, sha256_file
from resources.index_erasure import erase_words
from resources.lance_erasure import erase_rows
from resources.rewritten import record_rewritten, states_of
from resources.table_files import stored_file
from resources.tables import LanceTables


def erase_content(
    tables: LanceTables, table: str, key: str, ids: Collection[str], columns: Sequence[str]
) -> int:
    """Empties `columns` of the rows whose `key` is one of `ids`, in every version; how many stored rows.

    Their words leave the indices of those columns. Versions, ids, tags, hashes of rows and digests stay. Raises
    SultanaError as `erase_rows` and `erase_words` do, and where a file is not the one that was written.
    """
    folder = tables.path(table)

    def replacing(file: Path, replacement: Path) -> None:
        path = file.relative_to(folder).as_posix()
        if path in known and (path, sha256_file(file)) not in states:
            raise SultanaError(
                f"The file {path} of the table {table} is not the one that was written: erasing would hide that",
                f"Restore {folder} from a backup, then give the same command again",
                code="table-file-changed",
            )
        now = replace(stored_file(replacement.parent, replacement.name), path=path)
        record_rewritten(tables.commits, table, now, "content of rows was erased")
        states.add((path, now.sha256))

    with tables.locked(table):
        states = states_of(tables.commits, table)
        known = {path for path, _ in states}
        with disk_full_explained(folder):
            rows = erase_rows(folder, key, ids, columns, replacing)
            if rows:
                erase_words(folder, columns, replacing)
        return rows
