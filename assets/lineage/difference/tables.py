"""Two versions of a table compared by key: rows that only one of them has, and rows that changed.

A hash join in parts: keys with a hash of what is compared are dealt by key to files, and each part is joined by
itself, so that memory does not grow with the tables.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.lineage.audit.joining import BATCH_ROWS, signatures
from assets.lineage.difference.differing import PLACE, Counts, row_batch
from assets.lineage.difference.fingerprints import fingerprints
from assets.records import (
    BENCHMARK_SPLITS,
    DIVERSITY_CLUSTERS,
    DROPPED_INSTRUCTIONS,
    INSTRUCTIONS,
    INTERPOLATED_INSTRUCTIONS,
    QUARANTINE,
    RAW_INSTRUCTIONS,
    embeddings_record,
)
from resources.table_refs import TableRef
from resources.tables import LanceTables

PART_ROWS = 1 << 20
EXAMPLES = 5
SAME, ONLY, CHANGED = 0, 1, 2


@dataclass(frozen=True)
class Compared:
    """How a table is compared: its key, and the columns in which a row of one key can change.

    What an id is the hash of is left out: it cannot change without the id. So are vectors, distances and ranks.
    """

    key: str
    columns: tuple[str, ...]
    shown: tuple[str, ...] = ()  # columns that say what a row is


_COMPARED: Mapping[str, Compared] = {
    RAW_INSTRUCTIONS.table: Compared(
        RAW_INSTRUCTIONS.key,
        ("instruction_id", "source", "file", "licence", "task", "problem"),
        ("task", *PLACE),
    ),
    INSTRUCTIONS.table: Compared(INSTRUCTIONS.key, ("task", "origins", "scores"), ("task", "origins")),
    QUARANTINE.table: Compared(
        QUARANTINE.key, ("source", "file", "reason"), ("source", "file", "file_sha256", "position")
    ),
    DROPPED_INSTRUCTIONS.table: Compared(
        DROPPED_INSTRUCTIONS.key, ("reason", "collides_with"), ("source", "file", "position")
    ),
    BENCHMARK_SPLITS.table: Compared(
        BENCHMARK_SPLITS.key, ("task", "answer", "source", "file"), ("task", "source", "file", "position")
    ),
    INTERPOLATED_INSTRUCTIONS.table: Compared(
        INTERPOLATED_INSTRUCTIONS.key, ("task_a", "task_b"), ("task_a", "task_b", "parent_a", "parent_b")
    ),
    DIVERSITY_CLUSTERS.table: Compared(
        DIVERSITY_CLUSTERS.key, ("kind", "cluster", "representative"), ("kind",)
    ),
}


def how_compared(table: str) -> Compared:
    """How a table is compared; vectors are not, only whose there are."""
    return _COMPARED.get(table, Compared(embeddings_record("", 1).key, ()))


@dataclass
class TableDifference:
    """Which rows differ: `ours` and `theirs` say of each row, in the order of its table, SAME, ONLY or CHANGED."""

    tables: LanceTables
    a: TableRef
    b: TableRef
    ours: NDArray[np.uint8]
    theirs: NDArray[np.uint8]

    def to_json(self) -> dict[str, Any]:
        """Counts with examples, and by source, licence and task, as JSON values.

        `removed` rows are in A alone, `added` ones in B alone, `changed` ones in both with other columns (counted
        by what B says of them).
        """
        found = {
            "table": self.a.table,
            "same": False,
            "a": _version(self.a),
            "b": _version(self.b),
            "compared": list(how_compared(self.a.table).columns),
        }
        sides = (("removed", "a", ONLY), ("added", "b", ONLY), ("changed", "b", CHANGED))
        counts = {(what, name): Counts() for what, *_ in sides for name in ("sources", "tasks")}
        examples: dict[str, list[str]] = {what: [] for what, *_ in sides}
        totals = dict.fromkeys(examples, 0)
        for side in ("a", "b"):
            for state, rows in self._described(side):
                for what, place, wanted in sides:
                    if place != side or not (mine := state == wanted).any():
                        continue
                    chosen = rows.filter(pa.array(mine))
                    totals[what] += chosen.num_rows
                    examples[what] += chosen["row_id"].slice(0, EXAMPLES).to_pylist()
                    counts[what, "sources"].add_origins(chosen["origins"])
                    counts[what, "tasks"].add_lists(chosen["tasks"])
        for what in totals:
            found[what] = {
                "rows": totals[what],
                "examples": examples[what][:EXAMPLES],
                "sources": counts[what, "sources"].places(),
                "tasks": counts[what, "tasks"].texts(),
            }
        return found

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Every row that differs, with the columns of DIFFERING_ROW: A's first."""
        for side in ("a", "b"):
            for _, rows in self._described(side):
                yield rows

    def _described(self, side: str) -> Iterator[tuple[NDArray[np.uint8], pa.RecordBatch]]:
        ref, states = (self.a, self.ours) if side == "a" else (self.b, self.theirs)
        if not states.any():
            return
        how = how_compared(ref.table)
        start = 0
        for batch in self.tables.batches(ref, columns=[how.key, *how.shown], batch_size=BATCH_ROWS):
            state = states[start : start + batch.num_rows]
            start += batch.num_rows
            if state.any():
                rows = batch.filter(pa.array(state > SAME))
                state = state[state > SAME]
                yield state, row_batch(ref.table, side, state, rows, how.key)


def compare_tables(tables: LanceTables, a: TableRef, b: TableRef) -> TableDifference | None:
    """How two versions of a table differ; None where their content has one digest, and nothing is read."""
    if (a.table, a.digest) == (b.table, b.digest):
        return None
    parts = max(1, -(-max(a.rows, b.rows) // PART_ROWS))
    states = [np.zeros(ref.rows, np.uint8) for ref in (a, b)]
    with tempfile.TemporaryDirectory(prefix="sultana-compare-") as folder:
        sides = [_dealt(tables, ref, Path(folder) / name, parts) for ref, name in ((a, "a"), (b, "b"))]
        for ours, theirs in zip(*sides, strict=True):
            _join(_read(ours), _read(theirs), *states)
    return TableDifference(tables, a, b, *states)


_DEALT = pa.schema([("key", pa.string()), ("hash", pa.uint64()), ("row", pa.int64())])


def _dealt(tables: LanceTables, ref: TableRef, stem: Path, parts: int) -> list[Path]:
    """The keys of a table in `parts` files, each with a hash of what is compared and its place in the table."""
    how = how_compared(ref.table)
    files = [stem.with_name(f"{stem.name}-{part}.arrow") for part in range(parts)]
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_file(str(file), _DEALT)) for file in files]
        start = 0
        for batch in tables.batches(ref, columns=[how.key, *how.columns], batch_size=BATCH_ROWS):
            keys = batch[how.key]
            rows = pa.RecordBatch.from_arrays(
                [
                    keys,
                    pa.array(fingerprints(batch, how.columns)),
                    pa.array(np.arange(start, start + batch.num_rows)),
                ],
                schema=_DEALT,
            )
            start += batch.num_rows
            part = signatures(keys) % parts
            rows = rows.take(pa.array(np.argsort(part, kind="stable")))
            ends = np.cumsum(np.bincount(part, minlength=parts))
            for writer, begin, end in zip(writers, [0, *ends], ends, strict=False):
                writer.write_batch(rows.slice(begin, end - begin))
    return files


def _read(file: Path) -> pa.Table:
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all()


def _join(
    ours: pa.Table, theirs: pa.Table, our_states: NDArray[np.uint8], their_states: NDArray[np.uint8]
) -> None:
    """Writes into the states of both what differs in one part."""
    place = pc.index_in(theirs["key"], value_set=ours["key"])
    shared = place.is_valid().to_numpy()
    our_rows, their_rows = ours["row"].to_numpy(), theirs["row"].to_numpy()
    at = place.drop_null().to_numpy()
    our_state = np.full(len(ours), ONLY, np.uint8)
    our_state[at] = SAME
    their_states[their_rows[~shared]] = ONLY
    changed = ours["hash"].to_numpy()[at] != theirs["hash"].to_numpy()[shared]
    our_state[at[changed]] = CHANGED
    their_states[their_rows[shared][changed]] = CHANGED
    our_states[our_rows] = our_state


def same_table(ref: TableRef, other: TableRef) -> dict[str, Any]:
    """What is told of a table whose content is the same in both chains."""
    return {"table": ref.table, "same": True, "a": _version(ref), "b": _version(other)}


def _version(ref: TableRef) -> dict[str, Any]:
    return {"version": ref.version, "digest": ref.digest, "rows": ref.rows}
