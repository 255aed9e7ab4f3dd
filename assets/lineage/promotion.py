"""Which version of a model is its champion, and why: an explicit rule over evaluations, and what was decided.

A candidate replaces the champion where its mean over the tasks of the test split is better by a stated margin
and no guard task is worse by more than a stated tolerance. Decisions are data: each is a row of
`records.PROMOTIONS` with its rule and every number that it rests on, and is chained to the one before.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from assets.records import PROMOTIONS
from resources.errors import SultanaError
from resources.tables import LanceTables
from resources.text import sql_quote

SPLIT = "test"
SEEN_IN_TRAINING = ("reward", "early_stopping")
LOSS, ACCURACY = "loss", "accuracy"
Action = Literal["promote", "rollback", "withdraw"]


@dataclass(frozen=True)
class PromotionRule:
    """What a candidate has to show. Losses in nats per token, accuracies as shares from 0 to 1.

    A margin of None asks nothing of that metric; at least one has to be set. Without `guards` every task that
    was scored on data unseen in training is one, benchmarks among them. Tolerances hold per task and metric;
    that of accuracy for every metric but the loss.
    """

    loss_margin: float | None = 0.01
    accuracy_margin: float | None = None
    loss_tolerance: float = 0.02
    accuracy_tolerance: float = 0.02
    guards: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.loss_margin is None and self.accuracy_margin is None:
            raise SultanaError(
                "The rule asks for no margin",
                "Set a margin of the loss or of the accuracy",
                code="promotion-rule-invalid",
            )
        for name, value in asdict(self).items():
            if isinstance(value, float | int) and not (math.isfinite(value) and value >= 0):
                raise SultanaError(f"{name} is {value}", "Set it to 0 or more", code="promotion-rule-invalid")


@dataclass(frozen=True)
class Comparison:
    """One thing that was compared. `gain` is how much better the candidate is; `least` what was asked."""

    what: Literal["mean", "guard"]
    task: str  # "all" for a mean
    metric: str
    candidate: float
    champion: float
    gain: float
    least: float
    passed: bool


@dataclass(frozen=True)
class Decision:
    """A row of `records.PROMOTIONS` without the rule and the evidence."""

    promotion_id: str
    action: str
    version: int | None
    previous_version: int | None


def compare(
    candidate: Iterable[Mapping[str, Any]], champion: Iterable[Mapping[str, Any]], rule: PromotionRule
) -> list[Comparison]:
    """Everything that the rule asks, means first; it holds where all have passed.

    Takes rows of EVALUATIONS, one a task and metric. Raises SultanaError where the two were not scored alike
    (other tasks, other numbers of examples) or the rule names a guard that was not scored.
    """
    ours, theirs = _by_task(candidate), _by_task(champion)
    _check_alike(ours, theirs)
    tasks = {task for task, _ in ours}
    if unknown := sorted(set(rule.guards) - tasks):
        raise SultanaError(
            f"The guard task {unknown[0]} was not evaluated",
            f"Choose among: {', '.join(sorted(tasks))}",
            code="promotion-rule-invalid",
        )
    found = []
    for metric, margin in ((LOSS, rule.loss_margin), (ACCURACY, rule.accuracy_margin)):
        if margin is None:
            continue
        keys = [key for key, row in ours.items() if key[1] == metric and row["split"] == SPLIT]
        if not keys:
            raise SultanaError(
                f"No task has the metric {metric}",
                "State a margin of the other metric",
                code="promotion-rule-invalid",
            )
        left, right = (sum(rows[key]["value"] for key in keys) / len(keys) for rows in (ours, theirs))
        gain = _gain(metric, left, right)
        # A margin of 0 means better, not equal.
        passed = gain >= margin if margin else gain > 0
        found.append(Comparison("mean", "all", metric, left, right, gain, margin, passed))
    for task, metric in sorted(ours):
        if rule.guards and task not in rule.guards:
            continue
        left, right = ours[task, metric]["value"], theirs[task, metric]["value"]
        gain = _gain(metric, left, right)
        tolerance = rule.loss_tolerance if metric == LOSS else rule.accuracy_tolerance
        found.append(Comparison("guard", task, metric, left, right, gain, -tolerance, gain >= -tolerance))
    return found


def _by_task(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    found = {(row["task"], row["metric"]): row for row in rows if row["split"] not in SEEN_IN_TRAINING}
    if not any(row["split"] == SPLIT for row in found.values()):
        raise SultanaError(
            f"The evaluation holds no score on the {SPLIT} split",
            f"Evaluate with split: {SPLIT}",
            code="evaluation-incomplete",
        )
    return found


def _check_alike(
    ours: Mapping[tuple[str, str], Mapping[str, Any]], theirs: Mapping[tuple[str, str], Mapping[str, Any]]
) -> None:
    for task, metric in sorted(ours.keys() | theirs.keys()):
        counts = [rows[task, metric]["examples"] if (task, metric) in rows else 0 for rows in (ours, theirs)]
        if counts[0] != counts[1]:
            raise SultanaError(
                f"The {metric} of {task} was measured on {counts[0]} examples for the candidate and on "
                f"{counts[1]} for what it is compared with",
                "Evaluate both on the same data with the same settings",
                code="evaluations-not-comparable",
            )


def _gain(metric: str, candidate: float, champion: float) -> float:
    return champion - candidate if metric == LOSS else candidate - champion


def in_words(comparison: Comparison) -> str:
    """A comparison as one clause."""
    what = "the mean" if comparison.what == "mean" else f"the guard task {comparison.task}:"
    return (
        f"{what} {comparison.metric} is {comparison.candidate:.4f} against {comparison.champion:.4f}, "
        f"{abs(comparison.gain):.4f} {'better' if comparison.gain > 0 else 'worse'}, "
        + (
            f"and has to be better by {comparison.least:g}"
            if comparison.what == "mean"
            else f"and may be worse by {-comparison.least:g}"
        )
    )


def standing_promotions(history: Iterable[Decision]) -> list[Decision]:
    """The promotions that were not taken back, in order; the last one is that of the champion.

    A roll-back takes the last one back, a withdrawal all that came after the one of its version.
    """
    stack: list[Decision] = []
    for decision in history:
        if decision.action == "promote":
            stack.append(decision)
        elif decision.action == "withdraw":
            while stack and stack[-1].version != decision.version:
                stack.pop()
        elif stack:
            stack.pop()
    return stack


def standing(history: Sequence[Decision]) -> Decision | None:
    """The promotion that stands, after all decisions in order; None where none does."""
    return next(reversed(standing_promotions(history)), None)


def read_history(tables: LanceTables, name: str) -> list[Decision]:
    """The decisions about a model, in order."""
    ref = tables.head(PROMOTIONS.table)
    if ref is None:
        return []
    rows = tables.read(ref, filter=f"model = {sql_quote(name)}").to_pylist()
    return [decision_of(row) for row in sorted(rows, key=lambda row: int(row["sequence"]))]


def decision_of(row: Mapping[str, Any]) -> Decision:
    """A row of PROMOTIONS."""
    return Decision(row["promotion_id"], row["action"], row["version"], row["previous_version"])
