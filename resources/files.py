"""Files that are either whole or absent, after a kill and after a power cut.

Every publication is the same four steps: write to the side, sync, rename, sync the folder. A rename
without the first sync may publish a name before its content; without the second it may be forgotten.
"""

import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from resources.errors import SultanaError

MANIFEST = "MANIFEST.json"
_BLOCK = 1 << 20
_DISK_FULL_TEXTS = ("no space left on device", "os error 28", "disk quota exceeded", "disk is full")
DISK_REMEDY = (
    "Free some space, or use a folder on a larger disk (SULTANA_DATA names the data folder), and run it again"
)
_DISK_FAILING_TEXT = "os error 5)"


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, of Python or of a library that only passes the text on, says the disk is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(text in str(error).lower() for text in _DISK_FULL_TEXTS)


def disk_full(folder: Path) -> SultanaError:
    """The error for a full disk that holds `folder`."""
    return SultanaError(
        f"The disk that holds {folder} is full; nothing that was stored before is lost",
        DISK_REMEDY,
        code="disk-full",
    )


@contextlib.contextmanager
def disk_full_explained(folder: Path) -> Iterator[None]:
    """Turn a full disk into a SultanaError that names the folder; other errors pass unchanged."""
    try:
        yield
    except SultanaError:
        raise
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise disk_full(folder) from error


@contextlib.contextmanager
def failing_disk_explained(folder: Path) -> Iterator[None]:
    """Turn what a failing disk answers into a SultanaError that names the folder; other errors pass unchanged."""
    try:
        yield
    except SultanaError:
        raise
    except Exception as error:
        if not (getattr(error, "errno", None) == errno.EIO or _DISK_FAILING_TEXT in str(error).lower()):
            raise
        raise SultanaError(
            f"The disk that holds {folder} failed: {error}; nothing was acknowledged",
            "Look at the system's log, and move the folder to a sound disk before you run it again",
            code="machine-fault",
        ) from error


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def sync_filesystem(path: Path) -> None:
    """Wait until everything below the folder `path` is on the disk, and its own name.

    Lance issues no sync of its own. One call for the whole file system is the quickest; where there is none,
    every file and folder is synced. Raises OSError where the system reports a lost write.
    """
    call = getattr(_libc(), "syncfs", None)
    code = errno.ENOSYS  # what a system without it would say, were it asked
    if call is not None:
        handle = os.open(path, os.O_RDONLY)
        try:
            code = ctypes.get_errno() if call(handle) != 0 else 0
        finally:
            os.close(handle)
    if code in (errno.ENOSYS, errno.EOPNOTSUPP):
        sync_tree(path)
        sync_path(path.parent)
    elif code:
        raise OSError(code, os.strerror(code), str(path))


def sync_tree(folder: Path) -> None:
    """Wait until every file below `folder` is on the disk, and its name, though not that of `folder`.

    What others remove meanwhile is passed over. Raises OSError where the system reports a lost write.
    """
    for place, _, names in os.walk(folder, topdown=False):
        for path in [*(Path(place) / name for name in names), Path(place)]:
            with contextlib.suppress(FileNotFoundError):
                if not path.is_symlink():
                    sync_path(path)


def make_folder(path: Path) -> None:
    """Make a folder and its parents where they are missing, their names on the disk before it returns."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_path(one.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file `path` by `data`: a reader sees the old content or the new, never a part.

    Missing parent folders are created. Raises SultanaError where the disk is full; the old file stays.
    """
    with disk_full_explained(path.parent):
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_path(path.parent)


@contextlib.contextmanager
def made_aside(path: Path) -> Iterator[Path]:
    """Where to make the file `path`: beside it, and put into its place, private and on the disk, when the block ends.

    Only for use under a lock: what earlier makers left that were killed is removed. Raises SultanaError where the
    disk is full.
    """
    folder = path.with_name(f".{path.name}.partial")
    with disk_full_explained(path.parent):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder / path.name
            os.chmod(folder / path.name, 0o600)
            sync_path(folder / path.name)
            (folder / path.name).rename(path)
            sync_path(path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish_folder(temporary: Path, final: Path) -> None:
    """Sync every file of `temporary`, then rename it to `final`, which must not exist yet.

    Both must be on one file system. Raises SultanaError where `final` exists or the disk is full.
    """
    with disk_full_explained(final.parent):
        make_folder(final.parent)
        sync_tree(temporary)
        try:
            temporary.rename(final)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
            raise SultanaError(
                f"{final} exists already and is never overwritten",
                "Remove it if it is not needed, or publish under another name",
                code="output-exists",
            ) from error
        sync_path(final.parent)


def sha256_file(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's content, read in blocks of 1 MiB."""
    value = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value.update(block)
    return value.hexdigest()


def file_states(files: Iterable[tuple[str, Path]]) -> list[list[Any]]:
    """What the system says of named files without reading them, by name: equal states, same content.

    The time of the last change of state is among it, which no copy or archive can set: a file that is
    written to, or replaced, differs even where size and modification time were kept.
    """
    found = []
    for name, path in sorted(files):
        try:
            state = path.stat()
        except FileNotFoundError:  # gone since it was listed
            continue
        if stat.S_ISREG(state.st_mode):
            found.append([name, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino])
    return found


def folder_manifest(folder: Path) -> dict[str, str]:
    """Relative POSIX path -> SHA-256 of every file below `folder`, sorted; `MANIFEST.json` is left out.

    Raises SultanaError for anything that is neither a plain file nor a folder: a link could point
    outside, and what it points to could change.
    """
    files: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SultanaError(
                f"{path} is a link or a special file; only plain files can be hashed",
                "Put the file itself in its place",
                code="not-a-regular-file",
            )
        if path.is_file() and name != MANIFEST:
            files[name] = sha256_file(path)
    return dict(sorted(files.items()))


@contextlib.contextmanager
def exclusive_lock(path: Path, timeout: float = 60.0) -> Iterator[None]:
    """Hold the lock file `path` against every other process and thread; at most `timeout` seconds of waiting.

    The system gives the lock back when its holder dies. Not re-entrant. Raises SultanaError naming
    the holder's process id when the time is over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout
    with disk_full_explained(path.parent):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        pause = 0.001
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    raise SultanaError(
                        f"{path} is held by process {holder} and was not freed within {timeout:g} seconds",
                        "Wait until that process has ended, or end it if it hangs, and try again",
                        code="lock-held",
                    ) from None
                time.sleep(pause)
                pause = min(pause * 2, 0.05)
        # The process id is a help for people only, so a disk too full to hold it is no reason to fail.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(handle)
