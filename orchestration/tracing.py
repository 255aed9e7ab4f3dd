"""`sultana trace`: where a row went, over every run there has been."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.lineage.audit.forward import Asked, Snapshot, choices, fate, find_origins, mixes, parse
from assets.materialized import Materialized, every_materialization
from orchestration.instance import open_instance
from orchestration.registered import open_registry
from orchestration.retraction_models import retractions_of
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.tables import LanceTables, TableRef
from resources.text import escape_terminal

if TYPE_CHECKING:
    from resources.tracking import Tracking


def trace(text: str, tracking_uri: str = "") -> dict[str, Any]:
    """Every place that a row went, as JSON values. `text` is an id of a row, an origin or a recipe, or FILE:LINE.

    `origins` says where it stood and what became of it; `mixes` with which rows it was mixed; `chosen` every slot
    that it, or a mix of it, had in a curriculum; `models` the registered versions that were trained on it;
    `retractions` which decisions hold, or once held, for it.
    Raises SultanaError where nothing is known of it.
    """
    asked = parse(text)
    tables = Storage().tables()
    registry = open_registry(tracking_uri)
    with open_instance(data_folder()) as instance:
        origins = _origins(instance, tables, asked)
        recipes = _recipe_tables(instance)
        ids = {row["kept_as"] or row["instruction_id"] for row in origins} - {None}
        if not ids and asked.row_id is not None:
            ids = {asked.row_id}
        found = {row["recipe_id"]: row for ref in recipes for row in mixes(tables, ref, ids)}
        chosen = choices(tables, ids | found.keys())
        if not origins and not found and not chosen:
            raise SultanaError(
                f"Nothing is known of {escape_terminal(text, 80)} in {data_folder()}",
                "Check the id or the file and line, or name another data folder (SULTANA_DATA)",
            )
        partitions = {
            made.record["facts"]["curriculum_id"]: made.partition
            for made in every_materialization(instance, "curriculum")
        }
        for row in chosen:
            row["partition"] = partitions.get(row["curriculum_id"])
            row["share"] = found[row["row_id"]]["share"] if row["row_id"] in found else 1.0
        models = list(_models(instance, registry, chosen))
    return {
        "asked": text,
        "origins": origins,
        "retractions": retractions_of(tables, origins, ids),
        "mixes": sorted(found.values(), key=lambda row: str(row["recipe_id"])),
        "chosen": chosen,
        "models": models,
    }


def _origins(instance: dg.DagsterInstance, tables: LanceTables, asked: Asked) -> list[dict[str, Any]]:
    """The raw rows that are meant: in the newest version of the sources, else in the newest that had them."""
    seen = set()
    for raw in every_materialization(instance, "raw_instructions"):
        ref = raw.table()
        if ref.version in seen:
            continue
        seen.add(ref.version)
        if rows := find_origins(tables, ref, asked):
            snapshot = _snapshot(instance, raw)
            return fate(tables, snapshot, rows) if snapshot else [_not_yet(row) for row in rows]
    return []


def _snapshot(instance: dg.DagsterInstance, raw: Materialized) -> Snapshot | None:
    """The newest instructions that were made of these raw rows, and what was dropped; None where none were."""
    found: list[TableRef] = []
    for asset in ("instructions", "dropped_instructions"):
        for made in every_materialization(instance, asset):
            if made.record["upstream"]["raw_instructions"]["data_version"] == raw.data_version:
                found.append(made.table(asset))
                break
    return Snapshot(*found) if len(found) == 2 else None


def _not_yet(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in ("messages", "problem_detail")}
    return {
        **shown,
        "state": "read",
        "why": "instructions have not been made of these sources",
        "kept_as": None,
    }


def _recipe_tables(instance: dg.DagsterInstance) -> list[TableRef]:
    """Every version of the recipes that a curriculum could have been made of."""
    found = {
        made.table().version: made.table()
        for made in every_materialization(instance, "interpolated_instructions")
    }
    return [found[version] for version in sorted(found)]


def _models(
    instance: dg.DagsterInstance, tracking: "Tracking", chosen: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The registered versions that were trained on a curriculum which chose the row."""
    slots: dict[str, list[Mapping[str, Any]]] = {}
    for row in chosen:
        slots.setdefault(row["curriculum_id"], []).append(row)
    seen: set[tuple[str, int]] = set()
    for made in every_materialization(instance, "checkpoint"):
        facts = made.record["facts"]
        version = facts["model"], facts["version"]
        if facts["curriculum_id"] not in slots or version in seen:
            continue
        seen.add(version)
        rows = slots[facts["curriculum_id"]]
        aliases = tracking.aliases(facts["model"])
        yield {
            "model": facts["model"],
            "version": facts["version"],
            "aliases": sorted(alias for alias, number in aliases.items() if number == facts["version"]),
            "partition": made.partition,
            "curriculum_id": facts["curriculum_id"],
            "slots": len(rows),
            "steps": sorted({row["step"] for row in rows}),
            "weight": sum(row["weight"] * row["share"] for row in rows),
        }
