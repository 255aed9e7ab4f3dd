"""The curriculum as a ledger: which row is trained on at which step, in which slot, and why.

Decisions are data. Training reads the ledger, a resumed run reloads it and recomputes nothing, an
audit reads the same rows. Every strategy writes this one table (`records.CURRICULUM`), so a reader
never needs to know which one chose.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from assets.records import CURRICULUM, ID_LENGTH, KINDS, digest
from resources.errors import SultanaError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMEDY = "Materialize the curriculum again: its ledger is incomplete or was edited"


@dataclass(frozen=True)
class Entry:
    """One slot of one batch. `policy_sha256` is the hash of what chose the row."""

    row_id: str
    kind: str
    cluster: int
    score: float  # what the strategy ranked by
    weight: float  # weight of the row's loss
    reason: str  # in words
    policy_sha256: str


@dataclass(frozen=True)
class Selection:
    """The batch of one optimizer step (from 0); a row's place in `entries` is its slot."""

    step: int
    entries: tuple[Entry, ...]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def row_ids(self) -> tuple[str, ...]:
        """The rows in slot order."""
        return tuple(entry.row_id for entry in self.entries)


@dataclass(frozen=True)
class Curriculum:
    """A ledger read back: its identity and its steps in order."""

    curriculum_id: str
    strategy: str
    seed: int
    steps: tuple[Selection, ...]

    @property
    def batch_size(self) -> int:
        """Rows of one step (B)."""
        return len(self.steps[0])


def curriculum_id(inputs: Mapping[str, Any]) -> str:
    """The id of a curriculum: a hash of all that decides it.

    `inputs` is a JSON mapping: strategy, seed, settings, digests of the tables read, fingerprint of
    the model, code version. Equal inputs give an equal id, whatever the order of keys.
    """
    return digest(dict(inputs))[:ID_LENGTH]


def strategy_sha256(strategy: str, version: str) -> str:
    """What stands in `policy_sha256` for a strategy without weights: a hash of its name and version."""
    return digest([strategy, version])


def curriculum_table(identity: str, strategy: str, seed: int, selections: Sequence[Selection]) -> pa.Table:
    """The ledger as a table of `records.CURRICULUM.schema`, ordered by step and slot.

    Raises SultanaError under the conditions of `read_curriculum`.
    """
    entries = [(chosen.step, slot, entry) for chosen in selections for slot, entry in enumerate(chosen)]
    table = pa.Table.from_pylist(
        [
            {
                "entry_id": f"{identity}:{step}:{slot}",
                "curriculum_id": identity,
                "strategy": strategy,
                "seed": seed,
                "step": step,
                "slot": slot,
                "row_id": entry.row_id,
                "kind": entry.kind,
                "cluster": entry.cluster,
                "score": entry.score,
                "weight": entry.weight,
                "reason": entry.reason,
                "policy_sha256": entry.policy_sha256,
            }
            for step, slot, entry in entries
        ],
        schema=CURRICULUM.schema,
    )
    read_curriculum(table)
    return table


def read_curriculum(
    table: pa.Table,
    identity: str | None = None,
    *,
    steps: int | None = None,
    batch_size: int | None = None,
) -> Curriculum:
    """The steps of a ledger in order, whatever the order of its rows.

    `identity` names the curriculum where the table holds several; `steps` and `batch_size` are what
    the reader expects, where it knows. Raises SultanaError where columns are missing; the table holds
    no curriculum, or several without `identity`; steps are not 0..T-1 or slots not 0..B-1 with one B;
    a strategy or seed is mixed; a score is not finite; a weight is not above 0; a kind is
    unknown; a reason is empty; or a hash is not one.
    """
    missing = set(CURRICULUM.schema.names) - set(table.column_names)
    if missing:
        raise SultanaError(f"The curriculum table lacks the columns {', '.join(sorted(missing))}", _REMEDY)
    rows = table.select(CURRICULUM.schema.names).to_pylist()
    if identity is not None:
        rows = [row for row in rows if row["curriculum_id"] == identity]
    if not rows:
        raise SultanaError(
            "The curriculum table has no entry"
            if identity is None
            else f"Curriculum {identity} has no entry",
            "Materialize the curriculum",
        )
    headers = {(row["curriculum_id"], row["strategy"], row["seed"]) for row in rows}
    if len(headers) > 1:
        known = ", ".join(sorted({row["curriculum_id"] for row in rows})[:4])
        raise SultanaError(
            f"The entries are of more than one curriculum, strategy or seed (curricula: {known})",
            "Name the curriculum to read, and keep one strategy and seed per curriculum",
        )
    found, strategy, seed = headers.pop()
    by_step: dict[int, dict[int, Entry]] = {}
    for row in rows:
        _check_entry(row)
        slots = by_step.setdefault(row["step"], {})
        if row["slot"] in slots:
            raise SultanaError(
                f"Step {row['step']} of curriculum {found} has slot {row['slot']} twice", _REMEDY
            )
        slots[row["slot"]] = Entry(
            row["row_id"],
            row["kind"],
            row["cluster"],
            row["score"],
            row["weight"],
            row["reason"],
            row["policy_sha256"],
        )
    _check_complete(found, by_step, steps, batch_size)
    ordered = tuple(
        Selection(step, tuple(by_step[step][slot] for slot in sorted(by_step[step])))
        for step in sorted(by_step)
    )
    return Curriculum(found, strategy, seed, ordered)


def _check_entry(row: Mapping[str, Any]) -> None:
    name = f"Entry {row['entry_id']}"
    if row["entry_id"] != f"{row['curriculum_id']}:{row['step']}:{row['slot']}":
        raise SultanaError(f"{name} is at step {row['step']}, slot {row['slot']}", _REMEDY)
    if row["kind"] not in KINDS:
        raise SultanaError(f"{name} has kind {row['kind']!r}; expected {' or '.join(KINDS)}", _REMEDY)
    if not math.isfinite(row["score"]):
        raise SultanaError(f"{name} has score {row['score']}; expected a finite number", _REMEDY)
    if not (math.isfinite(row["weight"]) and row["weight"] > 0):
        raise SultanaError(f"{name} has weight {row['weight']}; expected a finite number above 0", _REMEDY)
    if not row["row_id"] or not row["reason"]:
        raise SultanaError(f"{name} lacks a row id or a reason", _REMEDY)
    if not _SHA256.fullmatch(row["policy_sha256"]):
        raise SultanaError(
            f"{name} has policy hash {row['policy_sha256']!r}; expected 64 hex digits", _REMEDY
        )


def _check_complete(
    found: str, by_step: Mapping[int, Mapping[int, Entry]], steps: int | None, batch_size: int | None
) -> None:
    total = max(by_step) + 1 if steps is None else steps
    absent = sorted(set(range(total)) - set(by_step))
    if absent or len(by_step) != total:
        where = f"lacks step {absent[0]}" if absent else f"has {len(by_step)} steps"
        raise SultanaError(f"Curriculum {found} {where}; expected steps 0 to {total - 1}", _REMEDY)
    size = max(len(slots) for slots in by_step.values()) if batch_size is None else batch_size
    for step, slots in sorted(by_step.items()):
        if set(slots) != set(range(size)):
            raise SultanaError(
                f"Step {step} of curriculum {found} has slots {sorted(slots)}; expected 0 to {size - 1}",
                _REMEDY,
            )
