"""Two curricula compared: rows and instructions that both chose, or one alone, shares, and where they part."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.lineage.audit.backward import Backward
from assets.lineage.difference.differing import differing_rows
from assets.lineage.difference.tables import EXAMPLES
from assets.records import CURRICULUM, ORIGIN

WRITTEN_ROWS = 8192


@dataclass(frozen=True)
class CurriculumDifference:
    """Two ledgers with what stands behind them."""

    a: Backward
    b: Backward

    @cached_property
    def _only(self) -> dict[str, NDArray[np.int64]]:
        """The rows that one side alone chose, by their places in its `uses`."""
        ours, theirs = self.a.uses.row_ids, self.b.uses.row_ids
        return {"a": _absent(ours, theirs), "b": _absent(theirs, ours)}

    def to_json(self) -> dict[str, Any]:
        """Counts, shares and examples, as JSON values; every share is one of slots."""
        sides = {"a": self.a, "b": self.b}
        totals = {name: one.totals() for name, one in sides.items()}
        instructions = {name: one.parents.instruction_ids for name, one in sides.items()}
        told: dict[str, Any] = {"same": False}
        for name, other in (("a", "b"), ("b", "a")):
            backward, only = sides[name], self._only[name]
            found = totals[name]
            alone = _absent(instructions[name], instructions[other])
            told[name] = {
                "curriculum_id": backward.curriculum_id,
                **{key: found[key] for key in ("steps", "slots", "distinct_rows", "distinct_instructions")},
                "synthetic_share": found["synthetic_share"],
                "rows_only_here": len(only),
                "slots_only_here": int(backward.uses.slots[only].sum()),
                "instructions_only_here": len(alone),
                "row_examples": backward.uses.row_ids.take(pa.array(only[:EXAMPLES])).to_pylist(),
                "instruction_examples": instructions[name].take(pa.array(alone[:EXAMPLES])).to_pylist(),
            }
        told["rows_of_both"] = told["a"]["distinct_rows"] - told["a"]["rows_only_here"]
        told["instructions_of_both"] = (
            told["a"]["distinct_instructions"] - told["a"]["instructions_only_here"]
        )
        told["first_difference"] = self._first_difference()
        told["sources"] = _shares(totals, "sources", ("source", "licence"))
        told["tasks"] = _shares(totals, "tasks", ("task",))
        return told

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Every row that one side alone chose, with the columns of DIFFERING_ROW: A's first."""
        for side, backward in (("a", self.a), ("b", self.b)):
            only = self._only[side]
            for start in range(0, len(only), WRITTEN_ROWS):
                yield _described(side, backward, only[start : start + WRITTEN_ROWS])

    def _first_difference(self) -> dict[str, Any] | None:
        """The first slot with another row or weight; None where one ledger is the other."""
        ours, theirs = self.a.ledger, self.b.ledger
        known = pc.fill_null(pc.index_in(theirs.names("row_id"), value_set=ours.names("row_id")), -1)
        rows = known.to_numpy()[theirs.numbers("row_id")]
        count = min(len(rows), len(ours.entries))
        pairs = [(ours.numbers("row_id"), rows)]
        pairs += [(ours.numbers(name), theirs.numbers(name)) for name in ("step", "slot", "weight")]
        other = np.zeros(count, np.bool_)
        for left, right in pairs:
            other |= left[:count] != right[:count]
        places = np.flatnonzero(other)
        if not len(places) and len(rows) == len(ours.entries):
            return None
        at = int(places[0]) if len(places) else count
        longer = ours if at < len(ours.entries) else theirs
        return {
            "step": int(longer.numbers("step")[at]),
            "slot": int(longer.numbers("slot")[at]),
            **{
                name: one.entries["row_id"][at].as_py() if at < len(one.entries) else None
                for name, one in (("a", ours), ("b", theirs))
            },
        }


def same_curriculum(curriculum_id: str) -> dict[str, Any]:
    """What is told where both checkpoints were trained on one curriculum."""
    return {"same": True, "curriculum_id": curriculum_id}


def _absent(names: pa.StringArray, others: pa.StringArray) -> NDArray[np.int64]:
    """The places of the names that are not among the others."""
    return np.flatnonzero(~pc.is_in(names, value_set=others).to_numpy(zero_copy_only=False))


def _shares(totals: Mapping[str, Mapping[str, Any]], what: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Shares of slots on both sides, the largest change first; `change` is A − B."""
    found = {
        side: {tuple(row[key] for key in keys): row["share"] for row in totals[side][what]} for side in "ab"
    }
    rows = [
        {
            **dict(zip(keys, name, strict=True)),
            "a": found["a"].get(name, 0.0),
            "b": found["b"].get(name, 0.0),
            "change": found["a"].get(name, 0.0) - found["b"].get(name, 0.0),
        }
        for name in found["a"].keys() | found["b"].keys()
    ]
    return sorted(rows, key=lambda row: (-abs(row["change"]), [row[key] for key in keys]))


def _described(side: str, backward: Backward, places: NDArray[np.int64]) -> pa.RecordBatch:
    uses, count = backward.uses, len(places)
    behind = backward.behind(places)
    parents = behind.flatten()
    origins = parents.field("origins")
    # The lists of a row's parents, one after the other, are one list.
    ends = np.asarray(origins.offsets)[np.asarray(behind.offsets)]
    columns = {
        "table": pa.array([CURRICULUM.table] * count),
        "side": pa.array([side] * count),
        "change": pa.array(["only"] * count),
        "row_id": uses.row_ids.take(pa.array(places)),
        "kind": pa.array(["original", "interpolated"]).take(pa.array(uses.mixed[places].astype(np.int8))),
        "slots": pa.array(uses.slots[places]),
        "first_step": pa.array(backward.ledger.numbers("step")[uses.first[places]].astype(np.int64)),
        "tasks": pa.ListArray.from_arrays(behind.offsets, parents.field("task")),
        "parents": pa.ListArray.from_arrays(behind.offsets, parents.field("instruction_id")),
        "origins": pa.ListArray.from_arrays(
            pa.array(ends - ends[0], pa.int32()), origins.flatten().cast(pa.struct(list(ORIGIN)))
        ),
    }
    return differing_rows(columns, count)
