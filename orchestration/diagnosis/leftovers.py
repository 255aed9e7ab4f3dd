"""What a killed process may have left: locks that hang, half-written files, runs and places in pools.

The system gives a file's lock back when its holder dies, so a lock that is held has a living holder.
"""

import fcntl
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from orchestration.dead_runs import dead_runs
from orchestration.diagnosis.finding import Examined, Finding, mebibytes
from orchestration.diagnosis.stores import instance_of

LONGEST_HELD_SECONDS = 1800.0
"""Locks are held for a commit or a publication, which takes seconds."""

LEFT_SECONDS = 86_400.0
"""No command takes this long between two writes to what it stages."""

MOST_NAMED = 3
LOCKS = (
    ".*.lock",
    "lance/.*.lock",
    "lance/.locks/*.lock",
    "mlflow/.*.lock",
    "models/.*.lock",
    "starter/.lock",
    "locks/*.lock",
)
STAGED = (
    ".dagster.tmp",
    "tmp/*-*",
    ".*.tmp",
    "lineage/.*.tmp",
    "starter/.*.tmp",
    "models/.*.partial",
    "policies/.partial-*",
    "checkpoints/*/.partial-*",
    "lance/.commits.sqlite.*",
    "mlflow/.mlflow.db.*",
)


def check_locks(examined: Examined) -> Iterator[Finding]:
    """No lock of the stores has been held for long."""
    for path in matching(examined.folder, LOCKS):
        seconds = time.time() - path.stat().st_mtime
        if seconds > LONGEST_HELD_SECONDS and (holder := _holder(path)) is not None:
            yield Finding(
                f"{path} has been held by process {holder} for {seconds / 60:,.0f} minutes",
                f"See what it does (ps -p {holder}), and end it if it hangs; the lock is free then",
            )


def _holder(path: Path) -> str | None:
    """The process that holds a lock; None where nobody does."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(handle)
    return None


def check_staging(examined: Examined) -> Iterator[Finding]:
    """Nothing half-written has been lying about for a day."""
    now = time.time()
    left = [
        path
        for path in matching(examined.folder, STAGED)
        if not path.name.endswith(".lock") and now - last_change(path) > LEFT_SECONDS
    ]
    if not left:
        return
    size = sum(one.stat().st_size for path in left for one in (path, *path.rglob("*")) if one.is_file())
    named = " ".join(shlex.quote(str(path)) for path in left[:MOST_NAMED])
    more = f", and {len(left) - MOST_NAMED} more" if len(left) > MOST_NAMED else ""
    yield Finding(
        f"{len(left)} files or folders were left half-written by commands that were killed ({mebibytes(size)})",
        f"Remove them while no command runs: rm -r {named}{more}",
        "warning",
    )


def last_change(path: Path) -> float:
    """When a file, or anything below a folder, was changed last: seconds since 1970."""
    return max(one.lstat().st_mtime for one in (path, *path.rglob("*")))


def matching(folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """What matches one of the patterns below a folder, by path, each once."""
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    yield from sorted(found)


def check_runs(examined: Examined) -> Iterator[Finding]:
    """No run is unfinished whose process is gone, and no run that has ended holds a place in a pool."""
    with instance_of(examined.folder) as instance:
        if instance is None:
            return
        dead = {run.run_id for run in dead_runs(instance)}
        for run_id in sorted(dead):
            yield Finding(
                f"Run {run_id} counts as running, but its process is gone",
                "Start `sultana run` or `sultana ui`: it is marked as failed then, and its places in pools are freed",
                "warning",
            )
        storage = instance.event_log_storage
        for key in sorted(storage.get_concurrency_keys()):
            for run_id in sorted(
                {one.run_id for one in storage.get_concurrency_info(key).claimed_slots} - dead
            ):
                run = instance.get_run_by_id(run_id)
                if run is None or run.is_finished:
                    yield Finding(
                        f"Run {run_id} has ended and still holds a place in the pool '{key}'",
                        "Start `sultana ui`: its daemon frees the place within a minute; or free it under "
                        "Deployment, Concurrency",
                        "warning",
                    )
