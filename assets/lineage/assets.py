"""The door of the stage `lineage`: one manifest per registered checkpoint."""

import functools

import dagster as dg

from assets.lineage.audit.lineage import read_lineage, tell
from assets.lineage.config import LineageConfig
from assets.lineage.manifest import ARTIFACT, MANIFEST_TAG, Chain, manifest_bytes, walk
from assets.lineage.report.audit_page import ARTIFACT as PAGE
from assets.lineage.report.audit_page import render_audit
from assets.lineage.signing import SIGNATURE_TAG, SIGNED_BY_TAG, check_signing_key, sign
from assets.materialization import OWNER, begin
from assets.materialized import first_made, record_at
from assets.partitions import EXPERIMENTS
from assets.presentation import table
from assets.retries import tried_again
from resources.definitions import ModelRegistry, Storage
from resources.files import write_atomically

CODE_VERSION = "2"


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
    """What went into a model version: every upstream table version, code version, setting and hash.

    It lies with the model's MLflow run as well, and the model version carries its hash, so that an audit needs no
    event log; where a signing key is set, its signature too.
    """
    check_signing_key()
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

    fetch = functools.partial(record_at, context.instance)
    checkpoint = first_made(context.instance, stage.upstream["checkpoint"])
    chain = Chain(tuple(walk(checkpoint.pointer(), fetch)))
    lineage = read_lineage(chain, stage.tables)
    manifest, sha256, trained_on = lineage.manifest, lineage.sha256, lineage.trained_on
    content = manifest_bytes(manifest)
    model = manifest["model"]
    file = storage.path("lineage") / f"{model['model']}-version-{model['version']}.json"
    stage.fence()
    write_atomically(file, content)
    tracking = stage.registry(registry)
    signature = sign(sha256)
    told = {**tell(chain, lineage), "totals": lineage.backward.totals()}
    page = render_audit(told, lineage, signature).encode()
    tracking.log_artifacts(model["mlflow_run_id"], {ARTIFACT: content, PAGE: page})
    tags = {MANIFEST_TAG: sha256}
    if signature is not None:
        tags |= {SIGNATURE_TAG: signature["signature"], SIGNED_BY_TAG: signature["public_key"]}
    tracking.set_version_tags(model["model"], model["version"], tags)
    tracking.describe_version(
        model["model"],
        model["version"],
        f"What it was trained on, and by what: `{PAGE}` among the artifacts of run {model['mlflow_run_id']}. "
        f"SHA-256 of its lineage manifest: `{sha256}`.",
    )
    return stage.result(
        [],
        {
            "file": dg.MetadataValue.path(str(file)),
            "model": f"{model['model']} version {model['version']}",
            "manifest_sha256": sha256,
            "signed_by": signature["public_key"] if signature else "no key is set",
            "instructions_trained_on": len(trained_on.ids),
            "training_set_root": trained_on.tree.root,
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
        content=sha256,
        facts={"file": str(file), "manifest_sha256": sha256},
    )
