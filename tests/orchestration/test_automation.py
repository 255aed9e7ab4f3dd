"""Cheap stages follow new data, and nothing else; each with the settings that it was made with."""

from typing import Any

import pytest

from assets.materialized import materializations
from orchestration.automation import READ_BY_PEOPLE
from orchestration.definitions import defs
from orchestration.instance import open_instance
from tests.orchestration.deployment import Deployment
from tests.orchestration.ticks import UP_TO_CLUSTERS, Daemon, assets_of, carry_out


def test_cheap_stages_follow_new_data_and_not_the_same_again(fresh: Deployment) -> None:
    with open_instance(fresh.folder) as instance:
        daemon = Daemon(instance)
        assert daemon.tick() == []
        fresh.run(to="diversity_clusters")
        assert daemon.tick() == []
        fresh.change_rows()
        fresh.run(to="raw_instructions")
        requests = daemon.tick()
        assert len(requests) == 1
        assert assets_of(*requests) == UP_TO_CLUSTERS
        assert daemon.tick() == []
        assert carry_out(instance, requests[0]).success
        assert fresh.stale() == {"curriculum 0|random"}
        assert daemon.tick() == []
        fresh.run(to="raw_instructions")
        assert daemon.tick() == []


def test_followers_keep_the_settings_of_their_last_run(fresh: Deployment) -> None:
    changed = {
        "interpolated_instructions": {"alpha": 0.5},
        "diversity_clusters": {"clusters": 5},
        "diversity_clusters_checks": {"maximum_cluster_share": 0.8},
    }
    fresh.run(to="diversity_clusters", **changed)
    with open_instance(fresh.folder) as instance:
        daemon = Daemon(instance)
        daemon.tick()
        fresh.change_rows()
        fresh.run(to="raw_instructions")
        (request,) = daemon.tick()
        result = carry_out(instance, request)
        assert result.success
        used = {
            asset: materializations(instance, asset)[0].record["configuration"]
            for asset in ("interpolated_instructions", "diversity_clusters")
        }
    # Those of the preset that were not changed stay as well.
    expected: dict[str, dict[str, Any]] = {
        "interpolated_instructions": {"alpha": 0.5, "count": 60},
        "diversity_clusters": {"clusters": 5},
    }
    for asset, settings in expected.items():
        assert settings.items() <= used[asset].items()
    (check,) = (
        one for one in result.get_asset_check_evaluations() if one.check_name == "clusters_have_not_collapsed"
    )
    assert check.metadata["largest_share_at_most"].value == 0.8


@pytest.mark.slow
def test_the_leaderboard_and_manifests_follow_training(fresh: Deployment) -> None:
    with open_instance(fresh.folder) as instance:
        daemon = Daemon(instance)
        daemon.tick()
        fresh.run(to="evaluation", checkpoint={"seed": 2})
        requests = daemon.tick()
        assert assets_of(*requests) == {"leaderboard", "lineage_manifest"}
        for request in requests:
            assert carry_out(instance, request).success
        assert daemon.tick() == []
        assert fresh.stale() == set()


def test_what_was_never_made_does_not_follow(tmp_path: Any, deployment: Deployment) -> None:
    started = Deployment(tmp_path)
    started.folder.mkdir()
    (started.folder / "models").symlink_to(deployment.folder / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SULTANA_DATA", str(started.folder))
        with open_instance(started.folder) as instance:
            daemon = Daemon(instance)
            daemon.tick()
            started.run(to="benchmark_splits")
            started.run(to="raw_instructions")
            assert daemon.tick() == []


def test_what_people_read_has_a_freshness_policy() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).freshness_policy is not None
    }
    assert found == set(READ_BY_PEOPLE)
