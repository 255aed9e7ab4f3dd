"""Scores of a whole pool by a policy: by a loop here, or in parts by workers where the pool is large.

A million rows take a quarter of a second of one core, so a small pool is never worth a journey: a pass over workers
costs some hundredths of a second. Workers hold the pool's static features; a policy, the state and the counts of
rows selected go with each pass, and scores come back, 4 bytes a row. They are computed in the same blocks as here
and are the same bit by bit, and so is what is selected by them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assets.selection.raise_policy.acquisition import AcquisitionFunction
from assets.selection.raise_policy.scoring import ROWS_AT_ONCE, RowScorer, StaticFeatures, one_thread
from assets.selection.raise_policy.state import EarlierSelections
from resources.compute.boundary import Compute, Workers

FEWEST_ROWS = 1_000_000
"""Rows from which workers score a pool."""

PART = 32 * ROWS_AT_ONCE
"""Rows of a part: 512 KiB of scores."""


class Scorer(Protocol):
    """A policy over a pool, for weights that stay the same as long as the scorer is used."""

    def blocks(self, stage: Tensor, earlier: EarlierSelections) -> Iterator[tuple[int, Tensor]]:
        """(first position, scores (n,) float32) of the pool's blocks in order, at `stage` (2,)."""


ScorerOf = Callable[[AcquisitionFunction], Scorer]


@contextmanager
def scorers(static: StaticFeatures, compute: Compute) -> Iterator[ScorerOf]:
    """What scores the pool by a policy; workers, where there are any, end with the block."""
    if not compute.elsewhere or len(static) < FEWEST_ROWS:
        yield lambda function: RowScorer(function, static)
        return
    with compute.workers(_Scoring(static)) as workers:
        yield lambda function: _Elsewhere(function, len(static), workers)


@dataclass(frozen=True, eq=False)
class _Elsewhere:
    function: AcquisitionFunction
    rows: int
    workers: Workers[NDArray[np.float32]]

    def blocks(self, stage: Tensor, earlier: EarlierSelections) -> Iterator[tuple[int, Tensor]]:
        """See `Scorer`."""
        starts = range(0, self.rows, PART)
        for start, scores in zip(
            starts, self.workers.map(starts, self.function, stage, earlier), strict=True
        ):
            for place in range(0, len(scores), ROWS_AT_ONCE):
                # A copy: what comes from another process may not be written to.
                yield start + place, torch.from_numpy(scores[place : place + ROWS_AT_ONCE].copy())


@dataclass(frozen=True, eq=False)
class _Scoring:
    """Builds what scores the rows of a part, (n,) float32."""

    static: StaticFeatures

    def __call__(self) -> Callable[..., NDArray[np.float32]]:
        static = self.static

        def score(
            start: int, function: AcquisitionFunction, stage: Tensor, earlier: EarlierSelections
        ) -> NDArray[np.float32]:
            stop = min(start + PART, len(static))
            with one_thread():
                blocks = RowScorer(function, static).blocks(stage, earlier, start, stop)
                return np.concatenate([scores.numpy() for _, scores in blocks])

        return score
