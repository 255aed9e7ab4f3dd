"""The hashes of a model's files, and whether the files are still those that were hashed.

Hashing takes a second for half a gigabyte and loading happens many times, so files are hashed once in a process;
after that the system tells whether any was written to or replaced (see `files.file_states`). Asked before and
after loading, that leaves no moment in which a file can be exchanged unnoticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.errors import SultanaError
from resources.files import MANIFEST, file_states, sha256_file
from resources.text import escape_terminal


@dataclass(frozen=True)
class HashedFiles:
    """SHA-256 (hexadecimal) by relative POSIX name, `MANIFEST.json` left out, and the files' states before."""

    folder: Path
    hashes: dict[str, str]
    states: list[list[Any]]

    def renewed(self) -> "HashedFiles":
        """The same hashes with the states of now, to ask before loading.

        A state also changes where a file gets another name or other rights, so files whose state differs are
        hashed again. Raises SultanaError where the content of one does.
        """
        if file_states(_files(self.folder)) == self.states:
            return self
        again = hash_files(self.folder)
        if again.hashes != self.hashes:
            raise self._changed(again.hashes, self.hashes)
        return again

    def check(self) -> None:
        """Raise SultanaError where a file was touched, replaced, added or removed meanwhile; to ask after loading."""
        now = file_states(_files(self.folder))
        if now != self.states:
            before, after = ({name: state for name, *state in states} for states in (self.states, now))
            raise self._changed(before, after)

    def _changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> SultanaError:
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return SultanaError(
            f"{escape_terminal(str(self.folder / names[0]), 300)} has changed since it was hashed: "
            "nothing is loaded from that folder",
            "Leave a model's files alone while it is in use; start again with the files as they are now",
            code="model-files-changed",
        )


def hash_files(folder: Path) -> HashedFiles:
    """Hash every file below `folder`, through links: the Hub's cache keeps its files elsewhere.

    Raises SultanaError where a file changes meanwhile.
    """
    states = file_states(_files(folder))
    hashed = HashedFiles(folder, {name: sha256_file(path) for name, path in _files(folder)}, states)
    hashed.check()
    return hashed


def _files(folder: Path) -> list[tuple[str, Path]]:
    return [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    ]
