"""Presets open in the Launchpad as jobs whose configuration Dagster itself accepts."""

import dagster as dg
import pytest

from assets.partitions import partition_key
from orchestration.definitions import defs
from orchestration.settings import check_configuration, preset_names, read_preset


def test_the_presets_there_are() -> None:
    assert preset_names() == ["default", "demo", "paper", "smoke"]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_a_job_with_its_settings_filled_in(name: str) -> None:
    settings = read_preset(name)
    check_configuration(settings["run_config"])
    partitions = settings["partitions"]
    assert [
        partition_key(strategy, seed) for strategy in partitions["strategy"] for seed in partitions["seed"]
    ]
    job = defs.resolve_job_def(f"preset_{name}")
    assert job.partitioned_config is not None
    filled = job.partitioned_config.get_run_config_for_partition_key("0|random")
    assert filled == settings["run_config"]
    assert dg.validate_run_config(job, filled)


def test_a_job_with_a_wrong_setting_is_refused_before_it_starts() -> None:
    job = defs.resolve_job_def("preset_smoke")
    with pytest.raises(dg.DagsterInvalidConfigError, match="clusters"):
        dg.validate_run_config(job, {"ops": {"diversity_clusters": {"config": {"clusters": "many"}}}})
