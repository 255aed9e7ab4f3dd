"""Training happens on schedules, only where something upstream has changed, and says why or why not."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.refresh import SETTINGS
from orchestration.schedules import (
    nightly_training,
    time_zone,
    wanted_partitions,
    weekly_maintenance,
    weekly_training,
)
from orchestration.settings import read_preset
from resources.errors import SultanaError
from tests.orchestration.deployment import Deployment
from tests.orchestration.ticks import tick

PROJECT = Path(__file__).resolve().parents[2]
PARTITION = "0|random"


def test_training_is_skipped_with_a_reason_where_nothing_has_changed(fresh: Deployment) -> None:
    with open_instance(fresh.folder) as instance:
        for schedule in (nightly_training, weekly_training):
            requests, reason = tick(instance, schedule)
            assert requests == [] and "Nothing has changed upstream; partitions up to date: 1" in reason


@pytest.mark.slow
def test_training_follows_new_data_once_and_then_rests(fresh: Deployment) -> None:
    fresh.change_rows()
    fresh.run(to="diversity_clusters")
    with open_instance(fresh.folder) as instance:
        requests, _ = tick(instance, nightly_training)
        (request,) = requests
        assert request.partition_key == PARTITION
        assert request.tags["sultana/started_because"] == "curriculum: diversity_clusters has changed"
        result = defs.resolve_job_def("train_and_evaluate").execute_in_process(
            instance=instance, run_config=request.run_config, partition_key=PARTITION
        )
        assert result.success
        assert tick(instance)[0] == []
    # With the settings of the run before: two steps of four rows, as in the preset smoke.
    assert fresh.stale() == {"leaderboard"}


def test_a_partition_that_is_being_trained_is_left_alone(fresh: Deployment) -> None:
    fresh.change_rows()
    fresh.run(to="diversity_clusters")
    with open_instance(fresh.folder) as instance:
        run = instance.create_run_for_job(
            defs.resolve_job_def("train_and_evaluate"),
            status=dg.DagsterRunStatus.STARTED,
            tags={"dagster/partition": PARTITION},
        )
        try:
            requests, reason = tick(instance)
            assert requests == [] and "being trained: 1" in reason
        finally:
            instance.delete_run(run.run_id)
        assert len(tick(instance)[0]) == 1


def test_nothing_is_trained_on_what_a_check_has_refused(fresh: Deployment) -> None:
    fresh.change_rows()
    with pytest.raises(SultanaError, match="clusters_have_not_collapsed"):
        fresh.run(to="diversity_clusters", diversity_clusters_checks={"maximum_cluster_share": 0.01})
    with open_instance(fresh.folder) as instance:
        for schedule in (nightly_training, weekly_training):
            requests, reason = tick(instance, schedule)
            assert requests == []
            assert "did not pass its checks: diversity_clusters, check clusters_have_not_collapsed" in reason
        fresh.run(to="diversity_clusters")
        assert len(tick(instance)[0]) == 1


def test_the_settings_file_names_partitions_and_settings(
    fresh: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_preset("smoke")
    settings["partitions"] = {"strategy": ["random", "longest"], "seed": [0, 3]}
    settings["run_config"]["ops"]["checkpoint"]["config"]["save_every"] = 2
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    monkeypatch.setenv(SETTINGS, str(file))
    with open_instance(fresh.folder) as instance:
        assert wanted_partitions(instance, every_seed=True) == [
            "0|longest",
            "3|longest",
            "0|random",
            "3|random",
        ]
        assert wanted_partitions(instance, every_seed=False) == ["0|longest", "0|random"]
        requests, _ = tick(instance, nightly_training)
    reasons = {one.partition_key: one.tags["sultana/started_because"] for one in requests}
    assert reasons == {
        "0|longest": "curriculum has not been materialized",
        PARTITION: "checkpoint: the setting 'save_every' has changed",
    }
    for one in requests:
        assert one.run_config["ops"]["checkpoint"]["config"]["save_every"] == 2
        assert set(one.run_config["ops"]) <= {"curriculum", "checkpoint", "evaluation", "lineage_manifest"}


def test_nothing_can_be_trained_before_there_is_data(tmp_path: Path) -> None:
    with open_instance(tmp_path / "data") as instance:
        requests, reason = tick(instance)
    assert requests == [] and "has not been materialized" in reason


def test_tables_are_maintained_weekly_where_no_run_is_in_progress(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        (request,), _ = tick(instance, weekly_maintenance)
        assert request.run_config == {} and weekly_maintenance.default_status.value == "STOPPED"
        job = dg.GraphDefinition(name="reads").to_job()
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        requests, reason = tick(instance, weekly_maintenance)
        assert requests == [] and "Runs are in progress" in reason
        instance.report_run_failed(run)
        assert len(tick(instance, weekly_maintenance)[0]) == 1


def test_schedules_run_in_the_time_zone_of_the_environment() -> None:
    code = (
        "from orchestration.definitions import defs\n"
        "print({one.execution_timezone for one in defs.get_repository_def().schedule_defs})"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SULTANA_TIME_ZONE": "Europe/Istanbul"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.strip() == "{'Europe/Istanbul'}"


def test_a_time_zone_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SULTANA_TIME_ZONE", "Nowhere/Land")
    with pytest.raises(SultanaError, match="Nowhere/Land"):
        time_zone()
