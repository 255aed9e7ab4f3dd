"""Which curricula and registered versions hold rows that were retracted: found by the versions they were made from."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.instructions.retractions import (
    RETRACT,
    Retraction,
    Standing,
    read_decisions,
    retraction_of,
    standing,
)
from assets.lineage.audit.backward import Backward
from assets.materialized import every_materialization, follow
from orchestration.chains import open_backward
from orchestration.registered import Registered, checkpoint_of
from resources.errors import SultanaError
from resources.tables import LanceTables

if TYPE_CHECKING:
    from resources.tracking import Tracking

MOST_NAMED = 20


@dataclass(frozen=True)
class Held:
    """What a curriculum holds of one retraction: instructions, and slots of them and of mixes of them."""

    retraction: Retraction
    instructions: tuple[str, ...]
    slots: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values; the first instructions only."""
        return {
            **{name: value for name, value in self.retraction.to_json().items() if name != "rows"},
            "instructions": len(self.instructions),
            "slots": self.slots,
            "among_them": list(self.instructions[:MOST_NAMED]),
        }


@dataclass(frozen=True)
class Sight:
    """A registered version and what its curriculum holds."""

    model: str
    version: int
    aliases: tuple[str, ...]
    partition: str | None
    curriculum_id: str
    held: tuple[Held, ...]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.model} version {self.version}"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "model": self.model,
            "version": self.version,
            "aliases": list(self.aliases),
            "partition": self.partition,
            "curriculum_id": self.curriculum_id,
            "instructions": len({name for one in self.held for name in one.instructions}),
            "retractions": [one.retraction.retraction_id for one in self.held],
        }


def held_by(rows: Backward, stands: Standing) -> tuple[Held, ...]:
    """What a curriculum holds of the retractions that stand."""
    if not stands:
        return ()
    under: dict[str, Iterable[str]] = {}
    slots: Counter[str] = Counter()
    for batch in rows.batches():
        for row in batch.to_pylist():
            for parent in row["parents"]:
                name = parent["instruction_id"]
                if name not in under:
                    under[name] = stands.of_instruction(name, parent["origins"])
            slots.update({one for parent in row["parents"] for one in under[parent["instruction_id"]]})
    return tuple(
        Held(
            stands.by_id[retraction],
            tuple(sorted(name for name, some in under.items() if retraction in some)),
            slots[retraction],
        )
        for retraction in sorted(slots)
    )


def sights(
    instance: dg.DagsterInstance, tables: LanceTables, tracking: "Tracking", stands: Standing
) -> Iterator[Sight]:
    """Every registered version whose curriculum holds a retracted row or a mix of one."""
    known: dict[str, tuple[Held, ...]] = {}
    aliases: dict[str, Mapping[str, int]] = {}
    seen: set[tuple[str, int]] = set()
    for made in every_materialization(instance, "checkpoint"):
        facts = made.record["facts"]
        version = facts["model"], facts["version"]
        if version in seen:
            continue
        seen.add(version)
        identity = facts["curriculum_id"]
        if identity not in known:
            rows = open_backward(instance, tables, follow(instance, made, "curriculum"))
            known[identity] = held_by(rows, stands)
        if not known[identity]:
            continue
        if facts["model"] not in aliases:
            aliases[facts["model"]] = tracking.aliases(facts["model"])
        yield Sight(
            facts["model"],
            facts["version"],
            tuple(sorted(name for name, at in aliases[facts["model"]].items() if at == facts["version"])),
            made.partition,
            identity,
            known[identity],
        )


def held_by_version(
    instance: dg.DagsterInstance, tables: LanceTables, model: Registered
) -> tuple[Held, ...] | None:
    """What a version was trained on of all that is retracted now; None where its lineage is not known here."""
    stands = standing(read_decisions(tables))
    if not stands:
        return ()
    try:
        curriculum = follow(instance, checkpoint_of(instance, model), "curriculum")
        return held_by(open_backward(instance, tables, curriculum), stands)
    except SultanaError:
        return None


def in_words(title: str, held: tuple[Held, ...]) -> str:
    """One sentence about a version and what it was trained on."""
    rows = len({name for one in held for name in one.instructions})
    why = "; ".join(f"{one.retraction.title}: {one.retraction.reason}" for one in held[:3])
    more = f"; and {len(held) - 3} more" if len(held) > 3 else ""
    return f"{title} was trained on {rows:,} retracted instructions ({why}{more})"


def warning_about(model: Registered, tables: LanceTables) -> str | None:
    """The line that commands show before they use a version that saw retracted rows; None where there is none."""
    from orchestration.instance import open_instance
    from resources.definitions import data_folder

    if not read_decisions(tables):
        return None
    with open_instance(data_folder()) as instance:
        held = held_by_version(instance, tables, model)
    return f"Warning: {in_words(model.title, held)}" if held else None


def retractions_of(
    tables: LanceTables, origins: Sequence[Mapping[str, Any]], ids: Iterable[str]
) -> list[dict[str, Any]]:
    """Every retraction that origins (as a trace tells them) or instructions fall under, in order, as JSON values.

    `lifted` is the decision that lifted it, None where it stands.
    """
    decisions = read_decisions(tables)
    lifts = {row["lifts"]: row for row in decisions if row["lifts"]}
    found = []
    for row in decisions:
        if row["action"] != RETRACT:
            continue
        one = retraction_of(row)
        alone = Standing((one,))
        if not any(alone.of_origin(origin["instruction_id"], origin) for origin in origins) and not (
            one.kind == "row" and set(one.rows) & set(ids)
        ):
            continue
        lifted = lifts.get(one.retraction_id)
        found.append(
            {
                **{name: value for name, value in one.to_json().items() if name != "rows"},
                "lifted": {
                    "retraction_id": lifted["retraction_id"],
                    "reason": lifted["reason"],
                    "decided_by": lifted["decided_by"],
                    "decided_at": lifted["decided_at"].isoformat(timespec="seconds"),
                }
                if lifted
                else None,
            }
        )
    return found
