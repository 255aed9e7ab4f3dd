"""`sultana export-lineage`: where a registered version comes from, in the formats that other programs read."""

import functools
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console

from assets.lineage.exports.curated import Curated
from assets.lineage.exports.folder import Description, check_target
from assets.lineage.exports.model_folder import kind_of
from assets.lineage.manifest import walk
from assets.materialization import environment
from assets.materialized import Materialized, follow, materializations, record_at
from orchestration.auditing import audit
from orchestration.instance import open_instance
from orchestration.lineage_events import made_for_events
from orchestration.model_export import curriculum_sources, describe
from orchestration.registered import checkpoint_of, download_verified, find_registered, open_registry
from resources.definitions import Storage, data_folder
from resources.files import folder_manifest
from resources.lineage_transport import namespace
from resources.standards import standards
from resources.text import escape_terminal


def export_lineage(reference: str, out: Path, console: Console, *, tracking_uri: str = "") -> dict[str, Any]:
    """Writes `out` and says what is in it; returns the same for programs.

    Raises SultanaError where the version does not exist or its files are not those that were published, where `out`
    holds something, a link of the lineage is broken, or the packages of the extra `standards` are not installed.
    """
    with standards():
        from assets.lineage.exports.lineage_folder import Lineage, write_lineage

    out = out.expanduser().resolve()
    check_target(out)
    storage = Storage()
    tracking = open_registry(tracking_uri)
    model = find_registered(tracking, reference)
    told = audit(f"{model.name}/{model.version}", tracking_uri=tracking_uri)
    with (
        open_instance(data_folder()) as instance,
        tempfile.TemporaryDirectory(prefix="export-", dir=storage.path("tmp")) as temporary,
    ):
        checkpoint = checkpoint_of(instance, model)
        curriculum = follow(instance, checkpoint, "curriculum")
        files, base = download_verified(tracking, model, Path(temporary) / "model")
        tables = storage.tables()
        lineage = Lineage(
            about=describe(instance, storage, model, checkpoint, base, kind_of(files, merge=False)),
            told=told,
            chain=[made_for_events(instance, tables, one) for one in _chain(instance, checkpoint)],
            model_files=folder_manifest(files),
            namespace=namespace(),
        )
        code = environment()
        description = Description(
            kind="curriculum",
            chain=walk(curriculum.pointer(), functools.partial(record_at, instance)),
            sultana={
                "version": version("sultana"),
                **{name: code[name] for name in ("git_commit", "git_dirty")},
            },
            names={"language_model": base.name},
        )
        curated = Curated(tables, curriculum_sources(instance, curriculum))
        found = write_lineage(out, lineage, curated, description)
    _show(found, console)
    return found


def _chain(instance: dg.DagsterInstance, checkpoint: Materialized) -> list[Materialized]:
    """Every materialization upstream, the checkpoint first."""
    return [
        materializations(instance, one["asset"], one["partition"], one["storage_id"])[0]
        for one in walk(checkpoint.pointer(), functools.partial(record_at, instance))
    ]


def _show(found: dict[str, Any], console: Console) -> None:
    model = found["model"]
    lines = [
        f"Exported the lineage of {model['name']} version {model['version']} to {found['folder']}: "
        f"{found['events']:,} OpenLineage events, a CycloneDX bill of materials, cards, a draft summary for the "
        "EU's AI Act, and the rows with a Croissant description",
        f"What lies where: {Path(found['folder']) / 'README.md'}",
    ]
    if found["agrees_with_registry"] is False:
        lines.append("The lineage DIFFERS from the one that the registry holds for this version")
    console.print("\n".join(escape_terminal(line) for line in lines), markup=False, soft_wrap=True)
