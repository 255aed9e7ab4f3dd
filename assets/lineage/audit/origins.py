"""Where instructions came from, gathered from batches of their table: task, source and licence, files."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.selection.reading import NO_TASK

NO_LICENCE = "no licence named"


class Origins:
    """Tasks and places of `count` instructions, which are named by their numbers from 0.

    A place is a source with a licence. What is held is some numbers for each instruction, and no text twice.
    """

    def __init__(self, count: int) -> None:
        self.without = np.zeros(count, np.bool_)
        """The instructions that were added and have no origin."""
        self._task = np.full(count, -1, np.int32)
        self._tasks: dict[str, int] = {}
        self._places: dict[tuple[str, str], int] = {}
        self._files: list[set[str]] = []
        self._parts: list[NDArray[np.int64]] = []
        self._sorted: NDArray[np.int64] | None = None

    @property
    def added(self) -> NDArray[np.int64]:
        """The instructions that were added."""
        return np.flatnonzero(self._task >= 0)

    def add(self, instructions: NDArray[np.int64], rows: pa.Table) -> None:
        """Adds rows with the columns `task` and `origins`, of these instructions."""
        self._sorted = None
        start = 0
        for batch in rows.to_batches():
            numbers = instructions[start : start + batch.num_rows]
            start += batch.num_rows
            self._task[numbers] = self._task_codes(batch["task"])
            self._add_origins(numbers, batch["origins"])

    def of(self, instruction: int) -> dict[str, Any]:
        """Task and places of one instruction, as JSON values."""
        tasks, places = list(self._tasks), list(self._places)
        links = self._links()
        first, end = np.searchsorted(links, [instruction << 32, (instruction + 1) << 32])
        mine = links[first:end] & 0xFFFFFFFF
        return {
            "task": tasks[self._task[instruction]],
            "sources": [
                {"source": source, "licence": licence}
                for source, licence in sorted(places[place] for place in mine)
            ],
        }

    def by_source(self, used: NDArray[np.float64], slots: int) -> list[dict[str, Any]]:
        """Places with the slots that came from them, the most used first; `used` is slots of each instruction."""
        links = self._links()
        place = links & 0xFFFFFFFF
        found = np.bincount(place, used[links >> 32], minlength=len(self._places))
        instructions = np.bincount(place, minlength=len(self._places))
        rows = [
            {
                "source": source,
                "licence": licence,
                "files": len(self._files[number]),
                "instructions": int(instructions[number]),
                "slots": float(found[number]),
                "share": float(found[number]) / slots,
            }
            for (source, licence), number in self._places.items()
        ]
        return sorted(rows, key=lambda row: (-row["slots"], row["source"], row["licence"]))

    def by_task(self, used: NDArray[np.float64], slots: int) -> list[dict[str, Any]]:
        """The same by task."""
        found = np.bincount(self._task, used, minlength=len(self._tasks))
        instructions = np.bincount(self._task, minlength=len(self._tasks))
        rows = [
            {
                "task": task,
                "instructions": int(instructions[number]),
                "slots": float(found[number]),
                "share": float(found[number]) / slots,
            }
            for task, number in self._tasks.items()
        ]
        return sorted(rows, key=lambda row: (-row["slots"], row["task"]))

    def _task_codes(self, tasks: pa.Array) -> NDArray[np.int32]:
        encoded = pc.fill_null(tasks, "").dictionary_encode()
        names = [one or NO_TASK for one in encoded.dictionary.to_pylist()]
        codes = [self._tasks.setdefault(one, len(self._tasks)) for one in names]
        return np.array(codes, np.int32)[encoded.indices.to_numpy()]

    def _add_origins(self, instructions: NDArray[np.int64], origins: pa.ListArray) -> None:
        lengths = pc.list_value_length(origins).to_numpy()
        self.without[instructions[lengths == 0]] = True
        flat = origins.flatten()
        encoded = [
            pc.fill_null(flat.field(name), "").dictionary_encode()
            for name in ("source", "licence", "file_sha256")
        ]
        sources, licences, files = (one.dictionary.to_pylist() for one in encoded)
        source, licence, file = (one.indices.to_numpy().astype(np.int64) for one in encoded)
        kinds = (source * len(licences) + licence) * len(files) + file
        distinct, code = np.unique(kinds, return_inverse=True)
        place_of = np.empty(len(distinct), np.int64)
        for number, kind in enumerate(distinct.tolist()):
            rest, at = divmod(kind, len(files))
            place = sources[rest // len(licences)], licences[rest % len(licences)] or NO_LICENCE
            place_of[number] = self._places.setdefault(place, len(self._places))
            if place_of[number] == len(self._files):
                self._files.append(set())
            self._files[place_of[number]].add(files[at])
        self._parts.append(np.repeat(instructions, lengths) << 32 | place_of[code])

    def _links(self) -> NDArray[np.int64]:
        """Each instruction with each of its places once: instruction << 32 | place, in order."""
        if self._sorted is None:
            links = np.sort(np.concatenate([np.empty(0, np.int64), *self._parts]))
            self._sorted = links[np.diff(links, prepend=-1) > 0]
        return self._sorted
