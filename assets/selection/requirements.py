"""What a strategy needs, checked before any work: score columns, a reward split, rows enough for its steps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from assets.selection.pool import Budget
from assets.selection.strategy import Strategy
from resources.errors import SultanaError

if TYPE_CHECKING:
    from assets.selection.config import CurriculumConfig


def steps_of(name: str, steps: int, batch_size: int, passes: int, pool_rows: int) -> int:
    """Optimizer steps of a curriculum: `full` takes what its passes over the pool need, the others `steps`."""
    return max(1, -(-pool_rows * passes // batch_size)) if name == "full" else steps


def check(
    strategy: Strategy, config: "CurriculumConfig", score_columns: Mapping[str, int], reward_examples: int
) -> None:
    """Raises SultanaError where a strategy lacks what it needs; costs nothing.

    `score_columns` are the score columns at hand with their numbers of rows, `reward_examples` the
    examples of the reward split.
    """
    if strategy.name == "alpagasus" and not config.alpagasus.column:
        raise SultanaError(
            "Strategy alpagasus selects by a judge's ratings, and alpagasus.column names no score column",
            "Set alpagasus.column; ratings come from a score column of the instructions, none are made up",
            code="scores-missing",
        )
    for name in strategy.score_columns(config):
        if not score_columns.get(name):
            known = ", ".join(sorted(score_columns)) or "none"
            raise SultanaError(
                f"Strategy {strategy.name} reads the score column {name!r}; the instructions have {known}",
                f"Put {name} into the files of the instructions and name it in the source's score_fields",
                code="scores-missing",
            )
    if "reward" in strategy.needs and not reward_examples:
        raise SultanaError(
            f"Strategy {strategy.name} selects for the split 'reward', which has no example",
            "Name a source for it in benchmark_splits",
            code="split-without-examples",
        )


def check_budget(strategy: Strategy, budget: Budget, pool_rows: int, *, unlimited: bool = False) -> None:
    """Raises SultanaError where a dynamic strategy could run out of rows before its last step.

    With a cap of c on repeats, fewer than B of N rows can be left only after c (N - B + 1) selections.
    `unlimited`: there is no cap (see `repeat_cap`).
    """
    if not strategy.dynamic or unlimited:
        return
    left = pool_rows - budget.batch_size + 1
    if left < 1 or budget.batch_size * (budget.steps - 1) >= budget.passes * left:
        raise SultanaError(
            f"Strategy {strategy.name} decides at each step, and {budget.steps:,} steps of "
            f"{budget.batch_size:,} rows, each row at most {budget.passes} time(s), leave it no choice in a pool "
            f"of {pool_rows:,}",
            "Raise passes or candidates, lower steps or batch_size, or take the strategy full",
            code="pool-too-small",
        )


def repeat_cap(strategy: Strategy, config: "CurriculumConfig") -> int | None:
    """How often a strategy may select a row; None where it has no limit of its own.

    One that decides once repeats what its passes repeat, evenly; SSPL takes the nearest rows by loss again
    where a bucket is smaller than a batch; RAISE as published has no limit.
    """
    if not strategy.dynamic or (strategy.name == "raise" and config.policy.preset.value == "paper"):
        return None
    return config.passes
