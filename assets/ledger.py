"""The curriculum as a ledger: which row is trained on at which step, in which slot, and why.

Decisions are data. Training reads the ledger, a resumed run reloads it and recomputes nothing, an
audit reads the same rows. Every strategy writes this one table (`records.CURRICULUM`), so a reader
never needs to know which one chose.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from assets.identity import ID_LENGTH, digest
from assets.ledger_columns import read_columns
from assets.records import CURRICULUM


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
    found = read_columns(table.to_batches(), identity, steps=steps, batch_size=batch_size)
    entries = found.entries.to_pylist()
    size = found.batch_size
    return Curriculum(
        found.curriculum_id,
        found.strategy,
        found.seed,
        tuple(
            Selection(
                step,
                tuple(
                    Entry(
                        row["row_id"],
                        row["kind"],
                        row["cluster"],
                        row["score"],
                        row["weight"],
                        row["reason"],
                        row["policy_sha256"],
                    )
                    for row in entries[step * size : (step + 1) * size]
                ),
            )
            for step in range(found.steps)
        ),
    )
