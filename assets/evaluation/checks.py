"""The door to the checks of the stage `evaluation`: splits that do not meet, and scores that mean something."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets.checking import SCHEMA_AS_DECLARED, Checking, schema_spec
from assets.evaluation.soundness import scores_are_numbers, splits_disjoint, unseen
from assets.materialized import Materialized, follow
from assets.outcome import Outcome
from assets.records import BENCHMARK_SPLITS, EVALUATION_ANSWERS, EVALUATIONS
from resources.definitions import Storage

SPLITS, BASE, ASSET = "benchmark_splits", "baseline_evaluation", "evaluation"
SPLITS_DISJOINT = "splits_are_disjoint"
FINITE = "scores_are_finite"
UNSEEN = "scored_examples_were_unseen"
COLUMNS = ("example_id", "split", "messages", "response")


def _finite_spec(asset: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        FINITE,
        asset=asset,
        blocking=True,
        description="There are scores, each of them a finite number: one that is not would spoil every mean.",
    )


@dg.multi_asset_check(
    name="benchmark_splits_checks",
    specs=[
        schema_spec(SPLITS),
        dg.AssetCheckSpec(
            SPLITS_DISJOINT,
            asset=SPLITS,
            blocking=True,
            description="No prompt stands in two splits, no example shares its text with one of a higher split (test, "
            "then early stopping, then reward), and no split is empty.",
        ),
    ],
    can_subset=True,
)
def benchmark_splits_checks(
    context: dg.AssetCheckExecutionContext, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Schema and disjointness of reward, early-stopping and test split."""
    checking = Checking(context, storage)
    made = checking.made(SPLITS)
    settings = made.record["configuration"]
    yield from checking.results(
        {
            (SPLITS, SCHEMA_AS_DECLARED): lambda: checking.schemas(made, BENCHMARK_SPLITS),
            (SPLITS, SPLITS_DISJOINT): lambda: splits_disjoint(
                _rows(checking, made),
                n=settings["contamination_ngram"],
                threshold=settings["contamination_threshold"],
            ),
        }
    )


@dg.multi_asset_check(
    name="baseline_evaluation_checks",
    specs=[schema_spec(BASE), _finite_spec(BASE)],
    can_subset=True,
)
def baseline_evaluation_checks(
    context: dg.AssetCheckExecutionContext, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Schema and scores of the base model's evaluation."""
    checking = Checking(context, storage)
    made = checking.made(BASE)
    yield from checking.results(
        {
            (BASE, SCHEMA_AS_DECLARED): lambda: checking.schemas(made, EVALUATIONS, EVALUATION_ANSWERS),
            (BASE, FINITE): lambda: scores_are_numbers(made.record["facts"]["rows"]),
        }
    )


@dg.multi_asset_check(
    name="evaluation_checks",
    specs=[
        schema_spec(ASSET),
        _finite_spec(ASSET),
        dg.AssetCheckSpec(
            UNSEEN,
            asset=ASSET,
            blocking=True,
            description="No scored example was in the reward split when the curriculum was made, or in the "
            "early-stopping split when the checkpoint was trained.",
        ),
    ],
    can_subset=True,
)
def evaluation_checks(
    context: dg.AssetCheckExecutionContext, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Schema and scores of a checkpoint's evaluation, on examples that it had not seen."""
    checking = Checking(context, storage)
    made = checking.made(ASSET)

    def not_seen() -> Outcome:
        checkpoint = follow(context.instance, made, "checkpoint")
        splits = follow(context.instance, made, SPLITS)
        split = made.record["configuration"]["split"]
        saw = [(follow(context.instance, checkpoint, "curriculum"), "reward")]
        # Who asks for scores on the early-stopping split knows that training may have stopped on it.
        if split != "early_stopping":
            saw.append((checkpoint, "early_stopping"))
        seen: list[dict[str, Any]] = []
        of_other_splits: list[dict[str, Any]] = []
        for who, name in saw:
            known = follow(context.instance, who, SPLITS)
            rows = _rows(checking, known, name)
            seen += rows
            of_other_splits += rows if known.data_version != splits.data_version else []
        return unseen(
            _rows(checking, splits, split),
            seen,
            of_other_splits,
            n=splits.record["configuration"]["contamination_ngram"],
            threshold=splits.record["configuration"]["contamination_threshold"],
        )

    yield from checking.results(
        {
            (ASSET, SCHEMA_AS_DECLARED): lambda: checking.schemas(made, EVALUATIONS, EVALUATION_ANSWERS),
            (ASSET, FINITE): lambda: scores_are_numbers(made.record["facts"]["rows"]),
            (ASSET, UNSEEN): not_seen,
        }
    )


def _rows(checking: Checking, splits: Materialized, split: str | None = None) -> list[dict[str, Any]]:
    """The examples of a split, or of all three."""
    rows: list[dict[str, Any]] = checking.tables.read(splits.table(), columns=COLUMNS).to_pylist()
    return rows if split is None else [row for row in rows if row["split"] == split]
