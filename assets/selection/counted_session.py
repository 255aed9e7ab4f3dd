"""A training session that counts what it costs, so that a strategy cannot forget to."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from assets.finetuning.row_gradients import RowGradients
from assets.finetuning.scoring import Example, LossReport
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import StepMetrics, TrainingRow

if TYPE_CHECKING:
    import torch

    from assets.selection.inputs import Spent


class CountedSession(TrainingSession):
    """`TrainingSession`, with steps, reward measurements and row gradients added up in `spent`."""

    def __init__(
        self,
        pair: tuple[Any, Any],
        config: TrainingConfig,
        total_steps: int,
        fingerprint: str,
        spent: "Spent",
    ) -> None:
        super().__init__(pair, config, total_steps, fingerprint)
        self.spent = spent

    def step(self, rows: Sequence[TrainingRow]) -> StepMetrics:
        """As `TrainingSession.step`."""
        metrics = super().step(rows)
        self.spent.training_steps += 1
        self.spent.training_rows += len(rows)
        self.spent.training_tokens += metrics.tokens
        self.spent.training_seconds += metrics.seconds
        return metrics

    def response_loss(self, examples: Sequence[Example]) -> LossReport:
        """As `TrainingSession.response_loss`."""
        started = time.monotonic()
        report = super().response_loss(examples)
        self.spent.reward_measurements += 1
        self.spent.reward_examples += len(examples)
        self.spent.reward_seconds += time.monotonic() - started
        return report

    def row_gradients(self, rows: Sequence[TrainingRow]) -> Iterator[RowGradients]:
        """As `TrainingSession.row_gradients`."""
        started = time.monotonic()
        for part in super().row_gradients(rows):
            self.spent.rows_differentiated += len(part.rows)
            self.spent.gradient_seconds += time.monotonic() - started
            yield part
            started = time.monotonic()

    def loss_and_gradient(self, rows: Sequence[TrainingRow]) -> "tuple[float, torch.Tensor]":
        """As `TrainingSession.loss_and_gradient`."""
        started = time.monotonic()
        found = super().loss_and_gradient(rows)
        self.spent.rows_differentiated += len(rows)
        self.spent.gradient_seconds += time.monotonic() - started
        return found
