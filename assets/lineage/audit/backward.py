"""Backward: every row that a curriculum trained on, where it came from, and the totals that people ask for first.

What is read are the table versions that the curriculum was made from, never newer ones. Rows stay Arrow columns:
a ledger of a million entries over a pool of ten million rows takes seconds, and memory for the ledger alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.ledger_columns import LedgerColumns, read_columns
from assets.lineage.audit.influence import NO_GAINS, Gains
from assets.lineage.audit.joining import BATCH_ROWS, wanted_rows
from assets.lineage.audit.origins import Origins
from assets.records import ORIGIN
from assets.selection.reading import NO_TASK
from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import id_filter

MOST_USED = 10
WRITTEN_ROWS = 8192
"""Slots that are joined with all that stands behind them at once."""

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


@dataclass(frozen=True, eq=False)
class Uses:
    """The distinct rows of a ledger in the order in which they are first used, with the number of their slots."""

    row_ids: pa.StringArray
    slots: NDArray[np.int64]
    weights: NDArray[np.float64]  # summed over slots
    first: NDArray[np.int64]  # the entry that first uses the row
    mixed: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Parents:
    """The instructions behind rows. Row r has the links `starts[r]` to `starts[r + 1]`: one to itself where it is
    an original, two where it is a mix; `instruction` is a place in `instruction_ids`, in the order of first use."""

    instruction_ids: pa.StringArray
    starts: NDArray[np.int64]
    instruction: NDArray[np.int64]
    share: NDArray[np.float64]
    row: NDArray[np.int64]

    def summed(self, of_rows: NDArray[Any]) -> NDArray[np.float64]:
        """A measure of rows as one of instructions, mixes shared out by λ."""
        shares = self.share * of_rows[self.row]
        return np.bincount(self.instruction, shares, len(self.instruction_ids)).astype(np.float64)


@dataclass(frozen=True)
class Backward:
    """One curriculum and the table versions behind it. Every method raises SultanaError where a link is broken."""

    tables: LanceTables
    curriculum: TableRef
    curriculum_id: str
    instructions: TableRef
    recipes: TableRef
    gains: Gains = NO_GAINS

    @cached_property
    def ledger(self) -> LedgerColumns:
        """The ledger, complete and in order."""
        mine = id_filter("curriculum_id", [self.curriculum_id])
        found = self.tables.batches(self.curriculum, filter=mine, batch_size=BATCH_ROWS)
        return read_columns(found, self.curriculum_id)

    @cached_property
    def uses(self) -> Uses:
        """How often each row is trained on."""
        ledger = self.ledger
        row = ledger.numbers("row_id")
        row_ids = ledger.names("row_id")
        first = np.empty(len(row_ids), np.int64)
        first[row[::-1]] = np.arange(len(row))[::-1]
        return Uses(
            row_ids,
            np.bincount(row),
            np.bincount(row, ledger.numbers("weight")).astype(np.float64),
            first,
            ledger.equal("kind", "interpolated")[first],
        )

    @cached_property
    def parents(self) -> Parents:
        """The instructions behind every row, with shares that sum to 1."""
        uses = self.uses
        mixes = uses.row_ids.filter(pa.array(uses.mixed))
        columns = ["parent_a", "parent_b", "lambda"]
        found = list(wanted_rows(self.tables, self.recipes, "recipe_id", mixes, columns))
        place = np.concatenate([np.empty(0, np.int64), *(places for places, _ in found)])
        self._refuse_missing(_others(mixes, place), "recipe", self.recipes)

        links = np.where(uses.mixed, 2, 1)
        starts = np.concatenate([[0], np.cumsum(links)])
        row = np.repeat(np.arange(len(links)), links)
        share = np.ones(len(row))
        named = row.copy()  # a place in the rows, then parents a, then parents b
        names = [uses.row_ids]
        if found:
            recipes = pa.concat_tables([rows for _, rows in found])
            names += [pa.concat_arrays(recipes[column].chunks) for column in ("parent_a", "parent_b")]
            link = starts[:-1][uses.mixed][place]
            weight = recipes["lambda"].to_numpy()
            named[link] = len(links) + np.arange(len(link))
            named[link + 1] = len(links) + len(link) + np.arange(len(link))
            share[link], share[link + 1] = weight, 1.0 - weight
        encoded = pa.chunked_array(names).take(pa.array(named)).combine_chunks().dictionary_encode()
        instruction = encoded.indices.to_numpy().astype(np.int64)
        return Parents(encoded.dictionary, starts, instruction, share, row)

    @cached_property
    def origins(self) -> Origins:
        """Task, sources and files of each instruction."""
        wanted = self.parents.instruction_ids
        found = Origins(len(wanted))
        for places, rows in self._instruction_rows():
            found.add(places, rows)
        self._refuse_missing(_others(wanted, found.added), "instruction", self.instructions)
        self._refuse_missing(wanted.filter(pa.array(found.without)), "origin", self.instructions)
        return found

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every slot in order, with the columns of LEDGER_ROW, some thousand at a time."""
        row_of = self.ledger.numbers("row_id")
        for start in range(0, len(row_of), WRITTEN_ROWS):
            entries = self.ledger.entries.slice(start, WRITTEN_ROWS)
            behind = self.behind(row_of[start : start + WRITTEN_ROWS])
            columns = [
                behind if field.name == "parents" else entries[field.name].combine_chunks().cast(field.type)
                for field in LEDGER_ROW
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=LEDGER_ROW)

    def behind(self, rows: NDArray[np.int64]) -> pa.ListArray:
        """The parents of rows, which are named by their places in `uses`: a list of PARENT each."""
        parents = self.parents
        links = np.diff(parents.starts)[rows]
        offsets = np.concatenate([[0], np.cumsum(links)])
        link = np.repeat(parents.starts[rows] - offsets[:-1], links) + np.arange(offsets[-1])
        found = self._instructions_in_order.take(pa.array(parents.instruction[link]))
        columns = [
            pa.array(parents.share[link])
            if field.name == "share"
            else pa.concat_arrays([pa.array([], field.type), *found[field.name].chunks])
            for field in PARENT
        ]
        structs = pa.StructArray.from_arrays(columns, fields=list(PARENT))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs)

    def totals(self) -> dict[str, Any]:
        """Counts, as JSON values.

        `slots` of a source, licence or task are those whose row came from there; a mixed row counts for each
        parent by its share. An instruction that stood in several sources counts in full for each of them.
        `influences` are the rows and instructions with the largest summed gain (`influence.Gains`).
        """
        ledger, uses, parents = self.ledger, self.uses, self.parents
        slots = len(ledger.entries)
        used = parents.summed(uses.slots)
        interpolated = int(uses.slots[uses.mixed].sum())
        return {
            "steps": ledger.steps,
            "slots": slots,
            "distinct_rows": len(uses.row_ids),
            "distinct_instructions": len(parents.instruction_ids),
            "interpolated_slots": interpolated,
            "interpolated_rows": int(uses.mixed.sum()),
            "synthetic_share": interpolated / slots,
            "sources": self.origins.by_source(used, slots),
            "tasks": self.origins.by_task(used, slots),
            "most_used": self._most_used(),
            "influences": self._influences(),
        }

    def _most_used(self) -> list[dict[str, Any]]:
        uses = self.uses
        found = _largest(uses.row_ids, uses.slots, MOST_USED)
        return [
            {
                "row_id": uses.row_ids[row].as_py(),
                "kind": self._at("kind", row),
                "slots": int(uses.slots[row]),
                "weight": float(uses.weights[row]),
                "first_step": self._at("step", row),
                "reason": self._at("reason", row),
            }
            for row in found
        ]

    def _influences(self) -> dict[str, Any]:
        told: dict[str, Any] = {"measure": self.gains.measure, "told": self.gains.told}
        of_entries = self.gains.of_entries(self.ledger)
        if of_entries is None:
            return told | {"sum": None, "rows": [], "instructions": []}
        uses, parents = self.uses, self.parents
        of_rows = np.bincount(self.ledger.numbers("row_id"), of_entries)
        of_instructions = parents.summed(of_rows)
        rows = [
            {
                "row_id": uses.row_ids[row].as_py(),
                "kind": self._at("kind", row),
                "gain": float(of_rows[row]),
                "slots": int(uses.slots[row]),
                "first_step": self._at("step", row),
            }
            for row in _largest(uses.row_ids, of_rows, MOST_USED)
        ]
        instructions = [
            {
                "instruction_id": parents.instruction_ids[place].as_py(),
                "gain": float(of_instructions[place]),
                **self.origins.of(place),
            }
            for place in _largest(parents.instruction_ids, of_instructions, MOST_USED)
        ]
        return told | {"sum": float(of_entries.sum()), "rows": rows, "instructions": instructions}

    def _at(self, column: str, row: int) -> Any:
        """What the entry that first uses a row says."""
        return self.ledger.entries[column][int(self.uses.first[row])].as_py()

    def _instruction_rows(self) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        return wanted_rows(
            self.tables,
            self.instructions,
            "instruction_id",
            self.parents.instruction_ids,
            ["task", "origins"],
        )

    @cached_property
    def _instructions_in_order(self) -> pa.Table:
        """The instructions behind the rows, in the order of `parents.instruction_ids`, with every origin."""
        self.origins  # noqa: B018 - refuses broken links before a row is given
        found = list(self._instruction_rows())
        order = np.argsort(np.concatenate([places for places, _ in found]))
        rows = pa.concat_tables([rows for _, rows in found]).combine_chunks()
        task = rows.schema.get_field_index("task")
        named = pc.if_else(pc.equal(pc.fill_null(rows["task"], ""), ""), NO_TASK, rows["task"])
        return rows.set_column(task, "task", named).take(pa.array(order)).combine_chunks()

    def _refuse_missing(self, missing: pa.StringArray, what: str, ref: TableRef) -> None:
        if len(missing):
            raise SultanaError(
                f"The lineage is broken: {len(missing):,} rows of curriculum {self.curriculum_id} have no {what} in "
                f"{ref.table} version {ref.version}, among them {pc.min(missing).as_py()}",
                "Restore the tables from a backup, or materialize the curriculum and what follows it again",
                code="lineage-broken",
            )


def _others(names: pa.StringArray, places: NDArray[np.int64]) -> pa.StringArray:
    """The names that are at none of these places."""
    others = np.ones(len(names), np.bool_)
    others[places] = False
    return names.filter(pa.array(others))


def _largest(names: pa.StringArray, values: NDArray[Any], count: int) -> list[int]:
    """The places of the `count` largest values, ties by name."""
    table = pa.table({"value": values, "name": names})
    keys = [("value", "descending"), ("name", "ascending")]
    found: list[int] = pc.select_k_unstable(table, k=min(count, len(values)), sort_keys=keys).to_pylist()
    return found
