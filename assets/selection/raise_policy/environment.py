"""The environment of a real run: a language model in training, measured on the reward split."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from resources.errors import SultanaError


class Session(Protocol):
    """What RAISE needs of `finetuning.trainer.TrainingSession`."""

    @property
    def model(self) -> Any:
        """The model in training, for `measure`."""
        ...

    def reset(self) -> None:
        """Weights of M_0, optimizer and schedule fresh."""
        ...

    def step(self, rows: Sequence[Any]) -> Any:
        """One optimizer step on these training rows."""
        ...


class TrainingEnvironment:
    """`rollout.Environment` over a training session; P is minus the loss on the reward split.

    `training_rows` are in the order of the pool; `measure(model, reward_examples)` returns a loss in nats
    that is higher when worse and the same when asked twice. P_0 is measured once, since every reset brings
    back the same weights. Measuring often costs more than training: with `measure_every` m > 1 the
    performance is taken at every m-th step and the last one, and stands still in between, so the rewards
    still add up to P_T - P_0 but each is that of m steps.
    """

    def __init__(
        self,
        session: Session,
        training_rows: Sequence[Any],
        reward_examples: Sequence[Any],
        measure: Callable[[Any, Sequence[Any]], float],
        *,
        steps: int,
        measure_every: int = 1,
    ) -> None:
        if not reward_examples:
            raise SultanaError(
                "The reward split has no example, so RAISE has nothing to learn from",
                "Give benchmark_splits at least one example in the split 'reward'",
                code="split-without-examples",
            )
        if steps < 1 or not 1 <= measure_every <= steps:
            raise SultanaError(
                f"RAISE is to measure every {measure_every} of {steps} steps",
                "Set measure_every from 1 to steps",
                code="setting-out-of-bounds",
            )
        self._session = session
        self._training_rows = training_rows
        self._reward_examples = reward_examples
        self._measure = measure
        self._steps = steps
        self._measure_every = measure_every
        self._done = 0
        self._first: float | None = None
        self._performance = 0.0

    def reset(self) -> float:
        """Back to M_0, with optimizer and schedule fresh; returns P_0."""
        self._session.reset()
        self._done = 0
        if self._first is None:
            self._first = self._measured()
        self._performance = self._first
        return self._performance

    def step(self, rows: Sequence[int]) -> float:
        """Train one step on the rows at these positions; tells P_t (see `measure_every`)."""
        self._session.step([self._training_rows[position] for position in rows])
        self._done += 1
        if self._done % self._measure_every == 0 or self._done == self._steps:
            self._performance = self._measured()
        return self._performance

    def _measured(self) -> float:
        return -float(self._measure(self._session.model, self._reward_examples))
