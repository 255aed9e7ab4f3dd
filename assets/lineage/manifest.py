"""The lineage manifest: everything upstream of a checkpoint, in one JSON document, and the chain read from it.

The walk follows the pointers that each materialization recorded about the ones it read (their place in
Dagster's event log), never "the latest", so a manifest says what was used even if newer data has come. A copy
lies with the model's MLflow run, so that an audit needs no event log.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from resources.errors import SultanaError
from resources.table_refs import TableRef

FORMAT = "sultana.lineage/2"
MANIFEST_TAG = "sultana.lineage_manifest_sha256"
"""The tag of a model version that holds the hash of its manifest."""
ARTIFACT = "lineage/manifest.json"
"""Where the manifest lies in the MLflow run of its model."""
Pointer = Mapping[str, Any]


@dataclass(frozen=True)
class Chain:
    """The materializations behind a model version, and how they hang together.

    `links` are in breadth-first order, the checkpoint first: lineage records with `storage_id`, `run_id`,
    `data_version` and, for each asset read, the `storage_id` of its materialization under `upstream`.
    """

    links: tuple[Mapping[str, Any], ...]

    @property
    def checkpoint(self) -> Mapping[str, Any]:
        """Where the chain begins."""
        return self.links[0]

    def follow(self, link: Mapping[str, Any], asset: str) -> Mapping[str, Any]:
        """The very materialization of `asset` that `link` was made from. Raises SultanaError where it is not there."""
        wanted = link["upstream"].get(asset)
        for one in self.links:
            if one["storage_id"] == wanted and one["asset"] == asset:
                return one
        raise SultanaError(
            f"The lineage is broken: '{link['asset']}' names no materialization of '{asset}'",
            f"Materialize '{link['asset']}' and what follows it again",
            code="lineage-broken",
        )


def table_of(link: Mapping[str, Any], name: str | None = None) -> TableRef:
    """The table version that a link refers to; `name` where there are several."""
    tables = link["tables"]
    return TableRef.from_json(tables[name] if name else next(iter(tables.values())))


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


def model_of(chain: Chain) -> dict[str, Any]:
    """What identifies the model version that a chain ends in."""
    facts = chain.checkpoint["facts"]
    names = ("model", "version", "mlflow_run_id", "files_manifest_sha256", "checkpoint_id")
    return {name: facts[name] for name in names}


def build_manifest(chain: Chain, training_set: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a checkpoint. `training_set` is what `training_set.commitment` says of its rows."""
    return {
        "format": FORMAT,
        "model": model_of(chain),
        "partition": chain.checkpoint["partition"],
        "tables": {ref["table"]: ref for one in chain.links for ref in one["tables"].values()},
        "code_versions": {one["asset"]: one["code_version"] for one in chain.links},
        "training_set": dict(training_set),
        "materializations": list(chain.links),
    }


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The one form of a manifest in which it is stored, hashed and signed: JSON with sorted keys, UTF-8."""
    return orjson.dumps(dict(manifest), option=orjson.OPT_SORT_KEYS)


def manifest_sha256(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of `manifest_bytes`: 64 hexadecimal digits."""
    return hashlib.sha256(manifest_bytes(manifest)).hexdigest()


def read_manifest(content: bytes, expected_sha256: str | None, where: str) -> dict[str, Any]:
    """A stored manifest. Raises SultanaError where it is none, or has another hash than expected."""
    found = hashlib.sha256(content).hexdigest()
    if expected_sha256 is not None and found != expected_sha256:
        raise SultanaError(
            f"The manifest in {where} was changed: its SHA-256 is {found}, and the model version carries "
            f"{expected_sha256}",
            "Restore it from a backup, or materialize lineage_manifest again",
            code="manifest-changed",
        )
    try:
        manifest = orjson.loads(content)
        if manifest["format"] != FORMAT:
            raise ValueError(f"its format is {manifest['format']}, not {FORMAT}")
    except (ValueError, KeyError, TypeError) as error:
        raise SultanaError(
            f"The manifest in {where} cannot be read: {error}",
            "Materialize lineage_manifest again",
            code="manifest-unreadable",
        ) from error
    return dict(manifest)
