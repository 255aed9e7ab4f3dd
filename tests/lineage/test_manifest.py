"""The walk follows recorded pointers, each materialization once."""

from typing import Any

import pytest

from assets.lineage.manifest import (
    Chain,
    build_manifest,
    manifest_bytes,
    manifest_sha256,
    read_manifest,
    walk,
)
from resources.errors import SultanaError


def pointer(asset: str, storage_id: int) -> dict[str, Any]:
    return {"asset": asset, "partition": None, "storage_id": storage_id, "run_id": "r", "data_version": "d"}


def record(asset: str, *upstream: dict[str, Any], facts: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "asset": asset,
        "partition": None,
        "code_version": "1",
        "tables": {asset: {"table": asset, "version": 1}},
        "upstream": {one["asset"]: one for one in upstream},
        "facts": facts or {},
    }


RAW = pointer("raw", 1)
LEFT, RIGHT = pointer("left", 2), pointer("right", 3)
MODEL = pointer("model", 9)
RECORDS = {
    1: record("raw"),
    2: record("left", RAW),
    3: record("right", RAW),
    9: record(
        "model",
        LEFT,
        RIGHT,
        facts={
            "model": "sultana",
            "version": 1,
            "mlflow_run_id": "m",
            "files_manifest_sha256": "f",
            "checkpoint_id": "c",
        },
    ),
}


def test_each_materialization_once() -> None:
    found = walk(MODEL, lambda one: RECORDS[one["storage_id"]])
    assert [one["asset"] for one in found] == ["model", "left", "right", "raw"]
    assert found[0]["upstream"] == {"left": 2, "right": 3}


def test_the_manifest_names_every_table_and_its_hash_covers_all_of_it() -> None:
    chain = Chain(tuple(walk(MODEL, lambda one: RECORDS[one["storage_id"]])))
    trained_on = {"root": "0" * 64, "instructions": 3}
    manifest = build_manifest(chain, trained_on)
    assert set(manifest["tables"]) == {"raw", "left", "right", "model"}
    assert manifest["training_set"] == trained_on
    assert read_manifest(manifest_bytes(manifest), manifest_sha256(manifest), "here") == manifest
    other = build_manifest(chain, {**trained_on, "instructions": 4})
    assert manifest_sha256(other) != manifest_sha256(manifest)


def test_a_chain_follows_the_very_materialization_that_was_read() -> None:
    chain = Chain(tuple(walk(MODEL, lambda one: RECORDS[one["storage_id"]])))
    assert chain.follow(chain.follow(chain.checkpoint, "left"), "raw")["storage_id"] == 1
    with pytest.raises(SultanaError, match="'left' names no materialization of 'model'"):
        chain.follow(chain.follow(chain.checkpoint, "left"), "model")


def test_a_lost_materialization_is_an_error() -> None:
    with pytest.raises(KeyError):
        walk(MODEL, lambda one: {9: RECORDS[9]}[one["storage_id"]])
