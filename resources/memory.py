"""Memory on Linux: the peak of a stretch of work in this process, what it can give back, and what is left for more."""

import ctypes
import os
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")
_M_ARENA_MAX = -8  # of malloc.h


def restart_peak() -> None:
    """Begins a new stretch: the peak is from now on that of what follows. Does nothing off Linux."""
    try:
        _RESET.write_text("5")
    except OSError:  # no such file off Linux, or not permitted: the peak is then that of the process so far
        return


def peak_mebibytes() -> float | None:
    """Largest resident size since `restart_peak`, in MiB; None where the system does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [line for line in lines if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) / 1024 if found else None


def limit_arenas() -> None:
    """Lets the C library keep one store of freed memory for each core, not eight; for a process that has just begun.

    Each thread gets one of its own as long as there are any, and what is freed in one serves no other: after an index
    of a million rows Lance's threads held 170 MB of them. Does nothing off glibc.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, max(2, os.cpu_count() or 1))


def return_unused() -> None:
    """Gives the system back what this process has freed.

    Arrow's pool and the C library keep it for what comes next, each for itself; where that is another library's
    work (an index that Lance builds), it would lie idle beside it. Takes some milliseconds; off glibc only Arrow's
    is given back.
    """
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def available_bytes() -> int | None:
    """Memory that a new program could use: what the system has, or less where a control group (v2) says so.

    None where the system does not tell.
    """
    try:
        lines = _SYSTEM.read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    try:
        limit = (_GROUP / "memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int((_GROUP / "memory.current").read_text()))
    except OSError:  # no such group
        pass
    return min(found) if found else None
