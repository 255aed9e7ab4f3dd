"""The lineage manifest: everything upstream of a checkpoint, in one JSON document.

The walk follows the pointers that each materialization recorded about the ones it read (their place in
Dagster's event log), never "the latest", so a manifest says what was used even if newer data has come.
"""

from collections.abc import Callable, Mapping
from typing import Any

from assets.records import digest

FORMAT = "sultana.lineage/1"
Pointer = Mapping[str, Any]


def walk(root: Pointer, fetch: Callable[[Pointer], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every materialization that `root` was made from, itself first, each once, in breadth-first order.

    `fetch` gives the lineage record of the materialization that a pointer names (with its timestamp as
    `made_at`, in seconds since 1970) and raises where it is gone.
    """
    found: dict[int, dict[str, Any]] = {}
    waiting = [root]
    while waiting:
        pointer = waiting.pop(0)
        if pointer["storage_id"] in found:
            continue
        record = fetch(pointer)
        upstream = [record["upstream"][name] for name in sorted(record["upstream"])]
        found[pointer["storage_id"]] = {
            **dict(record),
            "storage_id": pointer["storage_id"],
            "run_id": pointer["run_id"],
            "data_version": pointer["data_version"],
            "upstream": {one["asset"]: one["storage_id"] for one in upstream},
        }
        waiting += upstream
    return list(found.values())


def build_manifest(root: Pointer, fetch: Callable[[Pointer], Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of the checkpoint that `root` names; its `manifest_sha256` covers all the rest."""
    chain = walk(root, fetch)
    checkpoint = chain[0]
    document: dict[str, Any] = {
        "format": FORMAT,
        "model": {
            name: checkpoint["facts"][name]
            for name in ("model", "version", "mlflow_run_id", "files_manifest_sha256", "checkpoint_id")
        },
        "partition": checkpoint["partition"],
        "tables": {ref["table"]: ref for one in chain for ref in one["tables"].values()},
        "code_versions": {one["asset"]: one["code_version"] for one in chain},
        "materializations": chain,
    }
    return {**document, "manifest_sha256": digest(document)}
