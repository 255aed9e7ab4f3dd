"""Power cuts: a writer on an ext4 file system in an image, stopped at some instant, and the image as the disk has it.

What the system holds in memory is not in the image: mounted elsewhere, its journal is replayed, as after a real cut.
The model keeps the order in which ext4 gives its blocks to the device; the device itself reorders nothing.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import mounted, unmount

_CLONE_NEWNS = 0x00020000
_OPTIONS = "lazy_itable_init=0,lazy_journal_init=0"


class Disk:
    """An image, where it is mounted, and its loop device."""

    def __init__(self, folder: Path, mebibytes: int = 192, commit_seconds: int = 5) -> None:
        self.image, self.place = folder / "disk.image", folder / "disk"
        needed = ("mount", "mkfs.ext4", "losetup")
        if os.geteuid() != 0 or any(shutil.which(one) is None for one in needed):
            pytest.skip("a power cut needs root, loop devices and mkfs.ext4")
        with self.image.open("wb") as file:
            file.truncate(mebibytes << 20)
        command = ["mkfs.ext4", "-q", "-F", "-E", _OPTIONS, "-J", "size=8", str(self.image)]
        subprocess.run(command, check=True, capture_output=True)
        if not mounted(["-o", f"loop,commit={commit_seconds}", str(self.image)], self.place):
            pytest.skip("a power cut needs loop devices, and none could be mounted")
        found = subprocess.run(
            ["losetup", "-nO", "NAME", "-j", str(self.image)], capture_output=True, text=True, check=True
        )
        self.device = Path(found.stdout.split()[0]).name

    def close(self) -> None:
        """Take it off."""
        unmount(self.place)
        self.image.unlink()

    def _written(self) -> str:
        """Counts that change with every write to the device."""
        return Path(f"/sys/block/{self.device}/stat").read_text().split()[4]

    def copy(self, to: Path) -> None:
        """The image as it is at one instant: copied again where the system wrote to it meanwhile."""
        while True:
            before = self._written()
            subprocess.run(["cp", "--sparse=always", str(self.image), str(to)], check=True)
            if self._written() == before:
                return


@contextlib.contextmanager
def disk(folder: Path, commit_seconds: int = 5) -> Iterator[Disk]:
    """A disk in `folder`, which ought to be in memory."""
    folder.mkdir()
    found = Disk(folder, commit_seconds=commit_seconds)
    try:
        yield found
    finally:
        found.close()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """While this lasts no thread of the process runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        while not all(
            task.joinpath("stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
            for task in Path(f"/proc/{pid}/task").iterdir()
        ):
            time.sleep(0.001)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def mount_in_its_place(image: Path, place: Path) -> None:
    """In this process alone, `image` is what is found at `place`: addresses that were stored still hold."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    if not mounted(["-o", "loop", str(image)], place):
        raise AssertionError(f"{image} cannot be mounted: the file system itself is broken")
