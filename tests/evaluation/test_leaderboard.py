"""Means over tasks, spread over seeds, and paired differences."""

from typing import Any

import numpy as np
import pytest

from assets.evaluation.leaderboard import paired_difference, standings, verdict


def rows(strategy: str, losses: list[list[float]]) -> list[dict[str, Any]]:
    return [
        {"strategy": strategy, "seed": seed, "task": f"task {task}", "metric": "loss", "value": value}
        for seed, tasks in enumerate(losses)
        for task, value in enumerate(tasks)
    ]


def test_order_mean_and_spread() -> None:
    board = standings(
        [
            *rows("random", [[1.0, 3.0], [2.0, 4.0], [3.0, 5.0]]),
            *rows("raise", [[0.9, 2.9], [1.8, 3.8], [2.7, 4.7]]),
            *rows("base", [[5.0, 7.0]]),
        ],
        "random",
    )
    assert [one.strategy for one in board] == ["raise", "random", "base"]
    best, reference, base = board
    assert reference.loss == pytest.approx(3.0) and reference.loss_spread == pytest.approx(1.0)
    assert base.loss == pytest.approx(6.0) and base.loss_spread is None
    assert reference.loss_difference is None and base.loss_difference is None
    assert best.loss_difference == pytest.approx(-0.2)
    # Student's t with two degrees of freedom: 4.303 standard errors.
    half = 4.302652729911275 * 0.1 / np.sqrt(3)
    assert best.loss_difference_low == pytest.approx(-0.2 - half)
    assert best.loss_difference_high == pytest.approx(-0.2 + half)
    assert best.accuracy is None


def test_seeds_are_paired() -> None:
    difference, low, high = paired_difference({0: 1.0, 1: 2.0, 7: 100.0}, {0: 1.5, 1: 2.5, 8: 0.0})
    assert difference == pytest.approx(-0.5)
    assert low == pytest.approx(-0.5) and high == pytest.approx(-0.5)
    assert paired_difference({0: 1.0}, {1: 1.0}) == (None, None, None)
    assert paired_difference({0: 1.0}, {0: 2.0}) == (-1.0, None, None)


def test_the_verdict_claims_nothing_that_the_interval_does_not_show() -> None:
    noisy = standings(
        [*rows("random", [[1.0], [2.0], [3.0]]), *rows("raise", [[2.0], [1.0], [2.9]])], "random"
    )
    assert "no difference shown" in verdict(noisy, "random")
    clear = standings(
        [*rows("random", [[1.0], [2.0], [3.0]]), *rows("raise", [[0.5], [1.49], [2.5]])], "random"
    )
    assert "lower loss than" in verdict(clear, "random") and "not evidence" not in verdict(clear, "random")
    two = standings([*rows("random", [[1.0], [2.0]]), *rows("raise", [[0.5], [1.5]])], "random")
    assert "not evidence" in verdict(two, "random")
