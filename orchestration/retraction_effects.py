"""What a retraction hits, counted before it is decided: rows, instructions, recipes, curricula and models."""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.identity import ID_LENGTH
from assets.instructions.retractions import Retraction, Standing
from assets.lineage.audit.forward import Asked, find_origins
from assets.materialized import every_materialization, materializations
from orchestration.chains import open_backward
from orchestration.retraction_models import held_by, sights
from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import escape_terminal, id_filter

if TYPE_CHECKING:
    from resources.tracking import Tracking

_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
_PLACE = re.compile(r"(?P<file>.+):(?P<line>[1-9][0-9]{0,17})", re.DOTALL)
_RAW = ["origin_id", "instruction_id", "source", "file", "position", "licence"]


def resolve_rows(instance: dg.DagsterInstance, tables: LanceTables, asked: Sequence[str]) -> tuple[str, ...]:
    """The ids that are meant, each known as an instruction or an origin. Raises SultanaError for any other."""
    versions = list(raw_versions(instance))
    for one in asked:
        if not _ID.fullmatch(one):
            raise SultanaError(
                f'"{escape_terminal(one, 80)}" is no id of a row',
                f"Give {ID_LENGTH} hexadecimal digits as the tables show them; a line with --file FILE:LINE",
                code="row-id-invalid",
            )
        if any(find_origins(tables, ref, Asked(row_id=one)) for ref in versions):
            continue
        for made in materializations(instance, "interpolated_instructions"):
            mixes = tables.read(made.table(), filter=id_filter("recipe_id", [one])).to_pylist()
            if mixes:
                raise SultanaError(
                    f"{one} is a mix of two rows, and falls with either of them",
                    f"Retract {mixes[0]['parent_a']} or {mixes[0]['parent_b']}",
                    code="row-is-a-mix",
                )
        raise SultanaError(
            f"No source has ever held the row {one}",
            "Look the id up: sultana trace FILE:LINE tells it",
            code="row-not-found",
        )
    return tuple(sorted(set(asked)))


def resolve_place(
    instance: dg.DagsterInstance, tables: LanceTables, place: str
) -> tuple[str, int | None, tuple[str, ...]]:
    """(file, line, ids of what stands there) of FILE or FILE:LINE; a file as a whole has no line and no ids.

    A line is looked up in the newest sources that have it. Raises SultanaError where none has.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        return place.removeprefix("./"), None, ()
    file, line = found["file"].removeprefix("./"), int(found["line"])
    for ref in raw_versions(instance):
        if rows := find_origins(tables, ref, Asked(file=file, position=line)):
            return file, line, tuple(sorted({row["instruction_id"] or row["origin_id"] for row in rows}))
    raise SultanaError(
        f"No source has a line {line} of {escape_terminal(file, 80)}",
        "Check the file and the line, from 1",
        code="row-not-found",
    )


def raw_versions(instance: dg.DagsterInstance) -> Iterable[TableRef]:
    """Every version of the raw rows, the newest first, each once."""
    seen = set()
    for made in every_materialization(instance, "raw_instructions"):
        ref = made.table()
        if ref.version not in seen:
            seen.add(ref.version)
            yield ref


def effects(
    instance: dg.DagsterInstance,
    tables: LanceTables,
    tracking: "Tracking",
    stands: Standing,
    rule: Retraction,
) -> dict[str, Any]:
    """What a rule hits, beside those that stand already, as JSON values.

    `raw_rows` and all up to `recipes` are of the newest tables. `instructions` are left out; `origins_only` stay,
    since they stand elsewhere too. `near_duplicates` were dropped in favour of a row that is left out, and may
    come back. `curricula` and `models` are all that hold one of the rows, or a mix of it.
    """
    alone = Standing((rule,))
    together = Standing((rule, *(one for one in stands.retractions if one != rule)))
    out: set[str] = set()
    origins_only = 0
    raw_rows = near_duplicates = recipes = 0
    sources: dict[str, set[str]] = {"source": set(), "licence": set()}
    for made in materializations(instance, "raw_instructions"):
        for batch in tables.batches(made.table(), columns=_RAW):
            for row in batch.to_pylist():
                raw_rows += bool(alone.of_origin(row["instruction_id"], row))
                sources["source"].add(row["source"])
                sources["licence"].add(row["licence"] or "")
    for made in materializations(instance, "instructions"):
        for batch in tables.batches(made.table("instructions"), columns=["instruction_id", "origins"]):
            for row in batch.to_pylist():
                name, origins = row["instruction_id"], row["origins"]
                if any(alone.of_origin(name, origin) for origin in origins):
                    if together.of_instruction(name, origins):
                        out.add(name)
                    else:
                        origins_only += 1
    for made in materializations(instance, "dropped_instructions"):
        for batch in tables.batches(made.table(), columns=["reason", "collides_with"]):
            near_duplicates += sum(
                row["reason"] == "near_duplicate" and row["collides_with"] in out for row in batch.to_pylist()
            )
    for made in materializations(instance, "interpolated_instructions"):
        for batch in tables.batches(made.table(), columns=["parent_a", "parent_b"]):
            recipes += sum(row["parent_a"] in out or row["parent_b"] in out for row in batch.to_pylist())
    return {
        "raw_rows": raw_rows,
        "instructions": len(out),
        "origins_only": origins_only,
        "near_duplicates": near_duplicates,
        "recipes": recipes,
        "curricula": _curricula(instance, tables, together, rule),
        "models": [
            one.to_json()
            for one in sights(instance, tables, tracking, together)
            if any(held.retraction == rule for held in one.held)
        ],
        "known": sorted(sources[rule.kind])[:40] if rule.kind in sources and not raw_rows else None,
    }


def _curricula(
    instance: dg.DagsterInstance, tables: LanceTables, together: Standing, rule: Retraction
) -> list[dict[str, Any]]:
    """The curricula, each once, that hold what the rule hits."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    for made in every_materialization(instance, "curriculum"):
        identity = made.record["facts"]["curriculum_id"]
        if identity in seen:
            continue
        seen.add(identity)
        for held in held_by(open_backward(instance, tables, made), together):
            if held.retraction == rule:
                found[identity] = {
                    "curriculum_id": identity,
                    "partition": made.partition,
                    "instructions": len(held.instructions),
                    "slots": held.slots,
                }
    return list(found.values())
