"""Arrays that memory should not hold lie in a file, with the same values."""

import errno
import gc
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from resources import large_arrays
from resources.errors import SultanaError


def mapped_bytes() -> int:
    """Bytes of files of arrays that this process maps."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    ends = [line.split()[0].split("-") for line in lines if "sultana-array-" in line or "(deleted)" in line]
    return sum(int(end, 16) - int(start, 16) for start, end in ends)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(large_arrays, "available_bytes", lambda: 8 << 20)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_an_array_of_more_than_half_of_the_memory_lies_in_a_file_that_goes_with_it(
    little_memory: None, tmp_path: Path
) -> None:
    before = mapped_bytes()
    small = large_arrays.zeros((1024, 1024))
    assert mapped_bytes() == before
    large = large_arrays.zeros((1025, 1024))
    assert mapped_bytes() - before >= large.nbytes > small.nbytes == 4 << 20
    assert not large.any() and large.dtype == small.dtype == np.float32
    large[7] = 1.0
    rows = np.ascontiguousarray(large, np.float32)
    assert np.shares_memory(rows, large) and rows.sum() == 1024
    assert list(tmp_path.iterdir()) == []
    del large, rows
    gc.collect()
    assert mapped_bytes() == before


def test_a_disk_without_room_is_said_before_anything_is_written(
    little_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", no_room)
    with pytest.raises(SultanaError) as refused:
        large_arrays.zeros((1025, 1024))
    assert refused.value.code == "disk-full"


def test_where_the_system_does_not_tell_an_array_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_arrays, "available_bytes", lambda: None)
    assert not isinstance(large_arrays.zeros((2, 3)), np.memmap)
    assert large_arrays.zeros((0, 3), np.int64).shape == (0, 3)


def test_no_descriptor_stays_open(little_memory: None) -> None:
    before = len(os.listdir("/proc/self/fd"))
    kept = [large_arrays.zeros((1025, 1024)) for _ in range(3)]
    assert len(os.listdir("/proc/self/fd")) <= before + len(kept)
