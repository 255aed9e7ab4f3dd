"""The door of the stage `lineage`: one manifest per registered checkpoint."""

import functools
import json

import dagster as dg

from assets.lineage.config import LineageConfig
from assets.lineage.manifest import build_manifest
from assets.materialization import OWNER, begin
from assets.materialized import record_at
from assets.partitions import EXPERIMENTS
from assets.presentation import table
from assets.retries import tried_again
from resources.definitions import ModelRegistry, Storage
from resources.files import write_atomically

CODE_VERSION = "1"


@dg.asset(
    deps=["checkpoint"],
    partitions_def=EXPERIMENTS,
    group_name="9_lineage",
    owners=[OWNER],
    kinds={"json"},
    code_version=CODE_VERSION,
)
@tried_again
def lineage_manifest(
    context: dg.AssetExecutionContext, config: LineageConfig, storage: Storage, registry: ModelRegistry
) -> dg.MaterializeResult:
    """What went into a model version: every upstream table version, code version, setting and hash."""
    stage = begin(
        context,
        storage,
        config,
        asset="lineage_manifest",
        code_version=CODE_VERSION,
        reads_partition=["checkpoint"],
    )
    if again := stage.previous(["lineage_manifest"]):
        return again[0]

    manifest = build_manifest(
        stage.upstream["checkpoint"].pointer(), functools.partial(record_at, context.instance)
    )
    model = manifest["model"]
    file = storage.path("lineage") / f"{model['model']}-version-{model['version']}.json"
    write_atomically(file, json.dumps(manifest, indent=1, sort_keys=True).encode())
    registry.open(storage).set_version_tags(
        model["model"],
        model["version"],
        {
            "sultana.lineage_manifest": str(file),
            "sultana.lineage_manifest_sha256": manifest["manifest_sha256"],
        },
    )
    return stage.result(
        [],
        {
            "file": dg.MetadataValue.path(str(file)),
            "model": f"{model['model']} version {model['version']}",
            "materializations": table(
                [
                    {
                        "asset": one["asset"],
                        "partition": one["partition"],
                        "code_version": one["code_version"],
                        "data_version": one["data_version"],
                        "tables": ", ".join(
                            f"{ref['table']} v{ref['version']}" for ref in one["tables"].values()
                        ),
                        "git_commit": one["environment"]["git_commit"],
                    }
                    for one in manifest["materializations"]
                ]
            ),
            "manifest": dg.MetadataValue.json(manifest),
        },
        content=manifest["manifest_sha256"],
        facts={"file": str(file), "manifest_sha256": manifest["manifest_sha256"]},
    )
