"""`sultana retract`: a decision on the record that rows may not be trained on any more, and all that follows from it.

The decision is written first. What follows (the asset `retractions`, tags and champions, erasure) can be done again
at any time: the same command finishes what was cut short.
"""

import getpass
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import dagster as dg
import pyarrow as pa

from assets.instructions.retractions import (
    LIFT,
    RETRACT,
    Kind,
    Retraction,
    identity_of,
    read_decisions,
    retraction_of,
    standing,
)
from assets.records import RAW_INSTRUCTIONS, RETRACTIONS
from orchestration.erasing import erase_content, refuse_while_running
from orchestration.instance import open_instance
from orchestration.registered import open_registry
from orchestration.retraction_effects import effects, resolve_place, resolve_rows
from orchestration.withdrawal import lift_tags, tag_versions, withdraw_champions
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.files import exclusive_lock
from resources.run_process import carried_out
from resources.table_refs import Provenance
from resources.tables import LanceTables

LOCK_SECONDS = 60.0
PLANNED = "0" * 32
"""The id of a retraction that is not decided yet."""
STILL_THERE = (
    "The source files are yours and were not touched: they still hold the rows, and so do backups, exports and copies "
    "that were made before; whoever owns them has to remove the rows there. Weights that were trained on the rows were "
    "not changed"
)


@dataclass(frozen=True)
class Request:
    """What is to be retracted: rows, or one source, licence or file (with a line: FILE:LINE), and why."""

    rows: Sequence[str] = ()
    source: str = ""
    licence: str = ""
    file: str = ""
    reason: str = ""
    erase: bool = False
    keep_champion: str = ""
    by: Literal["command line", "UI"] = "command line"


def plan(request: Request, tracking_uri: str = "") -> dict[str, Any]:
    """What a retraction would do, as JSON values; nothing is written. Raises SultanaError as `retract` does."""
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    if request.erase:
        tables.path(RAW_INSTRUCTIONS.table)  # raises where nothing can be erased, before anything is decided
    with open_instance(data_folder()) as instance:
        rule = _rule(instance, tables, request)
        stands = standing(read_decisions(tables))
        return {
            **rule.to_json(),
            "retraction_id": None,
            "decided": False,
            "effects": effects(instance, tables, tracking, stands, rule),
        }


def retract(request: Request, tracking_uri: str = "") -> dict[str, Any]:
    """Puts a retraction on the record and does what follows from it; what was done, as JSON values.

    A retraction that stands already is not decided again: what follows from it is done again. Raises SultanaError
    where it names nothing or several things, a row is not known, or the reason is missing.
    """
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    if not request.reason.strip():
        raise SultanaError("A retraction needs a reason", 'Add --reason "..."', code="reason-missing")
    if request.erase:
        tables.path(RAW_INSTRUCTIONS.table)
    with open_instance(data_folder()) as instance, _locked():
        if request.erase:
            refuse_while_running(instance)
        rule = _rule(instance, tables, request)
        decisions = read_decisions(tables)
        stands = standing(decisions)
        found = effects(instance, tables, tracking, stands, rule)
        same = [
            one
            for one in stands.retractions
            if (one.kind, one.value, sorted(one.rows)) == (rule.kind, rule.value, sorted(rule.rows))
            and one.erase >= rule.erase
        ]
        if same:
            decided = same[0]
        else:
            row = {
                "action": RETRACT,
                "kind": rule.kind,
                "value": rule.value,
                "rows": list(rule.rows) or None,
                "position": rule.position,
                "lifts": None,
                "reason": rule.reason,
                "erase": rule.erase,
                "champion_kept": request.keep_champion.strip() or None,
                "matched": json.dumps(found, sort_keys=True),
            }
            decided = retraction_of(_decide(tables, decisions, row, request.by))
        materialize(instance, request.by)
        mine = standing(read_decisions(tables))
        tagged = tag_versions(instance, tables, tracking, mine, decided)
        withdrawn = (
            []
            if request.keep_champion.strip()
            else withdraw_champions(instance, tables, tracking, mine, decided)
        )
        erased = erase_content(instance, tables, mine, decided) if request.erase else None
    return {
        **decided.to_json(),
        "decided": True,
        "stood_already": bool(same),
        "effects": found,
        "tagged": tagged,
        "champions": withdrawn,
        "champion_kept": request.keep_champion.strip() or None,
        "erased": erased,
        "still_there": STILL_THERE if request.erase else None,
    }


def undo_retraction(
    retraction_id: str, reason: str, tracking_uri: str = "", by: str = "command line"
) -> dict[str, Any]:
    """Lifts a retraction by a decision of its own; what was done, as JSON values.

    Rows come back when `instructions` is made again; a champion does not, and erased content is only what the
    sources still hold. Raises SultanaError where no retraction with this id, or the beginning of one, stands.
    """
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    if not reason.strip():
        raise SultanaError("Lifting a retraction needs a reason", 'Add --reason "..."', code="reason-missing")
    with open_instance(data_folder()) as instance, _locked():
        decisions = read_decisions(tables)
        stands = standing(decisions)
        found = [one for one in stands.retractions if one.retraction_id.startswith(retraction_id)]
        if len(found) != 1 or len(retraction_id) < 4:
            raise SultanaError(
                f"'{retraction_id}' names {len(found) or 'none'} of the {len(stands.retractions)} retractions that "
                "stand",
                "See their ids: sultana retractions",
                code="retraction-not-found",
            )
        lifted = found[0]
        row = {
            "action": LIFT,
            "kind": None,
            "value": None,
            "rows": None,
            "position": None,
            "lifts": lifted.retraction_id,
            "reason": reason.strip(),
            "erase": False,
            "champion_kept": None,
            "matched": "{}",
        }
        decided = _decide(tables, decisions, row, by)
        materialize(instance, by)
        untagged = lift_tags(tracking, lifted, decided)
    return {
        "retraction_id": decided["retraction_id"],
        "lifts": lifted.to_json(),
        "reason": decided["reason"],
        "tagged": untagged,
    }


def history() -> dict[str, Any]:
    """Every decision in order, and which retractions stand, as JSON values."""
    decisions = read_decisions(Storage().tables())
    return {
        "standing": [one.to_json() for one in standing(decisions).retractions],
        "decisions": [
            {
                **row,
                "title": retraction_of(row).title if row["action"] == RETRACT else None,
                "matched": json.loads(row["matched"]),
                "decided_at": row["decided_at"].isoformat(timespec="seconds"),
            }
            for row in decisions
        ],
    }


def materialize(instance: dg.DagsterInstance, by: str) -> None:
    """Makes the asset `retractions` again, so that Dagster knows what has become stale."""
    from orchestration.definitions import defs

    run_id = str(uuid.uuid4())
    with carried_out(instance, run_id) as process:
        defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("retractions")],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            run_id=run_id,
            tags={"sultana/started_by": by, "dagster/max_retries": "0", **process},
        )


@contextmanager
def _locked() -> Iterator[None]:
    with exclusive_lock(data_folder() / "locks" / "retractions.lock", LOCK_SECONDS):
        yield


def _rule(instance: dg.DagsterInstance, tables: LanceTables, request: Request) -> Retraction:
    """The rule that a request means, with an id that is none yet."""
    given: dict[Kind, Any] = {
        "row": tuple(request.rows),
        "source": request.source.strip(),
        "licence": request.licence.strip(),
        "file": request.file.strip(),
    }
    named = [kind for kind, value in given.items() if value]
    if len(named) != 1:
        raise SultanaError(
            f"{'Nothing is' if not named else ' and '.join(named) + ' are'} named to be retracted",
            "Name rows, or one of --source, --licence and --file; one retraction for each",
            code="retraction-unclear",
        )
    kind = named[0]
    value, position = given[kind], None
    rows: tuple[str, ...] = ()
    if kind == "row":
        value, rows = None, resolve_rows(instance, tables, request.rows)
    elif kind == "file":
        value, position, rows = resolve_place(instance, tables, value)
    return Retraction(
        retraction_id=PLANNED,
        kind=kind,
        value=value,
        rows=rows,
        position=position,
        reason=request.reason.strip(),
        erase=request.erase,
        decided_by=getpass.getuser(),
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _decide(
    tables: LanceTables, decisions: Sequence[Mapping[str, Any]], row: Mapping[str, Any], by: str
) -> dict[str, Any]:
    """Puts a decision on the record, chained to the one before; the row of RETRACTIONS."""
    now = datetime.now(UTC)
    identity = identity_of(decisions[-1]["retraction_id"] if decisions else None, row)
    decided = {
        "retraction_id": identity,
        "sequence": len(decisions) + 1,
        **row,
        "decided_by": getpass.getuser(),
        "decided_at": now,
    }
    tables.write(
        RETRACTIONS,
        pa.Table.from_pylist([decided], schema=RETRACTIONS.schema),
        mode="upsert",
        provenance=Provenance(f"{by} {now.isoformat()}", "retraction", identity),
    )
    return decided
