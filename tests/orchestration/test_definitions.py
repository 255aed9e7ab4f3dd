"""The graph: quick to load, valid, and changed only on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestration.checks import CHECKS
from orchestration.definitions import defs

SNAPSHOT = Path(__file__).parent / "definitions_snapshot.json"
PROJECT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "transformers", "datasets", "lancedb", "lance", "mlflow", "pandas")


def _dimensions(partitions: dg.PartitionsDefinition | None) -> dict[str, str] | None:
    if not isinstance(partitions, dg.MultiPartitionsDefinition):
        return None
    return {one.name: type(one.partitions_def).__name__ for one in partitions.partitions_defs}


def _specifications() -> dict[str, Any]:
    graph = defs.resolve_asset_graph()
    assets = {}
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        assets[key.to_user_string()] = {
            "parents": sorted(parent.to_user_string() for parent in node.parent_keys),
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "code_version": node.code_version,
            "partitions": _dimensions(node.partitions_def),
            "pools": sorted(node.pools or ()),
            "description": node.description,
            "follows": node.automation_condition is not None,
        }
    checks = {
        f"{key.asset_key.to_user_string()}:{key.name}": graph.get_check_spec(key).blocking
        for key in sorted(graph.asset_check_keys, key=str)
    }
    jobs = {
        job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
        for job in defs.resolve_all_job_defs()
        if not job.name.startswith("__")
    }
    repository = defs.get_repository_def()
    return {
        "assets": assets,
        "checks": checks,
        "jobs": jobs,
        "schedules": {one.name: one.cron_schedule for one in repository.schedule_defs},
        "sensors": {one.name: one.default_status.value for one in repository.sensor_defs},
    }


def test_the_graph_is_the_one_in_the_snapshot() -> None:
    found = _specifications()
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(SNAPSHOT.read_text()), "run UPDATE_SNAPSHOTS=1 pytest if the change is meant"


@pytest.mark.parametrize("part", ["description", "owners", "group", "kinds", "code_version"])
def test_every_asset_says_what_it_is(part: str) -> None:
    for name, one in _specifications()["assets"].items():
        assert one[part], f"{name} has no {part}"


def test_every_check_says_what_it_is_and_runs_with_its_asset_in_jobs() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.asset_check_keys:
        assert graph.get_check_spec(key).description, key
    for job in defs.resolve_all_job_defs():
        assets = job.asset_layer.executable_asset_keys
        expected = {key for key in graph.asset_check_keys if key.asset_key in assets}
        assert set(job.asset_layer.asset_graph.asset_check_keys) >= expected, job.name
        assert {check.op.name for check in CHECKS if check.check_keys & expected} <= {
            node.name for node in job.nodes
        }


def test_loading_definitions_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, time, json; started = time.process_time()\n"
        "import dagster; dagster_alone = time.process_time() - started\n"
        "import orchestration.definitions\n"
        "times = (time.process_time() - started) / dagster_alone\n"
        f"print(json.dumps([times, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
            ).stdout
        )
        for _ in range(3)
    ]
    assert all(heavy == [] for _, heavy in runs)
    assert min(times for times, _ in runs) < 3, "as many times as long as importing Dagster alone"


def test_configuration_schema_has_a_description_for_every_field() -> None:
    from orchestration.settings import CONFIGURATIONS

    def check(configuration: type[dg.Config], path: str) -> None:
        for name, field in configuration.model_fields.items():
            assert field.description, f"{path}.{name} has no description"
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, dg.Config):
                check(inner, f"{path}.{name}")

    for op, configuration in CONFIGURATIONS.items():
        check(configuration, op)
