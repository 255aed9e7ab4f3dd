"""The files that one version of a Lance table is made of, with their hashes: what finds a flipped bit anywhere."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from resources.files import sha256_file

if TYPE_CHECKING:
    from lance import LanceDataset

    from resources.table_folder import TableFolder


ROWS = "data/"
"""Where Lance keeps the files that hold rows, below a table's folder."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a table: its path below the table's folder, its bytes, its SHA-256 (64 hexadecimal digits)."""

    path: str
    size: int
    sha256: str


def files_of(
    dataset: "LanceDataset", folder: "TableFolder", known: Mapping[str, StoredFile]
) -> tuple[StoredFile, ...]:
    """Every file of the opened version, which is the newest: manifest, rows, deletions, indices; by path.

    Lance gives a file of rows a name that no other has, and never writes it again: one that is `known` is not read.
    """
    tracked = dataset.tracked_files(min_version=dataset.version).read_all()
    paths = tracked.filter(pc.equal(tracked["version"], dataset.version))["path"].to_pylist()
    return tuple(
        known[path] if path in known and path.startswith(ROWS) else folder.stored(path)
        for path in sorted(set(paths))
    )


def stored_file(folder: Path, path: str) -> StoredFile:
    """The file as it is on disk. Raises OSError where it cannot be read."""
    file = folder / path
    return StoredFile(path, file.stat().st_size, sha256_file(file))


def files_digest(files: Iterable[StoredFile]) -> str:
    """SHA-256 of a version's files: 64 hexadecimal digits."""
    found = hashlib.sha256()
    for one in sorted(files, key=lambda one: one.path):
        found.update(f"{one.path}\0{one.size}\0{one.sha256}\n".encode())
    return found.hexdigest()


def changed_files(folder: "TableFolder", files: Iterable[StoredFile]) -> dict[str, str]:
    """What is wrong with each file that is not as it was written: path -> problem in words."""
    found = {}
    for one in files:
        try:
            now = folder.stored(one.path)
        except FileNotFoundError:
            found[one.path] = "is missing"
            continue
        except OSError as error:
            found[one.path] = f"cannot be read: {error}"
            continue
        if now.size != one.size:
            found[one.path] = f"has {now.size:,} bytes; {one.size:,} were written"
        elif now.sha256 != one.sha256:
            found[one.path] = "was changed: its SHA-256 is not that of what was written"
    return found
