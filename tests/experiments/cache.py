"""What experiments compute once and keep on disk, by the content it was computed from.

Each entry remembers the CPU-seconds that it took, so that a run which finds it here is charged what it
would have paid. Entries are written to the side and renamed: several processes may use one folder.
"""

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.identity import digest
from resources.files import exclusive_lock, write_atomically

Arrays = dict[str, NDArray[Any]]
PART = 256
"""Rows computed between two writes, as a rule: what a killed run loses at most."""


class Cache:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def json(self, kind: str, key: Any, make: Callable[[], Any]) -> Any:
        """The JSON value that `make` gives for `key`."""
        path = self.folder / f"{kind}-{digest(key)[:24]}.json"
        if not path.exists():
            with exclusive_lock(path.with_suffix(".lock"), timeout=3600.0):
                if not path.exists():
                    write_atomically(path, json.dumps(make(), ensure_ascii=False).encode())
        return json.loads(path.read_bytes())

    def rows(
        self,
        kind: str,
        key: Any,
        ids: Sequence[str],
        compute: Callable[[list[int]], Arrays],
        on_rows: Callable[[int], object] | None = None,
        part_rows: int = PART,
    ) -> tuple[Arrays, float]:
        """Arrays with one element for each of `ids`, in that order, and the CPU-seconds that they cost.

        `compute` gets places in `ids` and gives arrays of as many rows. Rows that were computed for `key`
        before, whatever they were asked for with, are read.
        """
        folder = self.folder / f"{kind}-{digest(key)[:24]}"
        folder.mkdir(exist_ok=True)
        with exclusive_lock(folder / ".lock", timeout=24 * 3600.0):
            known = _Parts(folder)
            missing = [place for place, name in enumerate(ids) if name not in known.places]
            for start in range(0, len(missing), part_rows):
                part = missing[start : start + part_rows]
                began = time.process_time()
                found = compute(part)
                found["cpu_seconds"] = np.full(len(part), (time.process_time() - began) / len(part))
                found["id"] = np.array([ids[place] for place in part])
                _save(folder / f"{digest(found['id'].tolist())[:24]}.npz", found)
                if on_rows is not None:
                    on_rows(len(part))
            known = _Parts(folder) if missing else known
        arrays = known.take(ids)
        seconds = float(arrays.pop("cpu_seconds").sum())
        return arrays, seconds


class _Parts:
    """The parts of one folder, put together."""

    def __init__(self, folder: Path) -> None:
        self._arrays: list[Arrays] = []
        self.places: dict[str, tuple[int, int]] = {}
        for number, path in enumerate(sorted(folder.glob("*.npz"))):
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            self.places.update({name: (number, row) for row, name in enumerate(arrays.pop("id").tolist())})
            self._arrays.append(arrays)

    def take(self, ids: Sequence[str]) -> Arrays:
        names = self._arrays[0]
        return {
            name: np.stack([self._arrays[part][name][row] for part, row in map(self.places.__getitem__, ids)])
            for name in names
        }


def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    data = io.BytesIO()
    np.savez(data, **arrays)
    write_atomically(path, data.getvalue())
