"""`sultana trace`: where a row went, over every run there has been."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.lineage.audit.forward import Asked, Snapshot, choices, fate, find_origins, mixes, parents, parse
from assets.materialized import Materialized, every_materialization
from orchestration.instance import open_instance
from orchestration.registered import open_registry
from orchestration.retraction_models import retractions_of
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.table_refs import TableRef
from resources.tables import LanceTables
from resources.text import escape_terminal

if TYPE_CHECKING:
    from resources.tracking import Tracking

LEARNING_RATE = "learning_rate"


@dataclass(frozen=True)
class Traces:
    """What a trace is read from: Dagster's event log, the tables and the registry."""

    instance: dg.DagsterInstance
    tables: LanceTables
    tracking: "Tracking"

    def raw_versions(self) -> Iterator[Materialized]:
        """The materialization of every version of the raw rows that there still is, the newest first."""
        seen = set()
        for made in every_materialization(self.instance, "raw_instructions"):
            ref = made.table()
            if ref.version not in seen and not self.tables.is_reclaimed(ref):
                seen.add(ref.version)
                yield made

    def made_of(self, raw: Materialized, asset: str) -> Materialized | None:
        """The newest materialization of `asset` that was made of these raw rows, if its table is still there."""
        for made in every_materialization(self.instance, asset):
            upstream = made.record["upstream"]["raw_instructions"]["data_version"]
            if upstream == raw.data_version and not self.tables.is_reclaimed(made.table(asset)):
                return made
        return None

    def snapshot(self, raw: Materialized) -> Snapshot | None:
        """The newest instructions that were made of these raw rows, and what was dropped; None where none were."""
        kept, dropped = (self.made_of(raw, asset) for asset in ("instructions", "dropped_instructions"))
        if kept is None or dropped is None:
            return None
        return Snapshot(kept.table("instructions"), dropped.table("dropped_instructions"))

    def recipes(self) -> list[TableRef]:
        """Every version of the recipes that a curriculum could have been made of and that is still there."""
        found = {
            made.table().version: made.table()
            for made in every_materialization(self.instance, "interpolated_instructions")
        }
        return [found[version] for version in sorted(found) if not self.tables.is_reclaimed(found[version])]


def trace(text: str, tracking_uri: str = "") -> dict[str, Any]:
    """Every place that a row went, as JSON values. `text` is an id of a row, an origin or a recipe, or FILE:LINE.

    `origins` says where it stood and what became of it; `mixes` with which rows it was mixed; `chosen` every slot
    that it, or a mix of it, had in a curriculum, by which strategy and policy; `models` the registered versions
    that were trained on it, each with the gradient steps that did; `retractions` which decisions hold, or once held,
    for it. Raises SultanaError where nothing is known of it.
    """
    asked = parse(text)
    with open_instance(data_folder()) as instance:
        found = follow_row(Traces(instance, Storage().tables(), open_registry(tracking_uri)), asked)
    if found is None:
        raise SultanaError(
            f"Nothing is known of {escape_terminal(text, 80)} in {data_folder()}",
            "Check the id or the file and line, or name another data folder (SULTANA_DATA)",
            code="row-not-found",
        )
    return {"asked": text, **found}


def follow_row(traces: Traces, asked: Asked) -> dict[str, Any] | None:
    """What `trace` tells of a row; None where nothing is known of it."""
    tables = traces.tables
    origins = _origins(traces, asked)
    ids = {row["kept_as"] or row["instruction_id"] for row in origins} - {None}
    if not ids and asked.row_id is not None:
        ids = {asked.row_id}
    recipes = traces.recipes()
    found = {row["recipe_id"]: row for ref in recipes for row in mixes(tables, ref, ids)}
    sides: list[dict[str, Any]] = []
    if asked.row_id is not None and not origins:
        sides = next(filter(None, (parents(tables, ref, asked.row_id) for ref in recipes)), [])
    chosen = choices(tables, ids | found.keys())
    if not origins and not found and not sides and not chosen:
        return None
    curricula = {
        made.record["facts"]["curriculum_id"]: made
        for made in every_materialization(traces.instance, "curriculum")
    }
    for row in chosen:
        row["share"] = found[row["row_id"]]["share"] if row["row_id"] in found else 1.0
        row["loss_weight"] = row["weight"] * row["share"]
        row.update(_chosen_by(curricula.get(row["curriculum_id"])))
    return {
        "origins": origins,
        "retractions": retractions_of(tables, origins, ids),
        "mixes": [*sides, *sorted(found.values(), key=lambda row: str(row["recipe_id"]))],
        "chosen": chosen,
        "models": list(_models(traces, chosen)),
    }


def _chosen_by(curriculum: Materialized | None) -> dict[str, Any]:
    """The partition and method of a curriculum; of RAISE's also the round whose policy chose, from 1."""
    facts = curriculum.record["facts"] if curriculum is not None else {}
    best = facts.get("best_round")
    return {
        "partition": curriculum.partition if curriculum is not None else None,
        "method": facts.get("method"),
        "policy_round": None if best is None else best + 1,
    }


def _origins(traces: Traces, asked: Asked) -> list[dict[str, Any]]:
    """The raw rows that are meant: in the newest version of the sources, else in the newest that had them."""
    for raw in traces.raw_versions():
        if rows := find_origins(traces.tables, raw.table(), asked):
            return fate(traces.tables, traces.snapshot(raw), rows)
    return []


def _models(traces: Traces, chosen: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The registered versions that were trained on a curriculum which chose the row."""
    slots: dict[str, list[Mapping[str, Any]]] = {}
    for row in chosen:
        slots.setdefault(row["curriculum_id"], []).append(row)
    seen: set[tuple[str, int]] = set()
    for made in every_materialization(traces.instance, "checkpoint") if slots else ():
        facts = made.record["facts"]
        version = facts["model"], facts["version"]
        if facts["curriculum_id"] not in slots or version in seen:
            continue
        seen.add(version)
        aliases = traces.tracking.aliases(facts["model"])
        uses = _uses(traces.tracking, made, slots[facts["curriculum_id"]])
        yield {
            "model": facts["model"],
            "version": facts["version"],
            "aliases": sorted(alias for alias, number in aliases.items() if number == facts["version"]),
            "partition": made.partition,
            "curriculum_id": facts["curriculum_id"],
            "slots": len(uses),
            "steps": sorted({row["step"] for row in uses}),
            "weight": sum(row["loss_weight"] for row in uses),
            "uses": uses,
        }


def _uses(
    tracking: "Tracking", checkpoint: Materialized, chosen: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each slot of the row in a training, with its loss weight and the learning rate of the step.

    The rate is None where MLflow has none, as of steps that early stopping kept from being made; `in_weights`
    is false of a step after those whose weights were kept.
    """
    taken = checkpoint.metadata.get("weights_of_step")
    last = int(taken.value) if taken is not None else None  # type: ignore[arg-type]
    try:
        rates = dict(
            tracking.metric_history(checkpoint.record["facts"]["mlflow_run_id"], [LEARNING_RATE])[
                LEARNING_RATE
            ]
        )
    except SultanaError:  # the run was deleted; what the ledger says stays true
        rates = {}
    names = ("step", "slot", "row_id", "kind", "weight", "share", "loss_weight")
    return [
        {
            **{name: row[name] for name in names},
            "learning_rate": rates.get(row["step"]),
            "in_weights": last is None or row["step"] < last,
        }
        for row in chosen
    ]
