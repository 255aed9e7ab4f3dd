"""The leaderboard: strategies over seeds, with mean, spread and the difference from a reference.

Seeds are paired: a strategy's difference from the reference is taken seed by seed, then averaged. The
interval is Student's t over those differences, so it needs at least two seeds; with fewer than three it
is too wide to claim anything, and the leaderboard says so.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BASE = "base"
CONFIDENCE = 0.95
METRICS = ("loss", "accuracy")


@dataclass(frozen=True)
class Standing:
    """One strategy. Spreads are sample standard deviations over seeds; None where there is one seed."""

    strategy: str
    seeds: int
    loss: float | None
    loss_spread: float | None
    accuracy: float | None
    accuracy_spread: float | None
    loss_difference: float | None  # mean over seeds of loss - reference's loss; below 0 is better
    loss_difference_low: float | None
    loss_difference_high: float | None


def mean_over_tasks(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int, str], float]:
    """(strategy, seed, metric) -> mean over tasks, from rows of EVALUATIONS (one row a task and metric).

    Benchmarks of the harness have other metrics and are compared question by question (`paired`).
    """
    values: dict[tuple[str, int, str], list[float]] = defaultdict(list)
    for row in rows:
        if row["metric"] not in METRICS:
            continue
        values[row["strategy"], row["seed"], row["metric"]].append(row["value"])
    return {key: float(np.mean(found)) for key, found in values.items()}


def standings(rows: Iterable[Mapping[str, Any]], reference: str) -> list[Standing]:
    """Strategies from lowest to highest mean loss, the base model among them."""
    scores = mean_over_tasks(rows)
    by_strategy: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: {name: {} for name in METRICS})
    for (strategy, seed, metric), value in scores.items():
        by_strategy[strategy][metric][seed] = value
    found = []
    for strategy, metrics in by_strategy.items():
        difference, low, high = (
            (None, None, None)
            if strategy in (reference, BASE)
            else paired_difference(
                metrics["loss"], by_strategy[reference]["loss"] if reference in by_strategy else {}
            )
        )
        found.append(
            Standing(
                strategy,
                max(len(metrics[name]) for name in METRICS),
                *_mean_and_spread(list(metrics["loss"].values())),
                *_mean_and_spread(list(metrics["accuracy"].values())),
                difference,
                low,
                high,
            )
        )
    return sorted(found, key=lambda one: (one.loss is None, one.loss, one.strategy))


def paired_difference(
    ours: Mapping[int, float], reference: Mapping[int, float]
) -> tuple[float | None, float | None, float | None]:
    """Mean of ours - reference over the seeds that both have, and the ends of its 95 % interval."""
    seeds = sorted(ours.keys() & reference.keys())
    if not seeds:
        return None, None, None
    differences = np.array([ours[seed] - reference[seed] for seed in seeds])
    mean = float(differences.mean())
    if len(seeds) < 2:
        return mean, None, None
    from scipy.stats import t

    error = float(differences.std(ddof=1)) / len(seeds) ** 0.5
    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(seeds) - 1)) * error
    return mean, mean - half, mean + half


def verdict(found: Sequence[Standing], reference: str) -> str:
    """In words: what the numbers do and do not show."""
    lines = []
    for one in found:
        if one.loss_difference is None or one.strategy == BASE:
            continue
        if one.loss_difference_low is None or one.loss_difference_high is None:
            lines.append(f"**{one.strategy}** against {reference}: one seed in common, no interval.")
            continue
        interval = (
            f"{one.loss_difference:+.4f} [{one.loss_difference_low:+.4f}, {one.loss_difference_high:+.4f}]"
        )
        if one.loss_difference_high < 0:
            meaning = "lower loss than"
        elif one.loss_difference_low > 0:
            meaning = "higher loss than"
        else:
            meaning = "no difference shown from"
        caution = " Fewer than three seeds: not evidence." if one.seeds < 3 else ""
        lines.append(
            f"**{one.strategy}**: {meaning} {reference}, {interval} (95 %, {one.seeds} seeds).{caution}"
        )
    return "\n\n".join(lines) or f"No strategy shares a seed with {reference} yet."


def _mean_and_spread(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def as_rows(found: Sequence[Standing]) -> list[dict[str, Any]]:
    """Standings as dictionaries."""
    return [asdict(one) for one in found]
