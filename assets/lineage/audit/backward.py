"""Backward: every row that a curriculum trained on, where it came from, and the totals that people ask for first.

What is read are the table versions that the curriculum was made from, never newer ones.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from assets.ledger import Curriculum, read_curriculum
from assets.records import ORIGIN
from assets.selection.reading import NO_TASK
from resources.errors import SultanaError
from resources.tables import LanceTables, TableRef
from resources.text import id_filter

NO_LICENCE = "no licence named"
MOST_USED = 10

PARENT = pa.struct(
    [
        ("instruction_id", pa.string()),
        ("share", pa.float64()),  # λ of parent a, 1 - λ of parent b; 1 of an original
        ("task", pa.string()),
        ("origins", pa.list_(ORIGIN)),
    ]
)
LEDGER_ROW = pa.schema(
    [
        ("step", pa.int32()),
        ("slot", pa.int32()),
        ("row_id", pa.string()),
        ("kind", pa.string()),
        ("cluster", pa.int32()),
        ("score", pa.float64()),
        ("weight", pa.float64()),
        ("reason", pa.string()),
        ("policy_sha256", pa.string()),
        ("parents", pa.list_(PARENT)),
    ]
)
"""One slot of a curriculum with all that stands behind its row."""


@dataclass(frozen=True)
class Instruction:
    """What an audit says of an instruction: its task, and each place in a file where it stood."""

    task: str
    origins: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Backward:
    """One curriculum and the table versions behind it. Every method raises SultanaError where a link is broken."""

    tables: LanceTables
    curriculum: TableRef
    curriculum_id: str
    instructions: TableRef
    recipes: TableRef

    @cached_property
    def ledger(self) -> Curriculum:
        """The ledger, complete and in order."""
        mine = id_filter("curriculum_id", [self.curriculum_id])
        return read_curriculum(self.tables.read(self.curriculum, filter=mine), self.curriculum_id)

    @cached_property
    def parents(self) -> dict[str, tuple[tuple[str, float], ...]]:
        """Row id -> its parents with their shares, which sum to 1; an original is its own parent."""
        kinds = {entry.row_id: entry.kind for selection in self.ledger.steps for entry in selection}
        found: dict[str, tuple[tuple[str, float], ...]] = {
            row: ((row, 1.0),) for row, kind in kinds.items() if kind == "original"
        }
        mixed = {row for row, kind in kinds.items() if kind == "interpolated"}
        columns = ["recipe_id", "parent_a", "parent_b", "lambda"]
        for row in self._among(self.recipes, "recipe_id", mixed, columns):
            share = row["lambda"]
            found[row["recipe_id"]] = ((row["parent_a"], share), (row["parent_b"], 1.0 - share))
        self._refuse_missing(mixed - found.keys(), "recipe", self.recipes)
        return found

    @cached_property
    def found_instructions(self) -> dict[str, Instruction]:
        """Instruction id -> what is known of it, for every parent of every row."""
        wanted = {parent for parents in self.parents.values() for parent, _ in parents}
        columns = ["instruction_id", "task", "origins"]
        found = {
            row["instruction_id"]: Instruction(row["task"] or NO_TASK, tuple(row["origins"]))
            for row in self._among(self.instructions, "instruction_id", wanted, columns)
        }
        self._refuse_missing(wanted - found.keys(), "instruction", self.instructions)
        self._refuse_missing(
            {name for name, one in found.items() if not one.origins}, "origin", self.instructions
        )
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every slot in order, with the columns of LEDGER_ROW."""
        for selection in self.ledger.steps:
            for slot, entry in enumerate(selection):
                yield {
                    "step": selection.step,
                    "slot": slot,
                    "row_id": entry.row_id,
                    "kind": entry.kind,
                    "cluster": entry.cluster,
                    "score": entry.score,
                    "weight": entry.weight,
                    "reason": entry.reason,
                    "policy_sha256": entry.policy_sha256,
                    "parents": [
                        {
                            "instruction_id": parent,
                            "share": share,
                            "task": self.found_instructions[parent].task,
                            "origins": list(self.found_instructions[parent].origins),
                        }
                        for parent, share in self.parents[entry.row_id]
                    ],
                }

    def totals(self) -> dict[str, Any]:
        """Counts, as JSON values.

        `slots` of a source, licence or task are those whose row came from there; a mixed row counts for each
        parent by its share. An instruction that stood in several sources counts in full for each of them.
        """
        uses: dict[str, _Use] = {}
        for selection in self.ledger.steps:
            for entry in selection:
                one = uses.setdefault(entry.row_id, _Use(entry.kind, selection.step, entry.reason))
                one.slots += 1
                one.weight += entry.weight
        slots = sum(one.slots for one in uses.values())
        by_instruction: dict[str, float] = defaultdict(float)
        for row, one in uses.items():
            for parent, share in self.parents[row]:
                by_instruction[parent] += share * one.slots
        mixed = [one for one in uses.values() if one.kind == "interpolated"]
        return {
            "steps": len(self.ledger.steps),
            "slots": slots,
            "distinct_rows": len(uses),
            "distinct_instructions": len(by_instruction),
            "interpolated_slots": sum(one.slots for one in mixed),
            "interpolated_rows": len(mixed),
            "sources": self._by_source(by_instruction, slots),
            "tasks": self._by_task(by_instruction, slots),
            "most_used": [
                {
                    "row_id": row,
                    "kind": one.kind,
                    "slots": one.slots,
                    "weight": one.weight,
                    "first_step": one.first_step,
                    "reason": one.reason,
                }
                for row, one in sorted(uses.items(), key=lambda item: (-item[1].slots, item[0]))[:MOST_USED]
            ],
        }

    def _by_source(self, by_instruction: Mapping[str, float], slots: int) -> list[dict[str, Any]]:
        found: dict[tuple[str, str], list[float]] = {}
        files: dict[tuple[str, str], set[str]] = defaultdict(set)
        for name, used in by_instruction.items():
            places = set()
            for origin in self.found_instructions[name].origins:
                place = origin["source"], origin["licence"] or NO_LICENCE
                places.add(place)
                files[place].add(origin["file_sha256"])
            for place in places:
                found.setdefault(place, []).append(used)
        return [
            {
                "source": source,
                "licence": licence,
                "files": len(files[source, licence]),
                "instructions": len(used),
                "slots": sum(used),
                "share": sum(used) / slots,
            }
            for (source, licence), used in sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))
        ]

    def _by_task(self, by_instruction: Mapping[str, float], slots: int) -> list[dict[str, Any]]:
        found: dict[str, list[float]] = {}
        for name, used in by_instruction.items():
            found.setdefault(self.found_instructions[name].task, []).append(used)
        return [
            {"task": task, "instructions": len(used), "slots": sum(used), "share": sum(used) / slots}
            for task, used in sorted(found.items(), key=lambda item: (-sum(item[1]), item[0]))
        ]

    def _among(
        self, ref: TableRef, key: str, wanted: set[str], columns: list[str]
    ) -> Iterator[dict[str, Any]]:
        """The rows with these keys; a table larger than memory streams by."""
        values = pa.array(sorted(wanted), pa.string())
        for batch in self.tables.batches(ref, columns=columns):
            yield from batch.filter(pc.is_in(batch[key], value_set=values)).to_pylist()

    def _refuse_missing(self, missing: set[str], what: str, ref: TableRef) -> None:
        if missing:
            raise SultanaError(
                f"The lineage is broken: {len(missing):,} rows of curriculum {self.curriculum_id} have no {what} in "
                f"{ref.table} version {ref.version}, among them {min(missing)}",
                "Restore the tables from a backup, or materialize the curriculum and what follows it again",
            )


@dataclass
class _Use:
    """How often a row was trained on."""

    kind: str
    first_step: int
    reason: str
    slots: int = 0
    weight: float = 0.0
