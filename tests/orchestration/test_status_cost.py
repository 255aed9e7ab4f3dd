"""`sultana status` asks Dagster's database as often for many partitions as for few, and answers as one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db

from assets.materialized import LINEAGE, materializations, newest_of_partitions
from assets.partitions import EXPERIMENTS, materialized_partitions
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.staleness import why_stale
from orchestration.status import read_status

FLOW = ("curriculum", "checkpoint", "evaluation")


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that go to any database meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    db.event.listen(db.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        db.event.remove(db.Engine, "before_cursor_execute", note)


def report(instance: dg.DagsterInstance, partition: str, version: str) -> None:
    """Curriculum, checkpoint and evaluation of a partition, each made of the one before."""
    upstream: dict[str, Any] = {}
    for asset in FLOW:
        code_version = defs.get_repository_def().asset_graph.get(dg.AssetKey(asset)).code_version
        record = {"code_version": code_version, "upstream": upstream, "configuration": {}, "tables": {}}
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset,
                partition=partition,
                metadata={LINEAGE: dg.MetadataValue.json(record)},
                tags={"dagster/data_version": version},
            )
        )
        upstream = {asset: {"asset": asset, "partition": partition, "data_version": version}}


def test_the_questions_do_not_grow_with_the_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    asked = []
    with open_instance(tmp_path) as instance:
        partitions = [
            str(key) for key in EXPERIMENTS.get_partition_keys(dynamic_partitions_store=instance)[:20]
        ]
        for few in (partitions[:2], partitions[2:]):
            for partition in few:
                report(instance, partition, "1")
            with counted() as statements:
                states = read_status()["assets"]
            asked.append(len(statements))
    assert sum(one["state"] == "fresh" for one in states) == len(FLOW) * len(partitions)
    assert asked[1] == asked[0] > 0, asked


def test_it_answers_as_when_each_partition_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    repository = defs.get_repository_def()
    with open_instance(tmp_path) as instance:
        partitions = [
            str(key) for key in EXPERIMENTS.get_partition_keys(dynamic_partitions_store=instance)[:5]
        ]
        for partition in partitions:
            report(instance, partition, "1")
        report(instance, partitions[1], "2")
        instance.report_runless_asset_event(
            dg.AssetMaterialization("curriculum", partition=partitions[2], tags={"dagster/data_version": "3"})
        )
        record = materializations(instance, "curriculum", partitions[0])[0].record
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "curriculum",
                partition=partitions[3],
                metadata={LINEAGE: dg.MetadataValue.json(dict(record))},
                tags={"dagster/data_version": "4"},
            )
        )
        told = [
            (one["asset"], one["partition"], one["data_version"], one["why"])
            for one in read_status()["assets"]
            if one["asset"] in FLOW
        ]
        one_by_one = [
            (asset, partition, made.data_version, why_stale(instance, repository, made) or None)
            for asset in FLOW
            for partition in materialized_partitions(instance, asset)
            for made in materializations(instance, asset, partition)
        ]
        assert told == one_by_one
        assert ("checkpoint", partitions[3], "1", "curriculum has changed") in told
        assert ("checkpoint", partitions[1], "2", None) in told
        found = newest_of_partitions(instance, "curriculum", [*reversed(partitions), "9|none"])
        assert [made.partition for made in found] == [
            one for one in reversed(partitions) if one != partitions[2]
        ]
