"""Disks that tests may fill, or take the power from. They need root; a test that gets none is skipped aloud."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def mounted(arguments: list[str], place: Path) -> bool:
    """Whether `mount` with these arguments worked."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", *arguments, str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def unmount(place: Path) -> None:
    """Take it off, also where a process still uses it."""
    subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """A disk in memory of this size at `place`."""
    arguments = ["-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs"]
    if os.geteuid() != 0 or not shutil.which("mount") or not mounted(arguments, place):
        pytest.skip("a small disk needs root and mount")
    try:
        yield place
    finally:
        unmount(place)


def free_bytes(place: Path) -> int:
    """What is free on the disk at `place`."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def filled(place: Path, left: int) -> Iterator[None]:
    """While this lasts, the disk at `place` has only `left` bytes free."""
    ballast = place / "ballast"
    size = free_bytes(place) - left
    with ballast.open("wb") as file:
        if size > 0:
            os.posix_fallocate(file.fileno(), 0, size)
    try:
        yield
    finally:
        ballast.unlink()
