"""Checks from curricula to the leaderboard, on what stages record; no model is made or loaded."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from recorded import NAMES, SPLIT_SETTINGS, SPLITS, Recorded, clustered, example, number, refused

from assets.finetuning.loop import TrainingResult
from assets.finetuning.soundness import recorded_losses
from assets.finetuning.training_row import StepMetrics
from assets.ledger import Entry, Selection, curriculum_id, curriculum_table
from assets.materialized import Materialized
from assets.records import (
    BENCHMARK_SPLITS,
    CURRICULUM,
    DIVERSITY_CLUSTERS,
    EVALUATION_ANSWERS,
    EVALUATIONS,
    PROMOTIONS,
)

IDENTITY = curriculum_id({"of": "these tests"})


def curriculum(
    recorded: Recorded, batches: Sequence[Sequence[str]], *, passes: int = 1, **facts: Any
) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks of a ledger of these rows, chosen from NAMES (two clusters) and the mix m."""
    rows = [clustered(name, place % 2, place // 2) for place, name in enumerate(NAMES)]
    rows.append(clustered("m", 0, 2, mixed=True))
    cluster = {row["row_id"]: row["cluster"] for row in rows}
    selections = [
        Selection(
            step,
            tuple(
                Entry(
                    name,
                    "interpolated" if name == "m" else "original",
                    cluster.get(name, 0),
                    0.0,
                    1.0,
                    "why",
                    "a" * 64,
                )
                for name in batch
            ),
        )
        for step, batch in enumerate(batches)
    ]
    recorded.add(
        "curriculum",
        {CURRICULUM: curriculum_table(IDENTITY, "raise", 0, selections)},
        upstream=[recorded.add("diversity_clusters", {DIVERSITY_CLUSTERS: rows})],
        facts={
            "curriculum_id": IDENTITY,
            "strategy": "raise",
            "method": "raise",
            "steps": 2,
            "batch_size": 2,
            "repeat_cap": passes,
            "candidates": 5,
            **facts,
        },
        partition="0|raise",
    )
    return recorded.check("curriculum")


def test_a_whole_and_diverse_ledger_passes(recorded: Recorded) -> None:
    found = curriculum(recorded, [("apple", "berry"), ("cherry", "m")])
    assert len(found) == 5 and all(one.passed for one in found.values())
    assert number(found["curriculum_is_diverse"], "distinct_share") == 1
    assert number(found["share_of_mixes"], "share") == 0.25


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([("apple", "berry")], "1 steps of 2"),
        ([("apple", "berry"), ("cherry", "nobody")], "1 rows outside the pool"),
        ([("apple", "berry"), ("apple", "date")], "a row at most 2 times (allowed 1)"),
        ([("apple", "apple"), ("cherry", "date")], "1 batches with a row twice"),
    ],
)
def test_a_ledger_with_a_fault_fails(recorded: Recorded, batches: list[tuple[str, str]], said: str) -> None:
    found = curriculum(recorded, batches)["ledger_is_complete"]
    refused(found, said, "Materialize the curriculum again", blocks=True)


def test_a_curriculum_of_few_rows_warns(recorded: Recorded) -> None:
    few = [("apple", "cherry"), ("apple", "cherry")]
    assert curriculum(recorded, few, passes=2)["curriculum_is_diverse"].passed
    config = {"minimum_distinct_share": 0.6}
    refused(recorded.check("curriculum", config)["curriculum_is_diverse"], "50.0%", "passes", blocks=False)
    config = {"minimum_cluster_share": 0.6}
    refused(recorded.check("curriculum", config)["curriculum_is_diverse"], "1 clusters of 2", blocks=False)


def test_a_curriculum_of_many_mixes_warns(recorded: Recorded) -> None:
    curriculum(recorded, [("m", "apple"), ("m", "berry")], passes=2)
    found = recorded.check("curriculum", {"maximum_share_of_mixes": 0.4})["share_of_mixes"]
    refused(found, "50.0% of the curriculum's entries", "minimum_share_of_originals", blocks=False)


@pytest.mark.parametrize(
    ("ours", "random", "passes"), [(-1.0, -1.2, True), (-1.01, -1.0, True), (-1.3, -1.0, False)]
)
def test_a_policy_is_held_against_random(
    recorded: Recorded, ours: float, random: float, passes: bool
) -> None:
    facts = {"final_performance": ours, "random_performance": random}
    batches = [("apple", "berry"), ("cherry", "m")]
    found = curriculum(recorded, batches, **facts)["policy_is_no_worse_than_random"]
    assert number(found, "compared") and number(found, "worse_by") == pytest.approx(random - ours)
    if passes:
        assert found.passed
    else:
        refused(found, "worse by 0.3000", "policy.rounds", blocks=False)


@pytest.mark.parametrize(
    ("strategy", "said"), [("raise", "baseline_rollouts is 0"), ("random", "trains no policy")]
)
def test_without_a_random_run_nothing_is_compared(recorded: Recorded, strategy: str, said: str) -> None:
    found = curriculum(recorded, [("apple", "berry"), ("cherry", "m")], method=strategy)
    against = found["policy_is_no_worse_than_random"]
    assert against.passed and not number(against, "compared") and said in str(against.description)


def trained(
    losses: Sequence[float], held_out: Sequence[float], reward: Sequence[float]
) -> dict[str, float | None]:
    steps = tuple(
        StepMetrics(step=step, loss=loss, tokens=8, learning_rate=1e-3, gradient_norm=1.0, seconds=0.1)
        for step, loss in enumerate(losses)
    )
    measures = tuple(enumerate(held_out, 1))
    result = TrainingResult(steps, measures, len(steps), False, 8, 0.1, None, "a" * 64)
    return dict(recorded_losses(result, list(enumerate(reward, 1))))


def checkpoint(
    recorded: Recorded, losses: dict[str, float | None], **config: float
) -> dg.AssetCheckEvaluation:
    recorded.add(
        "checkpoint", facts={"losses": losses}, metadata={"final_training_loss": 2.0}, partition="0|raise"
    )
    return recorded.check("checkpoint", config)["losses_are_finite"]


def test_losses_of_a_training_pass(recorded: Recorded) -> None:
    found = checkpoint(recorded, trained([3.0, 16.0, 2.0], [2.5, 2.25], []))
    assert (
        found.passed
        and number(found, "largest_training_loss") == 16
        and number(found, "last_training_loss") == 2
    )
    assert number(found, "last_early_stopping_loss") == 2.25
    assert checkpoint(
        recorded, {}
    ).passed  # from before losses were recorded: the last one stands beside them


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (trained([3.0, 2.0], [2.5, float("nan")], [1.0]), "last early stopping loss is not finite"),
        (trained([3.0, 2.0], [2.5], [float("inf"), 1.0]), "largest reward loss is not finite"),
        (trained([3.0, 80.0], [2.5], []), "last training loss is 80.00"),
    ],
)
def test_losses_that_are_not_finite_or_too_large_fail(
    recorded: Recorded, losses: dict[str, float | None], said: str
) -> None:
    refused(checkpoint(recorded, losses), said, "learning rate", blocks=True)
    assert recorded.check("checkpoint", {"maximum_loss": 100.0})["losses_are_finite"].passed == ("80" in said)


def score(metric: str, value: float, task: str = "t", split: str = "test") -> dict[str, Any]:
    return {
        "evaluation_id": f"{metric} {task} {split} {value}",
        "checkpoint_id": "c",
        "model": "sultana version 1",
        "strategy": "raise",
        "seed": 0,
        "split": split,
        "task": task,
        "metric": metric,
        "value": value,
        "standard_error": None,
        "examples": 8,
        "overlapping": 0,
        "value_without_overlap": None,
    }


def evaluation(
    recorded: Recorded,
    rows: list[dict[str, Any]],
    *,
    version: int = 1,
    splits: Materialized | None = None,
    seen: Materialized | None = None,
    asset: str = "evaluation",
) -> None:
    """An evaluation on `splits` of a checkpoint that was selected for and trained on `seen`."""
    splits = splits or recorded.add(
        "benchmark_splits", {BENCHMARK_SPLITS: SPLITS}, configuration=SPLIT_SETTINGS
    )
    partition = "0|raise" if asset == "evaluation" else None
    upstream = [splits]
    if asset == "evaluation":
        made = recorded.add("curriculum", upstream=[seen or splits], partition=partition)
        upstream.append(recorded.add("checkpoint", upstream=[made, seen or splits], partition=partition))
    recorded.add(
        asset,
        {EVALUATIONS: rows, EVALUATION_ANSWERS: []},
        upstream=upstream,
        configuration={"split": "test"},
        facts={"rows": rows, "model": "sultana", "version": version},
        partition=partition,
    )


@pytest.mark.parametrize("asset", ["evaluation", "baseline_evaluation"])
def test_finite_scores_pass(recorded: Recorded, asset: str) -> None:
    evaluation(recorded, [score("loss", 2.0), score("accuracy", 0.5)], asset=asset)
    found = recorded.check(asset)
    assert all(one.passed for one in found.values()) and len(found) == (3 if asset == "evaluation" else 2)


@pytest.mark.parametrize("asset", ["evaluation", "baseline_evaluation"])
@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([score("loss", float("nan"))], "scores_that_are_not_finite"),
        ([score("accuracy", 1.5)], "shares_outside_0_to_1"),
        ([], "evaluations_without_a_score"),
    ],
)
def test_scores_that_mean_nothing_fail(
    recorded: Recorded, asset: str, rows: list[dict[str, Any]], fault: str
) -> None:
    evaluation(recorded, rows, asset=asset)
    found = recorded.check(asset)["scores_are_finite"]
    refused(found, "learning rate", blocks=True)
    assert number(found, fault) == 1


@pytest.mark.parametrize("split", ["reward", "early_stopping"])
def test_scored_examples_that_were_seen_fail(recorded: Recorded, split: str) -> None:
    tested = str(SPLITS[0]["messages"][0]["content"])
    earlier = [
        *SPLITS[1:],
        example("x", split, tested),
        example("t", "test", "Another question, which nobody asked."),
    ]
    seen = recorded.add("benchmark_splits", {BENCHMARK_SPLITS: earlier}, configuration=SPLIT_SETTINGS)
    now = recorded.add("benchmark_splits", {BENCHMARK_SPLITS: SPLITS}, configuration=SPLIT_SETTINGS)
    evaluation(recorded, [score("loss", 2.0)], splits=now, seen=seen)
    found = recorded.check("evaluation")["scored_examples_were_unseen"]
    refused(found, "splits have changed", "materialize curriculum and checkpoint", blocks=True)
    assert number(found, "scored_prompts_seen_before") == 1


def promotions(recorded: Recorded, *decisions: tuple[str, int | None, int | None]) -> None:
    rows = [
        {
            "promotion_id": str(place),
            "model": "sultana",
            "sequence": place,
            "action": action,
            "version": version,
            "previous_version": before,
            "forced": False,
            "reason": None,
            "rule": "{}",
            "evidence": json.dumps({}),
            "decided_by": "somebody",
            "decided_at": datetime.now(UTC),
        }
        for place, (action, version, before) in enumerate(decisions, 1)
    ]
    recorded.write(PROMOTIONS, rows)


def scored(recorded: Recorded, splits: Materialized, **losses: float) -> dg.AssetCheckEvaluation:
    """The leaderboard's check, with the base model and versions evaluated on the same splits."""
    for name, loss in losses.items():
        asset = "baseline_evaluation" if name == "base" else "evaluation"
        version = 0 if name == "base" else int(name[1:])
        rows = [score("loss", loss), score("accuracy", 0.5)]
        evaluation(recorded, rows, version=version, splits=splits, asset=asset)
    recorded.add("leaderboard")
    return recorded.check("leaderboard")["champion_has_not_regressed"]


@pytest.fixture
def splits(recorded: Recorded) -> Materialized:
    return recorded.add("benchmark_splits", {BENCHMARK_SPLITS: SPLITS}, configuration=SPLIT_SETTINGS)


def test_without_a_champion_nothing_is_compared(recorded: Recorded, splits: Materialized) -> None:
    found = scored(recorded, splits, base=3.0, v1=2.0)
    assert found.passed and "no champion yet" in str(found.description)


def test_the_first_champion_is_held_against_the_base_model(recorded: Recorded, splits: Materialized) -> None:
    promotions(recorded, ("promote", 1, None))
    found = scored(recorded, splits, base=3.0, v1=2.0)
    assert found.passed and number(found, "loss_before") == 3.0 and number(found, "loss_of_champion") == 2.0
    # Scored again, it is worse.
    found = scored(recorded, splits, v1=3.5)
    refused(found, "version 1 of sultana", "the base model", "sultana rollback sultana", blocks=False)


def test_a_champion_is_held_against_the_one_it_replaced(recorded: Recorded, splits: Materialized) -> None:
    promotions(recorded, ("promote", 1, None), ("promote", 2, 1))
    assert scored(recorded, splits, base=3.0, v1=2.0, v2=2.01).passed  # within the tolerance
    refused(scored(recorded, splits, v2=2.5), "version 1, which it replaced", blocks=False)
    assert recorded.check("leaderboard", {"loss_tolerance": 1.0})["champion_has_not_regressed"].passed
    promotions(recorded, ("promote", 1, None), ("promote", 2, 1), ("rollback", 1, 2))
    assert scored(recorded, splits).passed  # version 1 is the champion again, better than the base model


def test_a_champion_without_a_comparable_evaluation_is_said_not_to_be_compared(
    recorded: Recorded, splits: Materialized
) -> None:
    promotions(recorded, ("promote", 1, None))
    other = recorded.add("benchmark_splits", {BENCHMARK_SPLITS: SPLITS[:1]}, configuration=SPLIT_SETTINGS)
    evaluation(recorded, [score("loss", 1.0)], splits=other, asset="baseline_evaluation")
    found = scored(recorded, splits, v1=9.0)
    assert found.passed and str(found.description).startswith("Not compared: version 1")
