"""Arrays larger than memory should hold: in a file that the system reads and writes as they are used."""

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resources.files import disk_full_explained
from resources.memory import available_bytes

SHARE_OF_MEMORY = 0.5
"""Of the memory that is available, what one array may take before it goes to a file."""


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """An array of zeros, in memory, or where it would take more than half of what is available, in a file.

    The file is in TMPDIR, has no name and goes with the array. Values are the same in both places. Raises
    SultanaError where the disk has no room for all of it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    available = available_bytes()
    if not size or available is None or size <= SHARE_OF_MEMORY * available:
        return np.zeros(shape, dtype)
    with (
        disk_full_explained(Path(tempfile.gettempdir())),
        tempfile.TemporaryFile(prefix="sultana-array-") as file,
    ):
        # A page without room on the disk would kill the process when it is written.
        os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
