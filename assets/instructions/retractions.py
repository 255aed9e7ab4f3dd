"""Retractions: which rows may not be trained on any more, as rules that also hold for rows that come later.

Decisions are data: a retraction, and the lifting of one, is a row of `records.RETRACTIONS`, chained to the
decision before. Nothing is deleted from that table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from assets.identity import decision_id, digest
from assets.records import RETRACTIONS
from resources.table_refs import TableRef
from resources.tables import LanceTables

Kind = Literal["row", "source", "licence", "file"]
RETRACT, LIFT = "retract", "lift"
REASON = "retracted"
"""What `dropped_instructions` says of rows that are left out because of a retraction."""


@dataclass(frozen=True)
class Retraction:
    """A rule, and who decided it. It holds for rows of the source, licence or file, or for the ids in `rows`.

    With a file, `rows` are the only ones of that file that are meant: ids, since lines move.
    """

    retraction_id: str
    kind: Kind
    value: str | None
    rows: tuple[str, ...]
    position: int | None
    reason: str
    erase: bool
    decided_by: str
    decided_at: str  # ISO 8601, UTC

    @property
    def title(self) -> str:
        """What is retracted, for people."""
        if self.kind == "row":
            more = f" and {len(self.rows) - 1:,} more" if len(self.rows) > 1 else ""
            return f"row {self.rows[0]}{more}"
        line = f":{self.position}" if self.position is not None else ""
        return f"{self.kind} {self.value}{line}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "retraction_id": self.retraction_id,
            "kind": self.kind,
            "value": self.value,
            "rows": list(self.rows),
            "position": self.position,
            "title": self.title,
            "reason": self.reason,
            "erase": self.erase,
            "decided_by": self.decided_by,
            "decided_at": self.decided_at,
        }


@dataclass(frozen=True)
class Standing:
    """The retractions that stand, and which of them a row falls under."""

    retractions: tuple[Retraction, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.retractions)

    @cached_property
    def by_id(self) -> dict[str, Retraction]:
        """Retraction id -> retraction."""
        return {one.retraction_id: one for one in self.retractions}

    @cached_property
    def digest(self) -> str:
        """A digest (hexadecimal) of all that stand; the same whenever the same stand."""
        return digest(sorted(one.retraction_id for one in self.retractions))

    @cached_property
    def erasures(self) -> "Standing":
        """Those that stand and remove content as well."""
        return Standing(tuple(one for one in self.retractions if one.erase))

    @cached_property
    def _lookups(self) -> dict[Kind, dict[str, list[str]]]:
        found: dict[Kind, dict[str, list[str]]] = {"row": {}, "source": {}, "licence": {}}
        for one in self.retractions:
            keys = one.rows if one.kind == "row" else (_licence(one.value),)
            if one.kind == "source":
                keys = (one.value or "",)
            if one.kind != "file":
                for key in keys:
                    found[one.kind].setdefault(key, []).append(one.retraction_id)
        return found

    @cached_property
    def _files(self) -> list[tuple[str, str, frozenset[str], str]]:
        return [
            (one.value or "", f"/{one.value}", frozenset(one.rows), one.retraction_id)
            for one in self.retractions
            if one.kind == "file"
        ]

    def of_origin(self, instruction_id: str | None, origin: Mapping[str, Any]) -> list[str]:
        """The retractions that an origin falls under: a row of RAW_INSTRUCTIONS, or one of `origins`."""
        if not self.retractions:
            return []
        by = self._lookups
        found = [
            *by["row"].get(instruction_id or "", ()),
            *by["row"].get(origin["origin_id"], ()),
            *by["source"].get(origin["source"], ()),
        ]
        if by["licence"]:
            found += by["licence"].get(_licence(origin["licence"]), ())
        for name, tail, rows, retraction in self._files:
            here = origin["file"] == name or origin["file"].endswith(tail)
            if here and (not rows or instruction_id in rows or origin["origin_id"] in rows):
                found.append(retraction)
        return found

    def of_instruction(self, instruction_id: str, origins: Sequence[Mapping[str, Any]]) -> list[str]:
        """The retractions of an instruction, each once: none unless every place that it stood in is retracted."""
        found = [self.of_origin(instruction_id, origin) for origin in origins]
        return sorted({one for some in found for one in some}) if all(found) else []


def _licence(name: str | None) -> str:
    """Identifiers of licences have no case."""
    return (name or "").strip().casefold()


_NOT_DECIDED = ("retraction_id", "sequence", "matched", "decided_by", "decided_at")


def read_decisions(tables: LanceTables, ref: TableRef | None = None) -> list[dict[str, Any]]:
    """Rows of RETRACTIONS in order, of the newest version or of another; none where nothing was ever decided."""
    ref = ref or tables.head(RETRACTIONS.table)
    if ref is None:
        return []
    return sorted(tables.read(ref).to_pylist(), key=lambda row: int(row["sequence"]))


def identity_of(before: str | None, row: Mapping[str, Any]) -> str:
    """The id of a decision: a hash of what was decided and of the decision before it."""
    return decision_id(before, {name: value for name, value in row.items() if name not in _NOT_DECIDED})


def broken_link(decisions: Iterable[Mapping[str, Any]]) -> int | None:
    """The number of the first decision that does not follow from the one before it; None where all do."""
    before: str | None = None
    for place, row in enumerate(decisions, start=1):
        if row["sequence"] != place or identity_of(before, row) != row["retraction_id"]:
            return int(row["sequence"])
        before = row["retraction_id"]
    return None


def standing(decisions: Iterable[Mapping[str, Any]]) -> Standing:
    """What stands after decisions in order."""
    found: dict[str, Retraction] = {}
    for row in decisions:
        if row["action"] == LIFT:
            found.pop(row["lifts"], None)
            continue
        found[row["retraction_id"]] = retraction_of(row)
    return Standing(tuple(found.values()))


def retraction_of(row: Mapping[str, Any]) -> Retraction:
    """A row of RETRACTIONS whose action is to retract."""
    return Retraction(
        retraction_id=row["retraction_id"],
        kind=row["kind"],
        value=row["value"],
        rows=tuple(row["rows"] or ()),
        position=row["position"],
        reason=row["reason"],
        erase=row["erase"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"].isoformat(timespec="seconds"),
    )


def erasures_so_far(decisions: Iterable[Mapping[str, Any]]) -> str | None:
    """A digest of every decision to erase, and to lift one, in order; None where there was none.

    What was erased is gone from versions that may not be used again, also once the retraction is lifted.
    """
    found: list[str] = []
    for row in decisions:
        if row["erase"] or row["lifts"] in found:
            found.append(row["retraction_id"])
    return digest(found) if found else None
