"""What a killed process may have left: locks that hang, half-written files, runs and places in pools.

The system gives a file's lock back when its holder dies, so a lock that is held has a living holder.
"""

import fcntl
import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from orchestration.dead_runs import dead_runs, fail_dead_runs, places_of_ended_runs
from orchestration.diagnosis.finding import Examined, Finding, mebibytes
from orchestration.diagnosis.stores import instance_of
from resources.findings import Repair

LONGEST_HELD_SECONDS = 1800.0
"""Locks are held for a commit or a publication, which takes seconds."""

LEFT_SECONDS = 86_400.0
"""No command takes this long between two writes to what it stages."""

MOST_NAMED = 3
OWNERS = stat.S_IRUSR | stat.S_IWUSR
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
    """Every lock of the stores can be taken, and none has been held for long."""
    for path in matching(examined.folder, LOCKS):
        if found := _unusable(path):
            yield found
            continue
        seconds = time.time() - path.stat().st_mtime
        if seconds > LONGEST_HELD_SECONDS and (holder := _holder(path)) is not None:
            yield Finding(
                f"{path} has been held by process {holder} for {seconds / 60:,.0f} minutes",
                f"See what it does (ps -p {holder}), and end it if it hangs; the lock is free then",
                code="lock-held",
            )


def _unusable(path: Path) -> Finding | None:
    """A lock that nobody holds and that nobody can take: no plain file, or one that its owner may not open."""
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) and mode & OWNERS == OWNERS:
        return None

    def mend() -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink():
            path.unlink()
        else:
            path.chmod(0o600)

    if stat.S_ISREG(mode):
        what, repair = f"its mode is {stat.S_IMODE(mode):o}", f"let its owner open {path} (mode 600)"
    else:
        what, repair = "it is no plain file", f"remove {path}: whoever needs the lock makes it"
    return Finding(
        f"The lock {path} cannot be taken: {what}",
        f"Remove it while no command runs: rm -r {shlex.quote(str(path))}",
        code="lock-unusable",
        repair=Repair(repair, mend),
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
        "half-written",
        Repair(f"remove {named}{more}", lambda: _remove(left)),
    )


def _remove(left: list[Path]) -> None:
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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
                "run-dead",
                _failing(examined.folder, run_id),
            )
        for pool, run_id in places_of_ended_runs(instance):
            yield Finding(
                f"Run {run_id} has ended and still holds a place in the pool '{pool}'",
                "Start `sultana run` or `sultana ui`: it frees the place; or free it under Deployment, Concurrency",
                "warning",
                "pool-place-held",
                _freeing(examined.folder, run_id, pool),
            )


def _failing(folder: Path, run_id: str) -> Repair:
    def mend() -> None:
        with instance_of(folder) as instance:
            if instance is not None:
                fail_dead_runs(instance)

    return Repair(f"mark run {run_id} as failed", mend, quiet=False)


def _freeing(folder: Path, run_id: str, pool: str) -> Repair:
    def mend() -> None:
        with instance_of(folder) as instance:
            if instance is not None:
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)

    return Repair(f"free the place of run {run_id} in the pool '{pool}'", mend, quiet=False)
