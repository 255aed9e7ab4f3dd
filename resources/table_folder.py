"""The files of one table, wherever they lie: in a folder of this machine or below a prefix of an object store.

Lance reads and writes rows by itself; this is what is beside that: listing, hashing and removing its files.
"""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from resources.errors import TransientError
from resources.files import sync_path
from resources.table_files import StoredFile, stored_file

_STORE_FAILED = "S3 error"
"""What Lance's errors about requests to an object store hold; it has no class for them."""


@dataclass(frozen=True)
class FoundFile:
    """A file of a table: its path below the table's folder, its bytes, when it was written to last (Unix time)."""

    path: str
    size: int
    modified: float


class TableFolder(ABC):
    """Where the files of one table lie. Paths are relative to it, with `/`; a missing place holds no file."""

    name: str
    """The folder's own name, `TABLE.lance`."""

    uri: str
    """The address by which Lance opens the table."""

    options: Mapping[str, str] | None = None
    """What Lance has to be told to do so; no secret is among it."""

    path: Path | None = None
    """The folder itself, where it is one of this machine."""

    @property
    def table(self) -> str:
        """The table's name."""
        return self.name.removesuffix(".lance")

    @abstractmethod
    def files(self, place: str = "") -> list[FoundFile]:
        """Every file below `place`, or below the folder itself, by path."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a small file. Raises FileNotFoundError where it is missing."""

    @abstractmethod
    def stored(self, path: str) -> StoredFile:
        """A file with its size and hash, read to its end. Raises FileNotFoundError where it is missing."""

    @abstractmethod
    def remove(self, paths: Collection[str]) -> None:
        """Remove files, durably; one that is missing is passed over."""

    @abstractmethod
    def probe(self) -> None:
        """Raises SultanaError where the store itself cannot be reached, whatever the state of the table."""


class LocalFolder(TableFolder):
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self.name, self.uri = path.name, str(path)

    def files(self, place: str = "") -> list[FoundFile]:
        """Every file below `place`, links among them, which are not followed."""
        found = []
        for parent, _, names in os.walk(self.path / place):
            for name in names:
                file = Path(parent) / name
                with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                    state = file.lstat()
                    relative = file.relative_to(self.path).as_posix()
                    found.append(FoundFile(relative, state.st_size, state.st_mtime))
        return sorted(found, key=lambda one: one.path)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return (self.path / path).read_bytes()

    def stored(self, path: str) -> StoredFile:
        """A file with its size and hash."""
        return stored_file(self.path, path)

    def remove(self, paths: Collection[str]) -> None:
        """Remove files, and the folder of an index that has none any more; their names are gone on the disk."""
        places = {(self.path / path).parent for path in paths}
        for path in paths:
            (self.path / path).unlink(missing_ok=True)
        for place in places:
            if not place.is_dir():
                continue
            if place.parent.name == "_indices" and not any(place.iterdir()):
                place.rmdir()
                place = place.parent
            sync_path(place)

    def probe(self) -> None:
        """A disk says what is wrong with it by itself."""


@contextlib.contextmanager
def failing_store_explained(folder: TableFolder) -> Iterator[None]:
    """Where the object store cannot be reached, a SultanaError about that in place of Lance's about the table."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, pa.ArrowInvalid) as error:
        folder.probe()
        if folder.path is None and _STORE_FAILED in str(error):
            raise TransientError(  # without its text, which can hold what the store answered
                f"The object store failed during a request about {folder.uri}",
                "Run the same command again; nothing was acknowledged",
                code="object-store-unreachable",
            ) from None
        raise
