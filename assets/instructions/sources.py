"""What a source's address stands for: files on this machine, each with its name and the hash of its bytes."""

import glob
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from assets.instructions.addresses import (
    MAGIC,
    NOT_ROWS,
    check_uri,
    fixed_parts,
    is_remote,
    local_path,
    shown_name,
    shown_uri,
)
from assets.instructions.hub import HUB_PREFIX, hub_files
from assets.instructions.reader import format_of_name
from assets.instructions.remote import copied
from resources.errors import SultanaError
from resources.files import sha256_file

__all__ = ["Hashes", "SourceFile", "check_unchanged", "local_files", "resolve", "shown_uri"]


@dataclass(frozen=True)
class SourceFile:
    """A file of a source. `name` is relative to the source's folder and safe to show.

    `state` is what the system said of the file before it was hashed: see `check_unchanged`.
    """

    path: Path
    name: str
    uri: str
    sha256: str
    revision: str | None = None
    licence: str | None = None
    state: tuple[int, ...] = ()


class Hashes:
    """SHA-256 of files by what the system says of them, so that a look at ten thousand files reads the changed ones.

    For looks only: what a run records is hashed by that run. A file that changed within the last two seconds is
    not remembered, because the system's clock may not tell its next change from its last.
    """

    def __init__(self, most: int = 200_000) -> None:
        self._most = most
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, path: Path, state: tuple[int, ...]) -> str:
        """The hash of a file whose state is `state`."""
        if found := self._known.get(state):
            return found
        if len(self._known) >= self._most:
            self._known.clear()
        found = sha256_file(path)
        if _state(path) == state and time.time_ns() - max(state[-2:]) > _SETTLED_NANOSECONDS:
            self._known[state] = found
        return found


_SETTLED_NANOSECONDS = 2_000_000_000


def resolve(
    uri: str,
    *,
    downloads: Path,
    revision: str | None = None,
    split: str | None = None,
    subset: str | None = None,
    hub_mirror: Path | None = None,
    hashes: Hashes | None = None,
) -> list[SourceFile]:
    """The files that `uri` stands for, sorted by name.

    A file; a folder (with all below it that a suffix recognises; hidden files are left out); a glob;
    `hf://datasets/owner/name[@revision][/glob]`; or an address of `remote.SCHEMES`, copied to `downloads`.
    `split`, `subset` and `hub_mirror` are for `hf://`: see `hub.hub_files`. `hashes`: those known already.
    Raises SultanaError where nothing is found or reached.
    """
    check_uri(uri)
    if uri.startswith(HUB_PREFIX):
        found = hub_files(
            uri, revision=revision, split=split, subset=subset, mirror=hub_mirror, working_folder=downloads
        )
        with _unreadable_explained(uri):
            return [
                _hashed(path, name, f"{found.uri}/{name}", hashes, found.revision, found.licence)
                for name, path in found.files
            ]
    if revision is not None:
        raise SultanaError(
            f"{shown_uri(uri)} is given a revision, but only hf:// addresses have revisions",
            "Leave 'revision' out",
            code="settings-conflict",
        )
    if is_remote(uri):
        return [
            SourceFile(one.path, one.name, one.uri, one.sha256, state=_state(one.path))
            for one in copied(uri, downloads)
        ]
    with _unreadable_explained(uri):
        return [_hashed(path, name, str(path), hashes) for name, path in sorted(local_files(uri))]


def _hashed(
    path: Path,
    name: str,
    uri: str,
    hashes: Hashes | None,
    revision: str | None = None,
    licence: str | None = None,
) -> SourceFile:
    state = _state(path)
    sha256 = hashes.of(path, state) if hashes else sha256_file(path)
    return SourceFile(path, shown_name(name), uri, sha256, revision, licence, state)


def _state(path: Path) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def check_unchanged(file: SourceFile, source: str) -> None:
    """Raise SultanaError where a file is not what it was when it was hashed: its rows would be another's."""
    try:
        same = _state(file.path) == file.state
    except FileNotFoundError:
        same = False
    if not same:
        raise SultanaError(
            f"{file.name} of the source '{source}' changed while it was read",
            "Read it again when nothing writes to it any more",
            code="source-changed",
        )


@contextmanager
def _unreadable_explained(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else uri
        raise SultanaError(
            f"{shown_uri(named)} cannot be read: {error.strerror or error}",
            "Check the path and its permissions",
            code="file-unreadable",
        ) from error


def local_files(uri: str) -> Iterator[tuple[str, Path]]:
    """(name, path) of each file of a path, folder or glob, with `file://` before it or not.

    Raises SultanaError where there is none, and where one leads out of the source's folder, is no regular file
    or cannot be seen: a file that is left out without a word is rows that are missing without a word.
    """
    uri = local_path(uri)
    with _unreadable_explained(uri):
        yield from _found(uri)


def _found(uri: str) -> Iterator[tuple[str, Path]]:
    try:
        path = Path(uri).expanduser()
    except RuntimeError:
        raise SultanaError(
            f"{shown_uri(uri)} is in the home folder of nobody",
            "Write the whole path",
            code="source-not-found",
        ) from None
    state = _stat(path)
    if any(_real(path).is_relative_to(view) for view in ("/proc", "/sys")):
        raise SultanaError(
            f"{shown_uri(uri)} is no file but a view on this machine",
            "Name a file, a folder or a glob",
            code="not-a-regular-file",
        )
    if not uri:
        raise SultanaError(
            "The source has an empty path", "Name a file, folder or glob", code="source-not-found"
        )
    if state is not None and stat.S_ISDIR(state.st_mode):
        found = False
        for name, one in _walk(path):
            found = True
            yield name, one
        if not found:
            raise SultanaError(
                f"The folder {shown_uri(uri)} has no file to read",
                "Expected files ending in .jsonl, .json, .csv, .tsv or .parquet, also with .gz or .zst",
                code="source-not-found",
            )
    elif state is not None:
        if not stat.S_ISREG(state.st_mode):
            raise SultanaError(
                f"{shown_uri(uri)} is not a regular file",
                "Name a file, a folder or a glob",
                code="not-a-regular-file",
            )
        yield path.name, path
    elif MAGIC.search(uri):
        yield from _matches(path, uri)
    else:
        raise SultanaError(
            f"{shown_uri(uri)} does not exist", "Correct the path of the source", code="source-not-found"
        )


def _real(path: Path) -> Path:
    """Where a path leads, through all links; unlike `Path.resolve` also where they lead in a circle."""
    return Path(os.path.realpath(path))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _matches(pattern: Path, uri: str) -> Iterator[tuple[str, Path]]:
    """The files that a glob matches; folders among the matches are passed over."""
    root = Path(*fixed_parts(pattern))
    matches = [Path(one) for one in glob.glob(str(pattern), recursive=True)]
    files = [one for one in matches if not one.is_dir()]
    if not files:
        raise SultanaError(
            f"No file matches {shown_uri(uri)}", "Correct the pattern of the source", code="source-not-found"
        )
    inside = _real(root)
    for one in files:
        _check_inside(one, inside)
        yield one.relative_to(root).as_posix() if root.parts else one.as_posix(), one


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files below a folder that a suffix recognises."""
    root = _real(folder)

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            if name in folders:
                if path.is_symlink():
                    _check_inside(path, root)
            elif not name.startswith(".") and name not in NOT_ROWS and format_of_name(name) is not None:
                _check_inside(path, root)
                yield path.relative_to(folder).as_posix(), path


def _check_inside(path: Path, root: Path) -> None:
    """Raise SultanaError for a link that leads out of `root`, and for what is neither a file nor a folder."""
    if path.is_symlink() and not _real(path).is_relative_to(root):
        # A downloaded folder must not make rows of whatever file it points to.
        raise SultanaError(
            f"{shown_name(str(path))} is a link that leads out of the source's folder",
            "Name the file or folder that it leads to as a source of its own, or remove the link",
            code="path-leads-outside",
        )
    if not path.is_file() and not path.is_dir():
        raise SultanaError(
            f"{shown_name(str(path))} is not a regular file, or a link to nothing",
            "Remove it from the source's folder, or name the files that are meant",
            code="not-a-regular-file",
        )
