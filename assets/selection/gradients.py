"""The gradients of a pool's rows, reduced where they are made: what is left of each is small.

A row's gradient is some hundred thousand numbers; a strategy keeps a projection of it, or a product. Where the
engine has other processes, each worker holds a session at the weights of the caller's, and makes and reduces
a pass at a time. The passes are those of `TrainingSession.row_gradients` over all rows, so results are the
same bit by bit for any number of workers, where a worker has as many threads.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from assets.finetuning.micro_batches import in_micro_batches
from assets.interpolation.alignment import align
from resources.compute.alike import check_model
from resources.compute.boundary import Workers

if TYPE_CHECKING:
    from assets.finetuning.row_gradients import RowGradients
    from assets.finetuning.trainer import TrainingSession
    from assets.finetuning.training_config import TrainingConfig
    from assets.finetuning.training_row import TrainingRow
    from assets.selection.auxiliary import CausalModel
    from assets.selection.inputs import Inputs

Reduced = TypeVar("Reduced")
Reduced_co = TypeVar("Reduced_co", covariant=True)


class Reduce(Protocol[Reduced_co]):
    """What is kept of the gradients of some rows; pickled where workers are elsewhere."""

    def __call__(self, session: "TrainingSession", part: "RowGradients") -> Reduced_co:
        """Of `part`, made at the present weights of `session`."""


GradientsOf = Callable[["Sequence[TrainingRow]"], Iterator[tuple[list[int], Reduced]]]
"""Rows -> places in them, each once, and what is left of their gradients at the session's present weights."""


@contextmanager
def gradients(
    inputs: "Inputs", session: "TrainingSession", reduce: Reduce[Reduced]
) -> Iterator[GradientsOf[Reduced]]:
    """What differentiates rows as `session` does, counts them in `inputs.spent`, and ends with the block."""
    if not inputs.compute.elsewhere:
        yield lambda rows: inputs.reduced_gradients(session, reduce, rows)
        return
    made = _Differentiating(inputs.model, session.config, session.total_steps, session.fingerprint, reduce)
    with inputs.compute.workers(made) as workers:
        yield lambda rows: _elsewhere(inputs, session, workers, rows)


def _elsewhere(
    inputs: "Inputs", session: "TrainingSession", workers: Workers[Any], rows: "Sequence[TrainingRow]"
) -> Iterator[tuple[list[int], Any]]:
    aligned = [align(row.parents, row.mixing, row.alignment, row.layer) for row in rows]
    # In the order of the rows: of rows that are as wide as one another it decides which comes first.
    passes = [sorted(one.rows) for one in in_micro_batches(aligned, session.config.micro_batch)]
    parts = ([rows[place] for place in places] for places in passes)
    started = time.monotonic()
    results = workers.map(parts, session.state_dict())
    for places, (order, reduced) in zip(passes, results, strict=True):
        inputs.spent.rows_differentiated += len(places)
        inputs.spent.gradient_seconds += time.monotonic() - started
        yield [places[place] for place in order], reduced
        started = time.monotonic()


@dataclass(frozen=True, eq=False)
class _Differentiating:
    """Builds what differentiates the rows of one pass, at the weights of a session's state."""

    model: "CausalModel"
    config: "TrainingConfig"
    total_steps: int
    fingerprint: str
    reduce: Reduce[Any]

    def __call__(self) -> "Callable[[Sequence[TrainingRow], dict[str, Any]], tuple[list[int], Any]]":
        from assets.finetuning.trainer import TrainingSession

        check_model(self.model, self.fingerprint)
        session = TrainingSession(self.model.load(), self.config, self.total_steps, self.fingerprint)
        loaded: int | None = None

        def work(rows: "Sequence[TrainingRow]", state: dict[str, Any]) -> tuple[list[int], Any]:
            nonlocal loaded
            if loaded != state["numbers"]["step"]:
                session.load_state_dict(state)
                loaded = state["numbers"]["step"]
            (part,) = session.row_gradients(rows)
            return part.rows, self.reduce(session, part)

        return work
