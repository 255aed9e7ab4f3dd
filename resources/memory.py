"""Peak memory of a stretch of work in this process, on Linux."""

from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


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
