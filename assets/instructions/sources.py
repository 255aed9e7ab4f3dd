"""What a source's address stands for: files on this machine, each with its name and the hash of its bytes."""

import glob
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from assets.instructions.hub import HUB_PREFIX, hub_files
from assets.instructions.reader import format_of_name
from resources.errors import SultanaError, TransientError
from resources.files import disk_full_explained, sha256_file
from resources.text import escape_terminal

_BLOCK = 1 << 20
_MAGIC = re.compile(r"[*?\[]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# What file systems call the version of a file; a size alone is none.
_VERSIONS = (
    *("ETag", "etag", "Content-MD5", "Digest", "version_id", "generation"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "updated"),
)
# What the datasets library writes beside the rows.
_NOT_ROWS = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"})


@dataclass(frozen=True)
class SourceFile:
    """A file of a source. `name` is relative to the source's folder and safe to show."""

    path: Path
    name: str
    uri: str
    sha256: str
    revision: str | None = None
    licence: str | None = None


def resolve(
    uri: str,
    *,
    downloads: Path,
    revision: str | None = None,
    split: str | None = None,
    subset: str | None = None,
    hub_mirror: Path | None = None,
) -> list[SourceFile]:
    """The files that `uri` stands for, sorted by name.

    A file; a folder (with all below it that a suffix recognises; hidden files are left out); a glob;
    `hf://datasets/owner/name[@revision][/glob]`; or anything that fsspec opens, copied to `downloads`.
    `split`, `subset` and `hub_mirror` are for `hf://`: see `hub.hub_files`. Raises SultanaError where
    nothing is found or reached.
    """
    if uri.startswith(HUB_PREFIX):
        found = hub_files(
            uri, revision=revision, split=split, subset=subset, mirror=hub_mirror, working_folder=downloads
        )
        return [
            SourceFile(
                path, _shown(name), f"{found.uri}/{name}", sha256_file(path), found.revision, found.licence
            )
            for name, path in found.files
        ]
    if revision is not None:
        raise SultanaError(
            f"{shown_uri(uri)} is given the revision '{revision}', but only hf:// addresses have revisions",
            "Leave 'revision' out",
            code="settings-conflict",
        )
    if is_remote(uri):
        return _remote(uri, downloads)
    uri = uri.removeprefix("file://")
    found_files = sorted(local_files(uri))
    try:
        return [SourceFile(path, _shown(name), str(path), sha256_file(path)) for name, path in found_files]
    except OSError as error:
        raise SultanaError(
            f"{error.filename or shown_uri(uri)} cannot be read: {error.strerror}",
            "Check the file and its permissions",
            code="file-unreadable",
        ) from error


def is_remote(uri: str) -> bool:
    """Whether fsspec has to open an address: it is neither a path of this machine nor `file://`."""
    uri = uri.removeprefix("file://")
    return _SCHEME.match(uri) is not None or "::" in uri


def shown_uri(uri: str) -> str:
    """An address without user, password and query, which may hold secrets."""
    if _SCHEME.match(uri):
        parts = urlsplit(uri)
        uri = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return escape_terminal(os.fsencode(uri).decode("utf-8", "backslashreplace"), 300)


def _shown(name: str) -> str:
    return escape_terminal(os.fsencode(name).decode("utf-8", "backslashreplace"))


def local_files(uri: str) -> Iterator[tuple[str, Path]]:
    """(name, path) of each file of a path, folder or glob. Raises SultanaError where there is none."""
    path = Path(uri).expanduser()
    if path.is_dir():
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
    elif path.exists():
        if not path.is_file():
            raise SultanaError(
                f"{shown_uri(uri)} is not a regular file",
                "Name a file, a folder or a glob",
                code="not-a-regular-file",
            )
        yield path.name, path
    elif _MAGIC.search(uri):
        fixed = Path(*_fixed_parts(path))
        matches = [Path(one) for one in glob.glob(str(path), recursive=True)]
        files = [one for one in matches if one.is_file()]
        if not files:
            raise SultanaError(
                f"No file matches {shown_uri(uri)}",
                "Correct the pattern of the source",
                code="source-not-found",
            )
        for one in files:
            yield one.relative_to(fixed).as_posix() if fixed.parts else one.as_posix(), one
    else:
        raise SultanaError(
            f"{shown_uri(uri)} does not exist", "Correct the path of the source", code="source-not-found"
        )


def _fixed_parts(pattern: Path) -> list[str]:
    """The leading parts of a glob that hold no pattern."""
    fixed: list[str] = []
    for part in pattern.parts[:-1]:
        if _MAGIC.search(part):
            break
        fixed.append(part)
    return fixed


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files below a folder that a suffix recognises. Raises SultanaError for a link that leads out."""
    root = folder.resolve()
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            wanted = name in folders or (
                not name.startswith(".") and name not in _NOT_ROWS and format_of_name(name) is not None
            )
            if wanted and path.is_symlink() and not path.resolve().is_relative_to(root):
                # A downloaded folder must not make rows of whatever file it points to.
                raise SultanaError(
                    f"{_shown(str(path))} is a link that leads out of the source's folder",
                    "Name the file or folder that it leads to as a source of its own, or remove the link",
                    code="path-leads-outside",
                )
            if wanted and name not in folders and path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _remote(uri: str, downloads: Path) -> list[SourceFile]:
    """The files of an fsspec address, copied."""
    shown = shown_uri(uri)
    with _remote_explained(uri):
        system, path, base, paths = _remote_paths(uri)
        files = []
        for place, one in enumerate(paths):
            name = (
                one.removeprefix(base).lstrip("/") if base else urlsplit(one).path.rpartition("/")[2] or one
            )
            # The suffix is kept, because it tells the format.
            target = (
                downloads / f"{place:06d}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}{_suffixes(name)}"
            )
            with disk_full_explained(downloads), system.open(one, "rb") as source:
                digest = hashlib.sha256()
                with target.open("wb") as copy:
                    while block := source.read(_BLOCK):
                        digest.update(block)
                        copy.write(block)
            address = shown if one == path else f"{urlsplit(shown).scheme}://{one.lstrip('/')}"
            files.append(SourceFile(target, _shown(name), address, digest.hexdigest()))
    return files


def remote_state(uri: str) -> list[list[Any]]:
    """What an fsspec address says of its files without their content: name, size, and version where it is told.

    The version is None where the server tells neither an entity tag nor a time. Raises SultanaError.
    """
    with _remote_explained(uri):
        system, _, base, paths = _remote_paths(uri)
        found = []
        for one in paths:
            told = system.info(one)
            versions = [str(told[name]) for name in _VERSIONS if told.get(name) is not None]
            found.append([one.removeprefix(base), told.get("size"), versions or None])
    return found


def _remote_paths(uri: str) -> tuple[Any, str, str, list[str]]:
    """The file system of an fsspec address, its path there, the folder that names are relative to, the files."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(uri)
    system.invalidate_cache()  # file systems live as long as the process, and remember listings
    # In a web address `?` begins a query, and a page that lists files is not a folder.
    if uri.startswith(("http://", "https://")):
        base, paths = "", [path]
    elif _MAGIC.search(path):
        base = str(Path(*_fixed_parts(Path(path))))
        paths = [one for one in system.glob(path) if system.isfile(one)]
    elif system.isdir(path):
        base = path
        paths = [one for one in system.find(path) if format_of_name(one) and Path(one).name not in _NOT_ROWS]
    else:
        base, paths = "", [path]
    if not paths:
        raise SultanaError(
            f"{shown_uri(uri)} has no file to read",
            "Correct the address of the source",
            code="source-not-found",
        )
    return system, path, base, sorted(paths)


@contextmanager
def _remote_explained(uri: str) -> Iterator[None]:
    import aiohttp

    shown = shown_uri(uri)
    try:
        yield
    except (OSError, ValueError, ImportError, RuntimeError, aiohttp.ClientError) as error:
        reason = _ADDRESS.sub(lambda found: shown_uri(found.group()), str(error)) or type(error).__name__
        # fsspec says "not found" of every failure over http, and has the true one as its cause.
        told = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
        lasting = isinstance(told, FileNotFoundError | PermissionError | ValueError | ImportError)
        status = getattr(told, "status", 400 if lasting else 503)
        passing = status == 429 or status >= 500
        # Not chained: the first error may spell out the secrets of the address.
        raise (TransientError if passing else SultanaError)(
            f"{shown} cannot be read: {escape_terminal(reason, 200)}",
            "Check the address, the network and the credentials that fsspec needs for it",
            code="source-unreachable",
        ) from None


def _suffixes(name: str) -> str:
    return "".join(Path(name).suffixes[-2:]) if re.fullmatch(r"[\w./\- ]*", name) else Path(name).suffix
