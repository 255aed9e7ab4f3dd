"""Which process carries out a run, and whether it still lives.

A run's process holds a lock on a file of its own until it ends, however it ends: the system gives the lock back.
Unlike a process id it holds across containers that share the folder, and after a restart of the machine nobody
holds any. What a tag of the run says about the process is for people.
"""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from resources.errors import SultanaError
from resources.files import disk_full_explained
from resources.text import check_name

PROCESS_TAG = "sultana/process"
"""The tag of a run with its process: boot, process id and start time."""


class Run(Protocol):
    """What is asked of a run of Dagster."""

    @property
    def run_id(self) -> str:
        """Its id."""

    @property
    def parent_run_id(self) -> str | None:
        """The run that it tries again."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags."""

    @property
    def is_finished(self) -> bool:
        """Whether it has ended."""


class Instance(Protocol):
    """What is asked of an instance of Dagster."""

    @property
    def root_directory(self) -> str:
        """Its folder."""

    def get_run_by_id(self, run_id: str) -> Run | None:
        """The run of this id."""


_FOLDER = "running"
_held: dict[Path, int] = {}


def process_identity() -> str:
    """What names this process for good: boot (elsewhere than on Linux the machine), process id, start time."""
    pid = os.getpid()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The second field, the command, is in brackets and may hold spaces.
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return f"{platform.node()}:{pid}:"
    return f"{boot}:{pid}:{started}"


def claim(instance: Instance, run_id: str) -> None:
    """This process carries out the run from now on: until it ends, or calls `give_back`.

    Raises SultanaError where the id is none, or the disk is full.
    """
    _sweep(instance)
    path = _file(instance, run_id)
    while path not in _held:
        with disk_full_explained(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, path):
            _held[path] = handle
        else:  # swept away between the two calls
            os.close(handle)


def give_back(instance: Instance, run_id: str) -> None:
    """The run has ended, and this process goes on."""
    path = _file(instance, run_id)
    if (handle := _held.pop(path, None)) is not None:
        path.unlink(missing_ok=True)
        os.close(handle)


@contextlib.contextmanager
def carried_out(instance: Instance, run_id: str) -> Iterator[dict[str, str]]:
    """A run of this very process within the block; gives the tags to make the run with."""
    claim(instance, run_id)
    try:
        yield {PROCESS_TAG: process_identity()}
    finally:
        give_back(instance, run_id)


def has_begun(instance: Instance, run: Run) -> bool:
    """Whether a process has ever said that it carries out this unfinished run."""
    # The tags of a run are copied to the run that tries it again.
    return _file(instance, run.run_id).exists() or (PROCESS_TAG in run.tags and run.parent_run_id is None)


def is_gone(instance: Instance, run: Run) -> bool:
    """Whether the process of an unfinished run has ended; False where none has said that it carries it out."""
    return has_begun(instance, run) and not _is_held(_file(instance, run.run_id))


def check_in_progress(instance: Instance, run_id: str, step: str) -> None:
    """Raises SultanaError where the run has ended, or its process is gone: its step may not write then."""
    run = instance.get_run_by_id(run_id)
    if run is not None and (run.is_finished or is_gone(instance, run)):
        raise SultanaError(
            f"Run {run_id} has already ended, so its step '{step}' may not commit",
            "Nothing was written; start the run again",
            code="run-ended",
        )


def _file(instance: Instance, run_id: str) -> Path:
    return Path(instance.root_directory) / _FOLDER / check_name(run_id, "Run")


def _is_held(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sweep(instance: Instance) -> None:
    """Remove the files of runs that have ended."""
    for path in (Path(instance.root_directory) / _FOLDER).glob("*"):
        if path in _held:
            continue
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                run = instance.get_run_by_id(path.name)
                if run is not None and run.is_finished and _is_at(handle, path):
                    path.unlink()
            finally:
                os.close(handle)


def _forget() -> None:
    """A child that was forked is another process: what it inherited would outlive the run's own process."""
    for handle in _held.values():
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
