"""Sources behind an address: which addresses are opened, and their files copied to this machine.

Opened are web addresses and object stores that fsspec knows, each by itself. Chains (`zip://…::…`), file systems
that stand for other places (`local://`, `reference://`, `simplecache::`) and whatever else fsspec may have
are not: an address in a configuration must not name a file of this machine or a server of its network.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from assets.instructions.addresses import MAGIC, NOT_ROWS, SCHEME, fixed_parts, shown_name, shown_uri
from assets.instructions.reader import format_of_name
from resources.errors import SultanaError, TransientError
from resources.files import disk_full_explained
from resources.outward import ALLOWED, InwardError, outward_client
from resources.text import escape_terminal

SCHEMES = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""The schemes of addresses that are opened, besides `hf://` and `file://`."""

_WEB = ("http", "https")
_BLOCK = 1 << 20
_LEFT_FREE = 1 << 30
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s'\"]+")
# What file systems call the version of a file; a size alone is none.
_VERSIONS = (
    *("ETag", "etag", "Content-MD5", "Digest", "version_id", "generation"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "updated"),
)


@dataclass(frozen=True)
class RemoteFile:
    """A file that was copied here: its copy, its name safe to show, its address and the SHA-256 of its bytes."""

    path: Path
    name: str
    uri: str
    sha256: str


def check_scheme(uri: str) -> None:
    """Raise SultanaError where an address is none that is opened."""
    found = SCHEME.match(uri)
    scheme = found.group()[:-3].lower() if found else ""
    if scheme in SCHEMES and (scheme in _WEB or "::" not in uri):
        return
    raise SultanaError(
        f"{shown_uri(uri)} is no address that is opened",
        f"Use {', '.join(f'{one}://' for one in SCHEMES[:-1])} or hf://, one address by itself, or fetch the "
        "file and name it by its path",
        code="address-not-allowed",
    )


def copied(uri: str, downloads: Path) -> list[RemoteFile]:
    """The files of an address, copied to `downloads`. Raises SultanaError."""
    shown = shown_uri(uri)
    with _explained(uri):
        system, path, base, paths = _paths(uri)
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
                        _check_room(downloads, shown)
                        digest.update(block)
                        copy.write(block)
            address = shown if one == path else f"{urlsplit(shown).scheme}://{one.lstrip('/')}"
            files.append(RemoteFile(target, shown_name(name), address, digest.hexdigest()))
    return files


def _check_room(folder: Path, shown: str) -> None:
    """Raise SultanaError before an endless answer fills the disk for everybody."""
    if shutil.disk_usage(folder).free < _LEFT_FREE:
        raise SultanaError(
            f"{shown} does not fit on the disk that holds {folder}: less than 1 GiB would be left free",
            "Free some space, set TMPDIR to a folder on a larger disk, or correct the address",
            code="disk-full",
        )


def remote_state(uri: str) -> list[list[Any]]:
    """What an address says of its files without their content: name, size, and version where it is told.

    The version is None where the server tells neither an entity tag nor a time. Raises SultanaError.
    """
    with _explained(uri):
        system, _, base, paths = _paths(uri)
        found = []
        for one in paths:
            told = system.info(one)
            versions = [str(told[name]) for name in _VERSIONS if told.get(name) is not None]
            found.append([one.removeprefix(base), told.get("size"), versions or None])
    return found


def _paths(uri: str) -> tuple[Any, str, str, list[str]]:
    """The file system of an address, its path there, the folder that names are relative to, the files."""
    import fsspec
    from fsspec.core import url_to_fs

    check_scheme(uri)
    scheme, rest = uri.split("://", 1)
    uri = f"{scheme.lower()}://{rest}"
    if uri.startswith(tuple(f"{one}://" for one in _WEB)):
        # In a web address `?` begins a query, and a page that lists files is not a folder. Not the file system
        # that another part of the process may have made, with another client.
        return (
            fsspec.filesystem("http", get_client=outward_client, skip_instance_cache=True),
            *(uri, "", [uri]),
        )
    system, path = url_to_fs(uri)
    system.invalidate_cache()  # file systems live as long as the process, and remember listings
    if MAGIC.search(path):
        base = str(Path(*fixed_parts(Path(path))))
        paths = [one for one in system.glob(path) if system.isfile(one)]
    elif system.isdir(path):
        base = path
        paths = [one for one in system.find(path) if format_of_name(one) and Path(one).name not in NOT_ROWS]
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
def _explained(uri: str) -> Iterator[None]:
    import aiohttp

    shown = shown_uri(uri)
    try:
        yield
    except (
        *(OSError, ValueError, ImportError, RuntimeError, TypeError, LookupError),
        aiohttp.ClientError,
    ) as error:
        if any(isinstance(one, InwardError) for one in _chain(error)):
            raise SultanaError(
                f"{shown} leads to this machine or its network, where sources are not read from",
                f"Fetch the file and name it by its path, or name the network in {ALLOWED} if you trust its servers",
                code="address-leads-inward",
            ) from None
        reason = _ADDRESS.sub(lambda found: shown_uri(found.group()), str(error)[:2000])
        # fsspec says "not found" of every failure over http, and has the true one as its cause.
        told = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
        lasting = isinstance(
            told, FileNotFoundError | PermissionError | ValueError | ImportError | TypeError | LookupError
        )
        status = getattr(told, "status", 400 if lasting else 503)
        passing = status == 429 or status >= 500
        # Not chained: the first error may spell out the secrets of the address.
        raise (TransientError if passing else SultanaError)(
            f"{shown} cannot be read: {escape_terminal(reason or type(error).__name__, 200)}",
            "Check the address, the network and the credentials that fsspec needs for it",
            code="source-unreachable",
        ) from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it came from."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or getattr(error, "os_error", None) or error.__context__


def _suffixes(name: str) -> str:
    suffixes = "".join(Path(name).suffixes[-2:]) if re.fullmatch(r"[\w./\- ]*", name) else Path(name).suffix
    return suffixes if len(suffixes) <= 40 and "\0" not in suffixes else ""
