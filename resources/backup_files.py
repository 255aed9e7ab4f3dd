"""A backup as files: copied or linked with their hashes, listed in a manifest that is written last.

A backup is a folder of its own below the place of backups, under the time at which it was made. It gets its name only
when it is whole; until then it is `.partial-…`, and nothing takes that for a backup. A file that the backup before has
already is linked to, not copied: it is the same file on the disk.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from resources.data_format import FORMAT
from resources.errors import SultanaError
from resources.files import sha256_file, sync_path, write_atomically

MANIFEST = "BACKUP.json"
PARTIAL = ".partial-"
_BLOCK = 1 << 20


@dataclass
class Copying:
    """A backup that is being made in `folder`, after the one `before`.

    `files` maps relative POSIX path -> (bytes, SHA-256) of what is in it.
    """

    folder: Path
    before: Path | None
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    """The paths that were linked to instead of copied; what they link to was read to its end."""
    _known: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.before is not None:
            self._known = files_of(read_manifest(self.before))

    def add(self, path: str, source: Path, expected: tuple[int, str] | None = None) -> None:
        """Take in a file; what its content must be, where that is known, is (bytes, SHA-256).

        Raises FileNotFoundError where it is gone, SultanaError where its content is another one.
        """
        target = self._target(path)
        if expected is not None and self._link(path, target, expected):
            return
        if expected is None and path in self._known:
            now = (source.stat().st_size, sha256_file(source))
            if self._link(path, target, now):
                return
        found = _copy(source, target)
        if expected is not None and found != expected:
            raise SultanaError(
                f"{source} is not the file that was acknowledged: a backup of it would hide that",
                "Run `sultana doctor`; restore what is damaged from an earlier backup, and give the command again",
                code="backup-of-damage",
            )
        self.files[path] = found

    def made(self, path: str) -> None:
        """Take in a file that was written into the folder already."""
        file = self.folder / path
        content = (file.stat().st_size, sha256_file(file))
        if not self._link(path, file, content):
            self.files[path] = content

    def place(self, path: str) -> Path:
        """Where a file of the backup is to be written, its folder made."""
        return self._target(path)

    def _target(self, path: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _link(self, path: str, target: Path, content: tuple[int, str]) -> bool:
        if self.before is None or self._known.get(path) != content:
            return False
        earlier, beside = self.before / path, target.with_name(f"{target.name[:100]}.link")
        try:
            found = (earlier.stat().st_size, "" if earlier.is_symlink() else sha256_file(earlier))
            if found != content:  # the earlier backup was damaged
                return False
            os.link(earlier, beside)
        except OSError:  # it is gone, or the file system has no links: then it is copied
            return False
        beside.replace(target)
        self.files[path] = content
        self.linked.add(path)
        return True


def _copy(source: Path, target: Path) -> tuple[int, str]:
    value, size = hashlib.sha256(), 0
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as written, source.open("rb") as read:
        while block := read.read(_BLOCK):
            value.update(block)
            size += len(block)
            written.write(block)
    return size, value.hexdigest()


def write_manifest(folder: Path, files: Mapping[str, tuple[int, str]], about: Mapping[str, Any]) -> None:
    """The last file of a backup: what it holds, and its own hash."""
    document = {
        **about,
        "data_format": FORMAT,
        "files": {path: {"bytes": size, "sha256": value} for path, (size, value) in sorted(files.items())},
    }
    write_atomically(
        folder / MANIFEST, json.dumps({**document, "sha256": _digest(document)}, indent=1).encode()
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a backup. Raises SultanaError where it is missing, torn, changed, or of another form."""
    try:
        document = json.loads((folder / MANIFEST).read_bytes())
        said = document.pop("sha256")
        whole = said == _digest(document)
    except (OSError, ValueError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise SultanaError(
            f"{folder} is no whole backup: its {MANIFEST} is missing, torn or was changed",
            "Give the folder of another backup",
            code="backup-torn",
        )
    if document["data_format"] != FORMAT:
        raise SultanaError(
            f"The backup {folder} has the form {document['data_format']}; this release knows {FORMAT}",
            "Restore it with the release that made it",
            code="backup-of-other-release",
        )
    for path in document["files"]:
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or PurePosixPath(path).is_absolute():
            raise SultanaError(
                f"The backup {folder} names a file outside of itself",
                "Give another backup",
                code="backup-torn",
            )
    return dict(document)


def files_of(manifest: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Relative POSIX path -> (bytes, SHA-256) of the files of a backup."""
    return {path: (int(one["bytes"]), str(one["sha256"])) for path, one in manifest["files"].items()}


def check_backup(folder: Path, files: Mapping[str, tuple[int, str]]) -> None:
    """Read every file of a backup; SultanaError names the first that is missing or not as it was written."""
    for path, (size, value) in files.items():
        file = folder / path
        if file.is_symlink() or not file.is_file():
            state = "is missing"
        elif file.stat().st_size != size or sha256_file(file) != value:
            state = "was changed"
        else:
            continue
        raise SultanaError(
            f"The file {path} of the backup {folder} {state}",
            "Take another backup; the same file can be damaged in each that links to it",
            code="backup-damaged",
        )


def backups(place: Path) -> Iterator[Path]:
    """The backups in a folder, the newest first, whole or not; without those that were never finished."""
    found = (path for path in place.iterdir() if path.is_dir() and not path.name.startswith("."))
    yield from sorted((path for path in found if (path / MANIFEST).is_file()), reverse=True)


def newest_whole(place: Path) -> Path | None:
    """The newest backup whose manifest is whole."""
    for folder in backups(place):
        try:
            read_manifest(folder)
        except SultanaError:
            continue
        return folder
    return None


def finish(partial: Path, final: Path) -> None:
    """Give a backup its name, for good."""
    partial.rename(final)
    sync_path(final.parent)


def copy_verified(source: Path, target: Path, expected: tuple[int, str]) -> None:
    """Copy a file of a backup back; SultanaError where what was read is not what the manifest says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if _copy(source, target) != expected:
        raise SultanaError(
            f"{source} was changed since it was checked", "Take another backup", code="backup-damaged"
        )


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=True).encode("ascii")).hexdigest()
