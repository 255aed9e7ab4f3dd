"""Raw rows on their way into the table: a sample of them, counted, what is erased emptied, in batches."""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from assets.identity import digest
from assets.instructions.erasures import emptied
from assets.instructions.file_rows import RawRow
from assets.instructions.retractions import Standing
from assets.records import RAW_INSTRUCTIONS

BATCH_ROWS = 4096


@dataclass
class Tally:
    """How many rows there are of each source, of each task, and with each problem."""

    sources: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)

    def add(self, row: RawRow) -> None:
        """One row more."""
        self.sources[row["source"]] += 1
        if row["problem"]:
            self.problems[row["problem"]] += 1
        else:
            self.tasks[row["task"] or "no task label"] += 1

    def update(self, other: "Tally") -> None:
        """Those of another as well."""
        self.sources.update(other.sources)
        self.tasks.update(other.tasks)
        self.problems.update(other.problems)


def sample(rows: Iterable[RawRow], most: int) -> Iterator[RawRow]:
    """`most` rows chosen by the hash of their origin, so the choice does not depend on order; 0: all."""
    if most == 0:
        yield from rows
        return
    kept: list[tuple[int, int, RawRow]] = []
    for count, row in enumerate(rows):
        rank = -int(digest(["sample", row["origin_id"]])[:16], 16)
        item = (rank, count, row)
        if len(kept) < most:
            heapq.heappush(kept, item)
        elif rank > kept[0][0]:
            heapq.heapreplace(kept, item)
    yield from (row for _, _, row in sorted(kept, key=lambda item: item[1]))


def batches_of(rows: Iterable[RawRow], tally: Tally, erasures: Standing) -> Iterator[pa.RecordBatch]:
    """The rows in batches of `BATCH_ROWS`, counted into `tally`; what falls under `erasures` has no content."""
    held: list[RawRow] = []
    for row in rows:
        tally.add(row)
        held.append(emptied(row) if erasures.of_origin(row["instruction_id"], row) else row)
        if len(held) == BATCH_ROWS:
            yield pa.RecordBatch.from_pylist(held, schema=RAW_INSTRUCTIONS.schema)
            held = []
    if held:
        yield pa.RecordBatch.from_pylist(held, schema=RAW_INSTRUCTIONS.schema)
