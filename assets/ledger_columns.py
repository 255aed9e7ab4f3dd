"""A ledger as Arrow columns: what every reader of one checks, a batch at a time.

A ledger of a million entries is 300 MB of text, most of it repeated. Checks run on whole columns while batches
pass, and what is kept repeats no text, so that an audit of it needs neither the time nor the memory of a million
Python objects. `assets.ledger.read_curriculum` makes those objects where they are wanted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.records import CURRICULUM, KINDS
from resources.errors import SultanaError

REMEDY = "Materialize the curriculum again: its ledger is incomplete or was edited"

_HEADER = ("curriculum_id", "strategy", "seed")
_ENTRY = ("step", "slot", "row_id", "kind", "cluster", "score", "weight", "reason", "policy_sha256")
_REPEATED = frozenset({"kind", "reason", "policy_sha256"})


@dataclass(frozen=True, eq=False)
class LedgerColumns:
    """A ledger that was checked. `entries` has a row a slot, ordered by step and slot: `step`, `slot`, `row_id`,
    `kind`, `cluster`, `score`, `weight`, `reason` and `policy_sha256`, each column one chunk and all text
    dictionary-encoded; the dictionary of `row_id` is in the order in which rows are first used."""

    curriculum_id: str
    strategy: str
    seed: int
    steps: int
    batch_size: int
    entries: pa.Table

    def numbers(self, column: str) -> NDArray[Any]:
        """A column of numbers (n,), or the codes of a column of text."""
        values = self.entries[column].chunk(0)
        return np.asarray(values.indices if pa.types.is_dictionary(values.type) else values)

    def equal(self, column: str, text: str) -> NDArray[np.bool_]:
        """Where a column of text says `text` (n,)."""
        return np.array([one == text for one in self.names(column).to_pylist()])[self.numbers(column)]

    def names(self, column: str) -> pa.StringArray:
        """The distinct texts of a column, in the order of their codes."""
        return self.entries[column].chunk(0).dictionary


def read_columns(
    batches: Iterable[pa.RecordBatch],
    identity: str | None = None,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
) -> LedgerColumns:
    """The checked ledger in `batches` of `records.CURRICULUM`, whatever the order of its rows.

    `identity`, `steps` and `batch_size` as for `ledger.read_curriculum`, which says what is refused.
    """
    parts: list[pa.Table] = []
    headers: set[tuple[Any, ...]] = set()
    for batch in batches:
        missing = set(CURRICULUM.schema.names) - set(batch.schema.names)
        if missing:
            raise SultanaError(
                f"The curriculum table lacks the columns {', '.join(sorted(missing))}",
                REMEDY,
                code="curriculum-invalid",
            )
        if identity is not None:
            batch = batch.filter(pc.equal(batch["curriculum_id"], identity))
        if not batch.num_rows:
            continue
        headers |= _headers(batch)
        if len(headers) > 1:
            known = ", ".join(sorted({str(one[0]) for one in headers})[:4])
            raise SultanaError(
                f"The entries are of more than one curriculum, strategy or seed (curricula: {known})",
                "Name the curriculum to read, and keep one strategy and seed per curriculum",
                code="curriculum-ambiguous",
            )
        _check_entries(batch)
        parts.append(_compact(batch))
    if not parts:
        raise SultanaError(
            "The curriculum table has no entry"
            if identity is None
            else f"Curriculum {identity} has no entry",
            "Materialize the curriculum",
            code="curriculum-empty",
        )
    found, strategy, seed = headers.pop()
    entries = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    step, slot = (entries[name].to_numpy() for name in ("step", "slot"))
    place = step.astype(np.int64) << 32 | slot
    if (np.diff(place) <= 0).any():
        order = np.argsort(place, kind="stable")
        entries = entries.take(pa.array(order)).combine_chunks()
        step, slot = step[order], slot[order]
    total, size = _check_complete(found, step, slot, steps, batch_size)
    at = entries.schema.get_field_index("row_id")
    entries = entries.set_column(at, "row_id", entries["row_id"].chunk(0).dictionary_encode())
    return LedgerColumns(found, strategy, seed, total, size, entries)


def _headers(batch: pa.RecordBatch) -> set[tuple[Any, ...]]:
    found = pa.table({name: batch[name] for name in _HEADER}).group_by(list(_HEADER)).aggregate([])
    return {tuple(row[name] for name in _HEADER) for row in found.to_pylist()}


def _compact(batch: pa.RecordBatch) -> pa.Table:
    return pa.table(
        {name: batch[name].dictionary_encode() if name in _REPEATED else batch[name] for name in _ENTRY}
    )


@dataclass(frozen=True)
class _Rule:
    """`broken` says of each entry whether it breaks the rule; `told` what is wrong with one."""

    broken: Callable[[pa.RecordBatch], pa.Array]
    told: Callable[[Mapping[str, Any]], str]


def _misplaced(batch: pa.RecordBatch) -> pa.Array:
    step, slot = (batch[name].cast(pa.string()) for name in ("step", "slot"))
    expected = pc.binary_join_element_wise(batch["curriculum_id"], step, slot, ":")
    return pc.not_equal(batch["entry_id"], expected)


def _no_weight(batch: pa.RecordBatch) -> pa.Array:
    weight = batch["weight"]
    return pc.invert(pc.and_(pc.is_finite(weight), pc.greater(weight, 0.0)))


def _empty(batch: pa.RecordBatch) -> pa.Array:
    return pc.or_(*(pc.equal(pc.binary_length(batch[name]), 0) for name in ("row_id", "reason")))


_RULES = (
    _Rule(_misplaced, lambda row: f"is at step {row['step']}, slot {row['slot']}"),
    _Rule(
        lambda batch: pc.invert(pc.is_in(batch["kind"], value_set=pa.array(KINDS))),
        lambda row: f"has kind {row['kind']!r}; expected {' or '.join(KINDS)}",
    ),
    _Rule(
        lambda batch: pc.invert(pc.is_finite(batch["score"])),
        lambda row: f"has score {row['score']}; expected a finite number",
    ),
    _Rule(_no_weight, lambda row: f"has weight {row['weight']}; expected a finite number above 0"),
    _Rule(_empty, lambda row: "lacks a row id or a reason"),
    _Rule(
        lambda batch: pc.invert(pc.match_substring_regex(batch["policy_sha256"], r"\A[0-9a-f]{64}\z")),
        lambda row: f"has policy hash {row['policy_sha256']!r}; expected 64 hex digits",
    ),
)


def _check_entries(batch: pa.RecordBatch) -> None:
    """Raises SultanaError about the first entry that breaks a rule, naming the first rule that it breaks."""
    broken = [pc.fill_null(rule.broken(batch), fill_value=True) for rule in _RULES]
    first = {rule: pc.index(mask, value=True).as_py() for rule, mask in zip(_RULES, broken, strict=True)}
    found = [(at, number) for number, at in enumerate(first.values()) if at >= 0]
    if found:
        at, number = min(found)
        row = batch.slice(at, 1).to_pylist()[0]
        raise SultanaError(
            f"Entry {row['entry_id']} {_RULES[number].told(row)}", REMEDY, code="curriculum-invalid"
        )


def _check_complete(
    found: str, step: NDArray[Any], slot: NDArray[Any], steps: int | None, batch_size: int | None
) -> tuple[int, int]:
    """Steps and rows of a step, where there are all of both; `step` and `slot` (n,) are in order."""
    twice = np.flatnonzero((np.diff(step) == 0) & (np.diff(slot) == 0))
    if len(twice):
        raise SultanaError(
            f"Step {step[twice[0]]} of curriculum {found} has slot {slot[twice[0]]} twice",
            REMEDY,
            code="curriculum-invalid",
        )
    there, starts, counts = np.unique(step, return_index=True, return_counts=True)
    total = int(there[-1]) + 1 if steps is None else steps
    if not np.array_equal(there, np.arange(total)):
        expected = np.arange(min(total, len(there) + 1))
        absent = np.setdiff1d(expected, there)
        where = f"lacks step {absent[0]}" if len(absent) else f"has {len(there)} steps"
        raise SultanaError(
            f"Curriculum {found} {where}; expected steps 0 to {total - 1}", REMEDY, code="curriculum-invalid"
        )
    size = int(counts.max()) if batch_size is None else batch_size
    # Ordered and without repeats, the slots of a step are 0..B-1 where there are B of them that begin with 0 and
    # end with B-1.
    whole = (counts == size) & (slot[starts] == 0) & (slot[starts + counts - 1] == size - 1)
    if not whole.all():
        at = int(np.flatnonzero(~whole)[0])
        slots = slot[starts[at] : starts[at] + counts[at]].tolist()
        raise SultanaError(
            f"Step {there[at]} of curriculum {found} has slots {slots}; expected 0 to {size - 1}",
            REMEDY,
            code="curriculum-invalid",
        )
    return total, size
