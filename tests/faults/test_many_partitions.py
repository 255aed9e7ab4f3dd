"""Many partitions of strategy and seed, a thousand by a setting: a backfill is queued, status and pages stay usable."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.testclient import TestClient

from assets.materialized import LINEAGE
from assets.partitions import EXPERIMENTS, STRATEGIES, materialized_partitions
from orchestration.instance import open_instance
from orchestration.schedules import wanted_partitions
from orchestration.status import read_status
from tests.faults.counts import count, tell
from tests.faults.launched import PROJECT

LOG = logging.getLogger(__name__)
PARTITIONS = count("SULTANA_BACKFILL_PARTITIONS", 200)
SLOWEST_PAGE_SECONDS = 3.0
SLOWEST_STATUS_SECONDS = 30.0
PAGES = {
    "asset": """{ assetNodes(assetKeys: [{path: ["curriculum"]}]) { partitionStats {
        numMaterialized numPartitions } partitionKeysByDimension { name partitionKeys } } }""",
    "statuses": """{ assetNodes(assetKeys: [{path: ["curriculum"]}]) { assetPartitionStatuses {
        ... on MultiPartitionStatuses { primaryDimensionName ranges { primaryDimStartKey } } } } }""",
    "runs": "{ runsOrError(limit: 25) { ... on Runs { results { id status tags { key value } } } } }",
    "backfills": """{ partitionBackfillsOrError(limit: 5) { ... on PartitionBackfills { results {
        id status numPartitions } } } }""",
}


def seconds(what: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    found = what()
    return time.monotonic() - began, found


@pytest.mark.slow
def test_a_backfill_of_many_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_DATA", str(tmp_path))
    with open_instance(tmp_path) as instance:
        seeds = [str(seed) for seed in range(-(-PARTITIONS // len(STRATEGIES)))]
        instance.add_dynamic_partitions("seed", seeds)
        keys = [str(key) for key in EXPERIMENTS.get_partition_keys(dynamic_partitions_store=instance)]
        wanted = keys[:PARTITIONS]
        assert len(wanted) == PARTITIONS

        def materialize_all() -> None:
            for key in wanted:
                record = {"code_version": "1", "upstream": {}, "configuration": {}, "tables": {}}
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        "curriculum",
                        partition=key,
                        metadata={LINEAGE: dg.MetadataValue.json(record)},
                        tags={"dagster/data_version": "1"},
                    )
                )

        took = {"materializing": seconds(materialize_all)[0]}
        took["materialized partitions"], found = seconds(
            lambda: materialized_partitions(instance, "curriculum")
        )
        assert sorted(found) == sorted(wanted)
        took["wanted partitions"], found = seconds(lambda: wanted_partitions(instance, every_seed=True))
        assert len(found) == PARTITIONS
        took["status"], status = seconds(read_status)
        assert sum(one["asset"] == "curriculum" for one in status["assets"]) == PARTITIONS

        target = ModuleTarget("orchestration.definitions", None, str(PROJECT), "sultana")
        with WorkspaceProcessContext(instance, target) as context:  # type: ignore[arg-type]
            graph = context.create_request_context().asset_graph
            backfill = PartitionBackfill.from_asset_partitions(
                "thousand",
                graph,
                wanted,
                [dg.AssetKey("curriculum")],
                time.time(),
                {},
                instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
            instance.add_backfill(backfill)

            def queue_all() -> None:
                end = time.monotonic() + 1500
                while (
                    instance.get_runs_count(dg.RunsFilter(tags={"dagster/backfill": "thousand"})) < PARTITIONS
                ):
                    assert time.monotonic() < end
                    for error in execute_backfill_iteration(context, LOG):
                        assert error is None, error

            took["queueing the backfill"], _ = seconds(queue_all)
            now = instance.get_backfill("thousand")
            assert now is not None and now.status is BulkActionStatus.REQUESTED and now.error is None
            client = TestClient(create_app_from_workspace_process_context(context))
            for name, query in PAGES.items():
                took[f"page {name}"], answer = seconds(
                    lambda query=query: client.post("/graphql", json={"query": query}).json()  # type: ignore[misc]
                )
                assert "errors" not in answer, answer
            statistics = client.post("/graphql", json={"query": PAGES["asset"]}).json()["data"]["assetNodes"]
            assert statistics[0]["partitionStats"]["numPartitions"] == len(keys)
        partitions_of_runs = {run.tags["dagster/partition"] for run in instance.get_runs()}
        assert partitions_of_runs == set(wanted)
    tell(f"{PARTITIONS} partitions: " + ", ".join(f"{name} {took[name]:.2f} s" for name in took))
    assert max(value for name, value in took.items() if name.startswith("page")) < SLOWEST_PAGE_SECONDS
    assert took["status"] < SLOWEST_STATUS_SECONDS
