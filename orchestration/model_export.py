"""`sultana export-model`: a registered version as a folder that loads without Sultana and MLflow."""

import functools
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from assets.evaluation.alike import are_alike
from assets.lineage.exports.curated import Curated, Sources
from assets.lineage.exports.folder import Counts, Description, check_target
from assets.lineage.exports.layout import PARTS
from assets.lineage.exports.model_folder import FORMAT, kind_of, write_model
from assets.lineage.manifest import walk
from assets.materialization import environment
from assets.materialized import Materialized, every_materialization, follow, record_at
from orchestration.instance import open_instance
from orchestration.registered import (
    Registered,
    checkpoint_of,
    download_verified,
    find_registered,
    made_for,
    open_registry,
)
from orchestration.retraction_models import warning_about
from resources.definitions import Storage, data_folder
from resources.language_model import EMBEDDED
from resources.model_flavor import BaseModel, open_base
from resources.text import escape_terminal, id_filter


def export_model(
    reference: str, out: Path, console: Console, *, merge: bool = False, tracking_uri: str = ""
) -> dict[str, Any]:
    """Writes `out` and says what is in it; returns the content of its export.json.

    Raises SultanaError where the version does not exist or its files are not those that were published,
    where `out` holds something, where the lineage is not known here, or where the base model is not there
    and an adapter is to be merged into it.
    """
    out = out.expanduser().resolve()
    check_target(out)
    storage = Storage()
    tracking = open_registry(tracking_uri)
    model = find_registered(tracking, reference)
    with (
        open_instance(data_folder()) as instance,
        tempfile.TemporaryDirectory(prefix="export-", dir=storage.path("tmp")) as temporary,
    ):
        checkpoint = checkpoint_of(instance, model)
        files, base = download_verified(tracking, model, Path(temporary) / "model")
        about = describe(instance, storage, model, checkpoint, base, kind_of(files, merge))
        write_model(out, files, about, lambda: open_base(base, storage.path("models")))
    if warning := warning_about(model, storage.tables()):
        console.print(escape_terminal(warning), markup=False, soft_wrap=True)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    console.print(
        escape_terminal(
            f"Exported {model.title} to {out} ({about['kind']}, {size / 2**20:,.1f} MiB); card: {out / 'README.md'}"
        ),
        markup=False,
        soft_wrap=True,
    )
    return about


def describe(
    instance: dg.DagsterInstance,
    storage: Storage,
    model: Registered,
    checkpoint: Materialized,
    base: BaseModel,
    kind: str,
) -> dict[str, Any]:
    """The content of export.json: where the model comes from, as JSON values without paths of this machine."""
    curriculum = follow(instance, checkpoint, "curriculum")
    tables = storage.tables()
    identity = curriculum.record["facts"]["curriculum_id"]
    curated = Curated(tables, curriculum_sources(instance, curriculum))
    counts = Counts()
    parts = {part: {"rows": _length(counts.count(part, curated.rows(part)))} for part in PARTS}
    ledger = tables.read(
        curriculum.table(), columns=["step", "kind"], filter=id_filter("curriculum_id", [identity])
    ).to_pylist()
    slots = Counter(row["kind"] for row in ledger)
    code = environment()
    facts = checkpoint.record["facts"]
    described = Description(
        kind=kind,
        chain=walk(checkpoint.pointer(), functools.partial(record_at, instance)),
        sultana={"version": version("sultana"), **{name: code[name] for name in ("git_commit", "git_dirty")}},
    ).to_json()
    steps = max(row["step"] for row in ledger) + 1
    return {
        "format": FORMAT,
        **described,
        "model": {
            "name": model.name,
            "version": model.version,
            **{name: facts[name] for name in ("mlflow_run_id", "checkpoint_id", "files_manifest_sha256")},
        },
        "base_model": {
            "name": base.name,
            "revision": base.revision,
            "fingerprint": base.fingerprint,
            "hub_id": base.model if base.revision else None,
            "embedded": base.model == EMBEDDED,
        },
        "training": {
            "strategy": curriculum.record["facts"]["strategy"],
            "seed": checkpoint.record["settings"]["seed"],
            "curriculum_seed": curriculum.record["facts"]["seed"],
            "steps": steps,
            "batch_size": len(ledger) // steps,
            "maximum_length": curriculum.record["configuration"]["maximum_length"],
            **{
                name: checkpoint.metadata[name].value
                for name in ("weights_of_step", "trained_tokens", "final_training_loss")
                if name in checkpoint.metadata
            },
        },
        "slots": {kind: slots.get(kind, 0) for kind in ("original", "interpolated")},
        "parts": parts,
        "counts": counts.to_json(),
        "evaluation": _evaluation(instance, model),
    }


def curriculum_sources(instance: dg.DagsterInstance, curriculum: Materialized) -> Sources:
    """The table versions that a curriculum was made from, and its own."""
    clusters = follow(instance, curriculum, "diversity_clusters")
    return Sources(
        instructions=follow(instance, clusters, "instructions").table("instructions"),
        recipes=follow(instance, clusters, "interpolated_instructions").table(),
        clusters=clusters.table(),
        curriculum=curriculum.table(),
        curriculum_id=curriculum.record["facts"]["curriculum_id"],
    )


def _length(rows: Iterator[Any]) -> int:
    return sum(1 for _ in rows)


def _evaluation(instance: dg.DagsterInstance, model: Registered) -> dict[str, Any]:
    """The newest scores of a version, and those of the base model that can stand beside them."""
    found = made_for(instance, "evaluation", model)
    if not found:
        return {"rows": [], "base_rows": []}
    baselines = every_materialization(instance, "baseline_evaluation")
    base = next((made for made in baselines if are_alike(made.record, found[0].record)), None)
    return {
        "rows": [dict(row) for row in found[0].record["facts"]["rows"]],
        "base_rows": [dict(row) for row in base.record["facts"]["rows"]] if base else [],
    }
