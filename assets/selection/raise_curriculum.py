"""RAISE among the strategies: its settings as configured, its result as a curriculum with its curves."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from assets.selection.strategy import Chosen, Curve

if TYPE_CHECKING:
    from assets.selection.config import RaiseSettings
    from assets.selection.inputs import Inputs
    from assets.selection.raise_policy.result import RaiseResult


GUARDED = {"rounds": 4, "rollouts": 2, "baseline_rollouts": 1}
"""Training runs of the preset guarded where the configuration leaves them open: eight gathered, two beside."""

INFORMED_ROUNDS = 1
"""Rounds of the preset guarded that start from rows' gradients: in 24 of 30 measured runs the start stayed the best
policy after one (tests/experiments/measured/raise.jsonl)."""

MOST_REWARDS = 16
"""Rewards of one training run of the preset guarded where the configuration leaves it open."""

MOST_ALIGNED = 8192
"""Rows whose gradients are taken where the configuration leaves it open: 512 MiB of them (alignment_scores)."""


def alignment(pool_rows: int, method: str, settings: "RaiseSettings") -> tuple[int | None, bool]:
    """Rows whose gradients are taken (None: none; 0: all), and whether the state has a column for them.

    `method` is the training's. Left open, a pool of more than MOST_ALIGNED rows gives so many, and no column,
    which would have to know every row: the policy carries what those say over to the others.
    """
    takes_none = settings.preset.value == "paper" or method != "lora"
    rows = settings.aligned_rows
    if rows is None:
        rows = -1 if takes_none else 0 if pool_rows <= MOST_ALIGNED else MOST_ALIGNED
    column = settings.alignment_column
    return (None if rows < 0 else rows), (rows == 0 if column is None else column)


def measure_every(steps: int, settings: "RaiseSettings") -> int:
    """Steps between rewards: on long runs a reward after each of them would cost several times the training."""
    if settings.measure_every is not None:
        return settings.measure_every
    return 1 if settings.preset.value == "paper" else math.ceil(steps / MOST_REWARDS)


def raise_curriculum(inputs: "Inputs", settings: "RaiseSettings") -> Chosen:
    """Trains the policy as `settings` say, and gives what it deployed."""
    from assets.selection.raise_run import RaiseRun, run_raise

    aligned_rows, alignment_column = alignment(len(inputs.pool), inputs.training.method, settings)
    open_runs = GUARDED if settings.preset.value == "guarded" else {}
    if open_runs and aligned_rows is not None:
        open_runs = open_runs | {"rounds": INFORMED_ROUNDS}
    given = {"rounds": settings.rounds, "rollouts": settings.rollouts}
    given["baseline_rollouts"] = settings.baseline_rollouts
    runs = {name: open_runs.get(name) if number is None else number for name, number in given.items()}
    run = RaiseRun(
        preset=settings.preset.value,
        rounds=runs["rounds"],
        rollouts=runs["rollouts"],
        baseline_rollouts=runs["baseline_rollouts"],
        measure_every=measure_every(inputs.budget.steps, settings),
        aligned_rows=aligned_rows,
        warm_up=settings.warm_up,
        alignment_column=alignment_column,
        initial_policy=Path(settings.initial_policy) if settings.initial_policy else None,
        save_policy=inputs.policy_folder,
        changes={"select_every": settings.select_every},
    )
    return as_chosen(run_raise(inputs, run), run.measure_every)


def as_chosen(result: "RaiseResult", measured_every: int) -> Chosen:
    """A result as a curriculum: losses for performances (P = -loss), the comparison with random in words.

    `measured_every` steps lie between two rewards.
    """
    curves = [
        Curve(f"round {report.round + 1}", _losses(curve))
        for report in result.rounds
        for curve in report.performances
    ]
    if result.baseline:
        curves += [Curve("random", _losses(curve)) for curve in result.baseline.performances]
    facts = {
        "policy_sha256": result.policy_sha256,
        "best_round": result.best_round,
        "initial_performance": result.initial_performance,
        "final_performance": result.final_performance,
        "reward_loss_error_bound": result.reward_error.bound if result.reward_error else None,
        "against_random": result.baseline.finding if result.baseline else None,
        "random_performance": result.baseline.random_final if result.baseline else None,
    }
    deployed = Curve("deployed", _losses(result.episode.performances), measured_every)
    return Chosen(result.selections, facts, curves=tuple(curves), deployed=deployed)


def _losses(performances: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(-one for one in performances)
