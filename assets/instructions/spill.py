"""Rows on disk: as many as the disk holds, in memory about a hundred bytes of each."""

import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import orjson

Row = dict[str, Any]


class RowsOnDisk(Sequence[Row]):
    """Rows (JSON values by name) in a file that has no name and goes with this object; read in the order of their keys.

    Write them with `append`, call `sort` once, then read. `width` is the most bytes that a key has. A row that is
    read twice is two objects.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._file = tempfile.TemporaryFile(prefix="sultana-rows-")  # noqa: SIM115
        self._ends = array("q", [0])
        self._packed = bytearray()
        self._order: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def append(self, key: str, row: Row) -> None:
        """Add a row. Raises ValueError for a key that is too long, OSError where the disk is full."""
        packed = key.encode()
        if len(packed) > self._width:
            raise ValueError(f"the key {key!r} has more than {self._width} bytes")
        written = self._file.write(orjson.dumps(row))
        self._packed += packed.ljust(self._width, b"\0")
        self._ends.append(self._ends[-1] + written)

    def sort(self) -> npt.NDArray[np.bytes_]:
        """Bring the rows into the order of their keys, and give those back, (rows,).

        Rows with equal keys stay as they were appended.
        """
        self._file.flush()
        packed, self._packed = self._packed, bytearray()
        keys = np.frombuffer(packed, dtype=f"S{self._width}")
        self._order = np.argsort(keys, kind="stable")
        return keys[self._order]

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        row = int(self._order[place])
        begin, end = self._ends[row], self._ends[row + 1]
        found: Row = orjson.loads(os.pread(self._file.fileno(), end - begin, begin))
        return found

    def __iter__(self) -> Iterator[Row]:
        return (self[place] for place in range(len(self)))
