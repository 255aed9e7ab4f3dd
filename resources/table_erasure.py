"""Content of rows removed from every version of a table, with the new hash of each file on the record."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from resources.errors import SultanaError
from resources.files import sha256_file
from resources.lance_erasure import erase_rows
from resources.rewritten import record_rewritten, states_of
from resources.table_files import StoredFile
from resources.tables import LanceTables


def erase_content(
    tables: LanceTables, table: str, key: str, ids: Collection[str], columns: Sequence[str]
) -> int:
    """Empties `columns` of the rows whose `key` is one of `ids`, in every version; how many stored rows.

    Versions, ids, tags, hashes of rows and digests stay. Raises SultanaError as `lance_erasure.erase_rows` does, and
    where a file is not the one that was written.
    """
    folder = tables.path(table)

    def replacing(file: Path, content: bytes) -> None:
        path = file.relative_to(folder).as_posix()
        if path in known and (path, sha256_file(file)) not in states:
            raise SultanaError(
                f"The file {path} of the table {table} is not the one that was written: erasing would hide that",
                f"Restore {folder} from a backup, then give the same command again",
            )
        now = StoredFile(path, len(content), hashlib.sha256(content).hexdigest())
        record_rewritten(tables.commits, table, now, "content of rows was erased")
        states.add((path, now.sha256))

    with tables.locked(table):
        states = states_of(tables.commits, table)
        known = {path for path, _ in states}
        return erase_rows(folder, key, ids, columns, replacing)
