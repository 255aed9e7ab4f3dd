"""Staleness is true: what changes, and nothing else, becomes stale, for us and for Dagster alike."""

import dagster as dg
import pytest

from orchestration.definitions import defs
from tests.orchestration.deployment import Deployment

PARTITION = "0|random"


def test_equal_inputs_leave_everything_fresh(fresh: Deployment) -> None:
    fresh.run()
    assert fresh.stale() == set()


def test_one_raw_row_goes_down_the_graph_step_by_step(fresh: Deployment) -> None:
    fresh.change_rows()
    fresh.run(to="raw_instructions")
    assert fresh.stale() == {"instructions", "quarantine", "dropped_instructions"}
    fresh.run(to="instructions")
    assert fresh.stale() == {"instruction_embeddings", "interpolated_instructions", "diversity_clusters"}
    fresh.run(to="diversity_clusters")
    assert fresh.stale() == {f"curriculum {PARTITION}"}


def test_a_hyper_parameter_makes_stale_what_reads_its_result(fresh: Deployment) -> None:
    fresh.run(to="interpolated_instructions", interpolated_instructions={"alpha": 1.0})
    assert fresh.stale() == {"diversity_clusters"}


def test_a_seed_makes_stale_what_reads_its_result(fresh: Deployment) -> None:
    fresh.run(to="checkpoint", checkpoint={"seed": 1})
    assert fresh.stale() == {f"evaluation {PARTITION}", f"lineage_manifest {PARTITION}"}
    fresh.run(to="evaluation", checkpoint={"seed": 1})
    assert fresh.stale() == {"leaderboard", f"lineage_manifest {PARTITION}"}


def test_a_code_version_makes_its_own_asset_stale_and_equal_results_nothing_else(
    fresh: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(code_version="newer")

    changed = defs.map_resolved_asset_specs(func=newer, selection="interpolated_instructions")
    assert fresh.stale(changed) == {"interpolated_instructions"}
    monkeypatch.setattr("assets.interpolation.assets.CODE_VERSION", "newer")
    monkeypatch.setattr("orchestration.run.defs", changed)
    fresh.run(to="interpolated_instructions")
    assert fresh.stale(changed) == set()


@pytest.mark.slow
def test_a_new_evaluation_makes_the_leaderboard_stale(fresh: Deployment) -> None:
    fresh.run(to="lineage_manifest", strategy="longest")
    assert fresh.stale() == set()
    fresh.run(to="evaluation", strategy="longest")
    assert fresh.stale() == {"leaderboard"}
