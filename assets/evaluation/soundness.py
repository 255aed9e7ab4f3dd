"""Whether splits are disjoint, what was scored had been unseen, and scores are numbers."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from assets.evaluation.splits import PRIORITY, prompt_digest, sharing_text
from assets.outcome import Outcome, no_faults

Row = Mapping[str, Any]

SHARES = ("accuracy",)
"""Metrics whose values are shares from 0 to 1."""


def splits_disjoint(rows: Sequence[Row], *, n: int, threshold: float) -> Outcome:
    """Whether no prompt stands twice, no split is empty, and none shares text with a higher one.

    `rows` are those of BENCHMARK_SPLITS; `n` and `threshold` are those that the splits were made with.
    """
    prompts = Counter(prompt_digest(row) for row in rows)
    higher: list[Row] = []
    overlapping = 0
    for split in PRIORITY:
        own = {row["example_id"]: row for row in rows if row["split"] == split}
        overlapping += len(sharing_text(own, higher, n=n, threshold=threshold))
        higher += own.values()
    return no_faults(
        {
            "repeated_prompts": sum(count - 1 for count in prompts.values()),
            "examples_that_share_text_with_a_higher_split": overlapping,
            "empty_splits": len(set(PRIORITY) - {row["split"] for row in rows}),
        },
        sound=f"{len(rows):,} examples in three splits without a prompt or a text in common",
        remedy="Name sources that do not hold each other's questions, for every split (benchmark_splits: reward, "
        "early_stopping, test), and materialize benchmark_splits again",
    )


def unseen(
    scored: Sequence[Row], seen: Sequence[Row], of_other_splits: Sequence[Row], *, n: int, threshold: float
) -> Outcome:
    """Whether no scored example was seen before: by selection as a reward, or by training to stop on.

    All are rows of BENCHMARK_SPLITS. `of_other_splits` are those among `seen` from another version of the table than
    the scored ones, whose texts have not been compared with them yet (`splits_disjoint` has compared the rest).
    """
    prompts = {prompt_digest(row) for row in seen}
    others = {row["example_id"]: row for row in of_other_splits}
    overlapping = sharing_text(others, scored, n=n, threshold=threshold)
    return no_faults(
        {
            "scored_prompts_seen_before": sum(prompt_digest(row) in prompts for row in scored),
            "seen_examples_that_share_text_with_scored_ones": len(overlapping),
        },
        sound=f"None of {len(scored):,} scored examples was among the {len(seen):,} that selection was rewarded on or "
        "training could stop on",
        remedy="The benchmark splits have changed since this model was selected for or trained: materialize curriculum "
        "and checkpoint of this partition again, then evaluate",
    )


def scores_are_numbers(rows: Sequence[Row]) -> Outcome:
    """Whether there are scores, each finite, and shares are from 0 to 1; `rows` are those of EVALUATIONS."""
    return no_faults(
        {
            "scores_that_are_not_finite": sum(not math.isfinite(_number(row["value"])) for row in rows),
            "shares_outside_0_to_1": sum(
                row["metric"] in SHARES and not 0 <= _number(row["value"]) <= 1 for row in rows
            ),
            "evaluations_without_a_score": int(not rows),
        },
        sound=f"All {len(rows):,} scores are finite",
        remedy="The model's numbers overflow: look at the losses of its checkpoint, and train again with a smaller "
        "learning rate; on the base model, set language_model.dtype to float32",
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
