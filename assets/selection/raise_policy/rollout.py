"""An episode: one training run from the first weights, its rows chosen by the policy (RAISE Algorithm 2)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from assets.selection.raise_policy.acquisition import AcquisitionFunction
from assets.selection.raise_policy.config import RaiseConfig
from assets.selection.raise_policy.pool_scorer import Scorer
from assets.selection.raise_policy.scoring import Classes, RowScorer, StaticFeatures, one_thread
from assets.selection.raise_policy.select import Batch, GumbelNoise, dealt, select
from assets.selection.raise_policy.state import EarlierSelections, stage_features
from resources.errors import SultanaError


class Environment(Protocol):
    """A training run that can be started again and that tells its performance after each step.

    Performance is higher when better (RAISE: minus the loss on the reward split). Both calls must be
    deterministic, and a reset must bring back weights, optimizer and schedule.
    """

    def reset(self) -> float:
        """Back to M_0; returns P_0."""
        ...

    def step(self, rows: Sequence[int]) -> float:
        """One optimizer step on the pool's rows at these positions; returns P_t."""
        ...


@dataclass(frozen=True, eq=False)
class Episode:
    """What a training run left behind; states are kept by reference (`state.py` derives them)."""

    performances: tuple[float, ...]  # P_0 ... P_T
    batches: tuple[Batch, ...]  # T

    @property
    def actions(self) -> Tensor:
        """Positions selected, (T, B) int64."""
        return _actions(self.batches)

    @property
    def log_probabilities(self) -> Tensor:
        """log p_old of the rows selected, (T, B)."""
        return torch.stack([batch.log_probabilities for batch in self.batches])

    @property
    def rewards(self) -> tuple[float, ...]:
        """R_t = P_t - P_{t-1}, (T,); their sum is P_T - P_0."""
        return tuple(
            after - before for before, after in zip(self.performances, self.performances[1:], strict=False)
        )

    @property
    def distinct_rows(self) -> int:
        """Rows selected at least once."""
        return len(torch.unique(self.actions))


def collect(
    environment: Environment,
    function: AcquisitionFunction,
    static: StaticFeatures,
    classes: Classes,
    config: RaiseConfig,
    noise: GumbelNoise | None,
    scorer: Scorer | None = None,
) -> Episode:
    """Run one episode of `config.steps` steps.

    `static` and `classes` are the pool's; `scorer` scores it by `function` (None: by a loop here). Without
    `noise`, rows are chosen deterministically. With `config.select_every` M > 1, the rows of M steps are chosen at
    once, in the state before the first of them (RAISE appendix F): M x B rows, none twice, dealt out to the M steps
    (`select.dealt`). Raises SultanaError where a performance is not finite.
    """
    performances = [checked(environment.reset(), 0)]
    batches: list[Batch] = []
    scorer = scorer or RowScorer(function, static)
    ahead: list[Batch] = []
    for step in range(config.steps):
        if not ahead:
            steps = min(config.select_every, config.steps - step)
            earlier = EarlierSelections.of(_actions(batches))
            blocks = scorer.blocks(stage_features(performances, config.steps)[-1], earlier)
            size = steps * config.batch_size
            with one_thread():
                chosen = select(blocks, classes, earlier, size, step, config.cap_at(step), noise)
            ahead = dealt(chosen, steps)
        batch = ahead.pop(0)
        performances.append(checked(environment.step(batch.rows.tolist()), step + 1))
        batches.append(batch)
    return Episode(tuple(performances), tuple(batches))


def _actions(batches: Sequence[Batch]) -> Tensor:
    return torch.stack([batch.rows for batch in batches]) if batches else torch.zeros(0, 0, dtype=torch.int64)


def checked(performance: float, step: int) -> float:
    """The performance after `step` steps, where it is finite; otherwise raises SultanaError."""
    if not math.isfinite(performance):
        raise SultanaError(
            f"The performance on the reward split is {performance} after step {step} of a training run",
            "Lower the training's learning rate or turn on gradient clipping, and check the reward split",
            code="training-diverged",
        )
    return float(performance)
