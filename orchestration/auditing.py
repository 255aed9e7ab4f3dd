"""`sultana audit`: what went into a registered version, by the event pointers that each materialization recorded."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets.lineage.audit.backward import LEDGER_ROW, Backward
from assets.lineage.exports.parts import write_file
from assets.lineage.manifest import build_manifest
from assets.materialized import Materialized, follow, record_at
from orchestration.instance import open_instance
from orchestration.registered import Registered, checkpoint_of, find_registered, made_for, open_registry
from orchestration.retraction_models import audited, backward_of
from resources.definitions import Storage, data_folder
from resources.errors import SultanaError
from resources.tables import LanceTables

MANIFEST_TAG = "sultana.lineage_manifest_sha256"
"""The tag of a model version in which `lineage_manifest` keeps the hash of the whole chain."""

ROW_FILES = (".parquet", ".jsonl")
_STARTED_BY = (
    ("dagster/schedule_name", "schedule"),
    ("dagster/sensor_name", "sensor"),
    ("dagster/backfill", "backfill"),
    ("user", "user"),
    ("sultana/started_by", ""),
)


@dataclass(frozen=True)
class Audit:
    """What an audit found, and where its rows can be read."""

    told: dict[str, Any]
    rows: Backward


def audit(reference: str, rows_file: Path | None = None, *, tracking_uri: str = "") -> dict[str, Any]:
    """Everything upstream of a registered version, as JSON values; its ledger also as a file, where one is named.

    `chain` holds every materialization, the checkpoint first; `totals` what `Backward.totals` counts;
    `manifest` whether the chain is still the one whose hash the model version carries. Raises SultanaError
    where the version is not there, a link is broken, or `rows_file` exists or ends in neither .parquet nor .jsonl.
    """
    if rows_file is not None:
        rows_file = _check_rows_file(rows_file)
    tracking, tables = open_registry(tracking_uri), Storage().tables()
    model = find_registered(tracking, reference)
    with open_instance(data_folder()) as instance:
        checkpoint = checkpoint_of(instance, model)
        found = _audit(instance, tables, model, checkpoint)
    if rows_file is not None:
        written = _write(found.rows, rows_file)
        found.told["rows_file"] = {"file": str(rows_file), "rows": written}
    return found.told


def _audit(
    instance: dg.DagsterInstance, tables: LanceTables, model: Registered, checkpoint: Materialized
) -> Audit:
    manifest = build_manifest(checkpoint.pointer(), functools.partial(record_at, instance))
    curriculum = follow(instance, checkpoint, "curriculum")
    clusters = follow(instance, curriculum, "diversity_clusters")
    facts = curriculum.record["facts"]
    backward = backward_of(instance, tables, curriculum)
    told = {
        "model": {"name": model.name, "aliases": list(model.aliases), **manifest["model"]},
        "partition": checkpoint.partition,
        "strategy": facts["strategy"],
        "curriculum_id": facts["curriculum_id"],
        "manifest": {
            "sha256": manifest["manifest_sha256"],
            "registered": model.tags.get(MANIFEST_TAG),
            "agrees": model.tags.get(MANIFEST_TAG) == manifest["manifest_sha256"]
            if MANIFEST_TAG in model.tags
            else None,
        },
        "chain": [_link(instance, one) for one in manifest["materializations"]],
        "totals": backward.totals(),
        "retractions": audited(instance, tables, follow(instance, clusters, "instructions"), backward),
        "contamination": [
            {name: row[name] for name in ("split", "task", "metric", "examples", "overlapping")}
            for made in made_for(instance, "evaluation", model)[:1]
            for row in made.record["facts"]["rows"]
        ],
    }
    return Audit(told, backward)


def _link(instance: dg.DagsterInstance, one: Mapping[str, Any]) -> dict[str, Any]:
    code = one["environment"]
    return {
        "asset": one["asset"],
        "partition": one["partition"],
        "code_version": one["code_version"],
        "data_version": one["data_version"],
        "made_at": one["made_at"],
        "made_by_run": one["made_by_run"],
        "started_by": started_by(instance.get_run_by_id(one["made_by_run"])),
        "git_commit": code["git_commit"],
        "git_dirty": code["git_dirty"],
        "environment": code,
        "configuration": one["configuration"],
        "settings": one["settings"],
        "tables": [
            {name: ref[name] for name in ("table", "version", "digest", "rows")}
            for ref in one["tables"].values()
        ],
    }


def started_by(run: dg.DagsterRun | None) -> str:
    """Who or what started a run, in words."""
    if run is None:
        return "unknown: Dagster no longer knows the run"
    found = [f"{what} {run.tags[tag]}".strip() for tag, what in _STARTED_BY if tag in run.tags]
    return found[0] if found else "by hand, through Dagster"


def _check_rows_file(file: Path) -> Path:
    file = file.expanduser().resolve()
    if file.suffix not in ROW_FILES:
        raise SultanaError(
            f"{file} ends in neither {' nor '.join(ROW_FILES)}", "Name a file such as rows.parquet"
        )
    if file.exists():
        raise SultanaError(
            f"{file} exists already", "Name another file, or remove this one if it is not needed"
        )
    if not file.parent.is_dir():
        raise SultanaError(f"The folder {file.parent} does not exist", "Create it, or name another file")
    return file


def _write(rows: Backward, file: Path) -> int:
    # Renamed into place: a file of that name is whole.
    temporary = file.with_name(f".{file.name}.tmp{file.suffix}")
    try:
        written = write_file(temporary, LEDGER_ROW, rows.rows())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    return written
