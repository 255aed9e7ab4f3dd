"""The hashes of a model's files, and whether the files are still those that were hashed.

Hashing takes a second for half a gigabyte and loading happens many times, so files are hashed once in a process;
after that the system tells whether any was written to or replaced (see `files.file_states`). Asked before and
after loading, that leaves no moment in which a file can be exchanged unnoticed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from resources.errors import SultanaError
from resources.files import MANIFEST, file_states, sha256_file
from resources.text import escape_terminal

_ATTEMPTS = 3

_Loaded = TypeVar("_Loaded")


@dataclass(frozen=True)
class HashedFiles:
    """SHA-256 (hexadecimal) by relative POSIX name, `MANIFEST.json` left out, and the files' states before."""

    folder: Path
    hashes: dict[str, str]
    states: list[list[Any]]

    def load(self, opened: Callable[[], _Loaded]) -> tuple[_Loaded, "HashedFiles"]:
        """What `opened` makes of the files, and the hashes with the states of now.

        A state also changes where a file gets another name or other rights (a backup by links does that to each).
        What was read meanwhile is not used then: it is hashed again, and opened again where no content differs.
        Raises SultanaError where one does, or the states go on changing.
        """
        hashed = self._renewed()
        for left in reversed(range(_ATTEMPTS)):
            loaded = opened()
            if hashed.are_untouched():
                return loaded, hashed
            del loaded  # a model takes memory
            if left:
                hashed = hashed._renewed()
        raise hashed._touched()

    def are_untouched(self) -> bool:
        """Whether no file was touched, replaced, added or removed meanwhile."""
        return file_states(_files(self.folder)) == self.states

    def _renewed(self) -> "HashedFiles":
        """The same hashes with the states of now. Raises SultanaError where the content of a file differs."""
        if self.are_untouched():
            return self
        again = hash_files(self.folder)
        if again.hashes != self.hashes:
            raise self._changed(again.hashes, self.hashes)
        return again

    def _touched(self) -> SultanaError:
        now = file_states(_files(self.folder))
        before, after = ({name: state for name, *state in states} for states in (self.states, now))
        return self._changed(before, after)

    def _changed(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> SultanaError:
        # None where a file came and went again: then the folder is named.
        names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        return SultanaError(
            f"{escape_terminal(str(self.folder.joinpath(*names[:1])), 300)} has changed since it was hashed: "
            "nothing is loaded from that folder",
            "Leave a model's files alone while it is in use; start again with the files as they are now",
            code="model-files-changed",
        )


def hash_files(folder: Path) -> HashedFiles:
    """Hash every file below `folder`, through links: the Hub's cache keeps its files elsewhere.

    Raises SultanaError where files go on changing meanwhile.
    """
    for _ in range(_ATTEMPTS):
        states = file_states(_files(folder))
        hashed = HashedFiles(folder, {name: sha256_file(path) for name, path in _files(folder)}, states)
        if hashed.are_untouched():
            return hashed
    raise hashed._touched()


def _files(folder: Path) -> list[tuple[str, Path]]:
    return [
        (path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    ]
