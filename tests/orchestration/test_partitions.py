"""Strategies and seeds are partitions that people add and delete, in the UI or by naming them in a run."""

from pathlib import Path

import dagster as dg
import pytest

from assets.materialized import materializations
from assets.partitions import (
    EXPERIMENTS,
    FIRST_SEEDS,
    STRATEGIES,
    check_seed,
    materialized_partitions,
    method_of,
    parse_key,
    partition_key,
)
from orchestration.definitions import defs
from orchestration.instance import open_instance
from orchestration.schedules import wanted_partitions
from orchestration.staleness import why_stale
from resources.errors import SultanaError
from tests.orchestration.deployment import Deployment


def test_a_label_names_settings_of_their_own_for_a_method() -> None:
    assert method_of("raise") == method_of("raise-two-rounds") == method_of("raise-A_1-b") == "raise"
    assert str(partition_key("raise-two-rounds", 12)) == "12|raise-two-rounds"
    assert parse_key("12|raise-two-rounds") == partition_key("raise-two-rounds", 12)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("best", "There is no strategy 'best'"),
        ("Raise", "There is no strategy 'Raise'"),
        ("", "There is no strategy ''"),
        ("raise_2", "There is no strategy 'raise_2'"),
        ("raise-", "no valid label"),
        ("raise-two rounds", "no valid label"),
        ("raise-a|b", "no valid label"),
        ("raise-" + "a" * 65, "no valid label"),
    ],
)
def test_an_impossible_strategy_is_refused_in_words(strategy: str, told: str) -> None:
    with pytest.raises(SultanaError) as caught:
        partition_key(strategy, 0)
    assert told in str(caught.value) and "raise-two-rounds" in str(caught.value)


@pytest.mark.parametrize("seed", ["-1", "01", "1.0", "", "x", "2147483648", "٣"])
def test_an_impossible_seed_is_refused_in_words(seed: str) -> None:
    with pytest.raises(SultanaError, match="whole number"):
        check_seed(seed)


def test_a_new_data_folder_offers_partitions_and_a_deleted_one_stays_away(tmp_path: Path) -> None:
    with open_instance(tmp_path) as instance:
        keys = EXPERIMENTS.get_partition_keys(dynamic_partitions_store=instance)
        assert len(keys) == len(STRATEGIES) * len(FIRST_SEEDS) and "0|raise" in keys
        instance.delete_dynamic_partition("strategy", "full")
        instance.add_dynamic_partitions("seed", ["7"])
    with open_instance(tmp_path) as instance:
        keys = EXPERIMENTS.get_partition_keys(dynamic_partitions_store=instance)
        assert "0|full" not in keys and "7|raise" in keys


@pytest.mark.slow
def test_a_labelled_strategy_is_a_line_of_its_own_until_it_is_deleted(fresh: Deployment) -> None:
    labelled, key = "random-three-steps", "0|random-three-steps"
    fresh.run(strategy=labelled, curriculum={"steps": 3})
    repository = defs.get_repository_def()
    with open_instance(fresh.folder) as instance:
        made = materializations(instance, "curriculum", key)[0]
        assert made.record["facts"]["method"] == "random" and made.record["facts"]["steps"] == 3
        assert made.record["facts"]["strategy"] == labelled
        board = materializations(instance, "leaderboard")[0]
        lines = {row["strategy"] for row in board.record["facts"]["rows"]}
        assert {"base", "random", labelled} <= lines
        assert key in wanted_partitions(instance, every_seed=True)
        assert why_stale(instance, repository, board) == ""

        instance.delete_dynamic_partition("strategy", labelled)
        assert key not in materialized_partitions(instance, "evaluation")
        assert key not in wanted_partitions(instance, every_seed=True)
        assert why_stale(instance, repository, board) == f"evaluation {key} was deleted"
    fresh.run()
    with open_instance(fresh.folder) as instance:
        board = materializations(instance, "leaderboard")[0]
        assert labelled not in {row["strategy"] for row in board.record["facts"]["rows"]}
        # What was recorded stays, for audits.
        assert materializations(instance, "checkpoint", key)


def test_a_partition_that_somebody_added_in_the_ui_with_a_wrong_name_says_so(fresh: Deployment) -> None:
    with open_instance(fresh.folder) as instance:
        instance.add_dynamic_partitions("strategy", ["best"])
        try:
            result = defs.resolve_job_def("train_and_evaluate").execute_in_process(
                instance=instance,
                partition_key=dg.MultiPartitionKey({"seed": "0", "strategy": "best"}),
                raise_on_error=False,
            )
        finally:
            instance.delete_dynamic_partition("strategy", "best")
    (failure,) = result.get_failed_step_keys()
    assert failure == "curriculum"
    told = str(result.failure_data_for_node("curriculum"))
    assert "There is no strategy 'best'" in told and "Choose from: random" in told
