"""A day of use: the source grows, refreshes and training follow, a check fails and is mended, the champion changes.

Everything is real but the clock: ticks are evaluated one by one, those of the schedule for two in the morning.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest

from assets.lineage.promotion import read_history
from assets.materialized import Materialized, require
from orchestration.check_results import failed_checks, stops
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.registered import checkpoint_of, find_registered
from orchestration.schedules import nightly_training
from orchestration.status import read_status
from resources.definitions import Storage
from resources.errors import SultanaError
from resources.tracking import Tracking
from tests.orchestration.deployment import Deployment, append_row
from tests.orchestration.ticks import UP_TO_CLUSTERS, Daemon, Sensor, assets_of, carry_out, tick

PARTITION = "0|random"
NEW_ROWS = {
    "Why does bread rise in the oven?": "Yeast makes gas, and the heat spreads it through the dough.",
    "Translate 'good morning' into Spanish.": "Buenos días.",
    "Which metal is liquid at room temperature?": "Mercury.",
    "How do you cross a street safely?": "Look to both sides, wait for the cars, then walk.",
}
LATER_ROWS = {"Who paints houses for a living?": "A decorator."}
NO_GUARDS = {"loss_tolerance": 9.0, "accuracy_tolerance": 1.0}
"""So few steps and examples say nothing of single tasks."""


class Day:
    """A deployment, what watches it, and what a person would look at."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        self.deployment = deployment
        self.instance = instance
        self.sensor = Sensor(deployment)
        self.followers = Daemon(instance)
        self.registry = Tracking(None, deployment.folder / "mlflow")

    def made(self, asset: str) -> Materialized:
        return require(self.instance, asset)

    def rows(self, asset: str) -> Any:
        return self.made(asset).metadata["dagster/row_count"].value

    def stale(self) -> dict[str, str]:
        """What `sultana status` calls stale, and why."""
        return {one["asset"]: one["why"] for one in read_status()["assets"] if one["state"] == "stale"}

    def night(self, date: int) -> tuple[list[dg.RunRequest], str]:
        return tick(self.instance, nightly_training, datetime(2026, 3, date, 2, tzinfo=UTC))

    def follow(self, assets: set[str]) -> None:
        """What is cheap follows, all of it in one tick, and then rests."""
        requests = self.followers.tick()
        assert assets_of(*requests) == assets
        assert all(carry_out(self.instance, one).success for one in requests)
        assert self.followers.tick() == []

    def promote(self, **config: Any) -> dg.ExecuteInProcessResult:
        job = defs.resolve_job_def("promote_model")
        return job.execute_in_process(
            instance=self.instance, run_config={"ops": {"promote_version": {"config": config}}}
        )


@pytest.fixture
def day(tmp_path: Path, models_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Day]:
    """The first run by hand lies behind us, and its checkpoint is the champion."""
    deployment = Deployment(tmp_path)
    deployment.folder.mkdir()
    (deployment.folder / "models").symlink_to(models_folder, target_is_directory=True)
    monkeypatch.setenv("SULTANA_DATA", str(deployment.folder))
    deployment.run()
    with open_instance(deployment.folder) as instance:
        found = Day(deployment, instance)
        assert found.promote(model="sultana/1", loss_margin=0.001, **NO_GUARDS).success
        assert found.registry.aliases("sultana")["champion"] == 1
        assert found.sensor.ticks() == [] and found.followers.tick() == []
        yield found


@pytest.mark.slow
def test_a_day_of_use(day: Day) -> None:
    the_source_grows(day)
    the_night_trains(day)
    a_delivery_is_broken(day)
    the_delivery_is_mended(day)
    a_bound_is_too_narrow(day)
    the_champion_changes(day)


def the_source_grows(day: Day) -> None:
    before = day.rows("raw_instructions")
    for instruction, output in NEW_ROWS.items():
        append_row(day.deployment.source, instruction, output)
    (request,) = day.sensor.ticks()
    assert assets_of(request) == {"raw_instructions"}
    assert "the content has changed" in request.tags["sultana/started_because"]
    assert carry_out(day.instance, request).success
    assert day.sensor.ticks() == []
    assert day.rows("raw_instructions") == before + len(NEW_ROWS)

    day.follow(UP_TO_CLUSTERS)
    embedded = day.made("instruction_embeddings").metadata["newly_embedded_rows"].value
    assert embedded == len(NEW_ROWS)
    assert day.stale() == {"curriculum": "diversity_clusters has changed"}


def the_night_trains(day: Day) -> None:
    (request,), _ = day.night(1)
    assert request.partition_key == PARTITION
    assert request.tags["sultana/started_because"] == "curriculum: diversity_clusters has changed"
    assert carry_out(day.instance, request, "train_and_evaluate").success
    assert require(day.instance, "checkpoint", PARTITION).record["facts"]["version"] == 2
    aliases = day.registry.aliases("sultana")
    assert (aliases["champion"], aliases["candidate"]) == (1, 2)
    day.follow({"leaderboard"})
    assert day.stale() == {}

    requests, reason = day.night(2)
    assert requests == [] and reason.startswith("Nothing has changed upstream; partitions up to date: 1")


def a_delivery_is_broken(day: Day) -> None:
    with day.deployment.source.open("ab") as file:
        file.writelines(orjson.dumps({"question_text": number}) + b"\n" for number in range(400))
    kept = day.made("instructions").storage_id
    (request,) = day.sensor.ticks()
    result = carry_out(day.instance, request)
    assert not result.success
    (failed,) = [one for one in failed_checks(day.instance, result.run_id) if stops(one)]
    assert failed.check_name == "enough_rows_are_readable"
    assert failed.description and "of the raw rows could be read" in failed.description
    assert "set the source's shape or format" in failed.description

    assert day.followers.tick() == [] and day.sensor.ticks() == []
    assert day.made("instructions").storage_id == kept
    requests, _ = day.night(3)
    assert requests == []


def the_delivery_is_mended(day: Day) -> None:
    lines = day.deployment.source.read_bytes().splitlines(keepends=True)
    day.deployment.source.write_bytes(b"".join(one for one in lines if b"question_text" not in one))
    for instruction, output in LATER_ROWS.items():
        append_row(day.deployment.source, instruction, output)
    (request,) = day.sensor.ticks()
    result = carry_out(day.instance, request)
    assert result.success and all(one.passed for one in result.get_asset_check_evaluations())
    day.follow(UP_TO_CLUSTERS)
    assert day.stale() == {"curriculum": "diversity_clusters has changed"}


def a_bound_is_too_narrow(day: Day) -> None:
    with pytest.raises(SultanaError) as refused:
        day.deployment.run(diversity_clusters_checks={"maximum_cluster_share": 0.01})
    told = str(refused.value)
    assert "clusters_have_not_collapsed of diversity_clusters failed" in told
    assert "nothing that depends on it was made" in told and "maximum_cluster_share" in told
    requests, reason = day.night(4)
    assert requests == [] and "did not pass" in reason and "clusters_have_not_collapsed" in reason

    # With the bound as it was, and longer training.
    day.deployment.run(curriculum={"steps": 6})
    assert require(day.instance, "checkpoint", PARTITION).record["facts"]["version"] == 3
    assert day.stale() == {}
    requests, reason = day.night(5)
    assert requests == [] and "up to date" in reason


def the_champion_changes(day: Day) -> None:
    with pytest.raises(SultanaError, match="sultana version 3 is not promoted: the mean loss"):
        day.promote(model="sultana@candidate", loss_margin=9.0)
    assert day.registry.aliases("sultana")["champion"] == 1
    day.promote(model="sultana@candidate", loss_margin=0.01, **NO_GUARDS)
    assert day.registry.aliases("sultana")["champion"] == 3

    # What was the champion is still there, whole, and on the record.
    day.registry.verify("sultana", 1)
    old = find_registered(day.registry, "sultana/1")
    assert old.aliases == () and old.tags["sultana.promote.forced"] == "no"
    new = find_registered(day.registry, "sultana@champion")
    assert new.version == 3 and new.tags["sultana.promote.previous_version"] == "1"
    for version in (old, new):
        assert checkpoint_of(day.instance, version).record["facts"]["version"] == version.version
        with day.registry.client() as client:
            kept = {one.path for one in client.list_artifacts(version.run_id)}
        assert kept >= {"report.html", "promotions"}
    history = read_history(Storage().tables(), "sultana")
    assert [(one.action, one.version, one.previous_version) for one in history] == [
        ("promote", 1, None),
        ("promote", 3, 1),
    ]
