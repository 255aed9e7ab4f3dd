"""Memory on Linux: the peak of a stretch of work in this process, and what is left for more."""

from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


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
