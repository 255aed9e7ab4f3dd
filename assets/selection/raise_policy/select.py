"""Algorithm 1 of RAISE: the batch of a step, chosen within classes (RAISE §3.4, eq. 10).

Each class gives its b = B / C best rows. Beyond the paper: B need not be a multiple of C, a class may hold
fewer than b rows, a row selected as often as allowed is left out, and the batches of several steps can be chosen
at once. Scores pass by in blocks; only the best rows so far and a sum per class are kept, so time grows with the
pool and memory does not.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assets.selection.raise_policy.scoring import Classes, ClassSums
from assets.selection.raise_policy.state import EarlierSelections
from resources.errors import SultanaError


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's rows, by class and then best first; every field is (B,)."""

    rows: Tensor  # int64, positions in the pool
    scores: Tensor  # float32, without exploration noise
    log_probabilities: Tensor  # float32, softmax within the row's class (eq. 10)
    ranks: Tensor  # int64, place in its class by what was ranked, from 1
    available: Tensor  # int64, rows that its class offered


class GumbelNoise:
    """Standard Gumbel noise of one training run.

    Row i's number at a step depends on the seed, the step and i only (a counter-based generator), so neither
    the size of blocks nor what was drawn before matters.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of_step(self, step: int) -> "GumbelStream":
        """The noise of a step, from the pool's first row on."""
        return GumbelStream(np.random.Generator(np.random.Philox(key=[self._seed, step])))


class GumbelStream:
    """A step's noise, row after row."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def next(self, rows: int) -> NDArray[np.float64]:
        """The noise of the next `rows` rows, (rows,); one draw of 53 bits for each."""
        uniform = np.maximum(self._generator.random(rows), 1e-300)
        return -np.log(-np.log(uniform))


def quotas(available: Tensor, batch_size: int, step: int) -> Tensor:
    """Rows that each class gives at `step`: (C,) int64, summing to `batch_size`.

    Each class gives B // C. The remainder goes to classes in turn, the turn moving on from step to step so
    that every class is served where B < C. What a class cannot give is shared out over the others likewise.
    Scores play no part, so the probability of a batch stays that of eq. 11.
    Raises SultanaError where all classes together offer fewer than B rows.
    """
    if int(available.sum()) < batch_size:
        raise SultanaError(
            f"At step {step} the pool offers {int(available.sum()):,} rows for a batch of {batch_size:,}",
            "Raise maximum_repeats, lower steps or batch_size, or enlarge the pool",
            code="pool-too-small",
        )
    classes = len(available)
    given = torch.zeros_like(available)
    turn = step * (batch_size % classes) % classes
    in_turn = (torch.arange(classes) + turn) % classes
    while (left := batch_size - int(given.sum())) > 0:
        open_classes = in_turn[(available - given)[in_turn] > 0]
        share = left // len(open_classes)
        if share == 0:
            given[open_classes[:left]] += 1
        else:
            given[open_classes] += (available - given)[open_classes].clamp_max(share)
    return given


def select(
    blocks: Iterable[tuple[int, Tensor]],
    classes: Classes,
    earlier: EarlierSelections,
    batch_size: int,
    step: int,
    maximum_repeats: int | None,
    noise: GumbelNoise | None,
) -> Batch:
    """The batch of one step from the pool's scores, in blocks (first position, scores (n,)) in order.

    With noise, it is added to the scores: the b highest are then a sample without replacement from the class's
    softmax (Gumbel-top-b; Kool et al., ICML 2019). Without, the b highest are taken; ties go to the lower
    position. Deployment uses none. Raises SultanaError where fewer than `batch_size` rows are available.
    """
    used_up = earlier.used_up(maximum_repeats)
    used = torch.bincount(classes.of_rows[used_up].long(), minlength=len(classes))
    available = classes.sizes - used
    share = quotas(available, batch_size, step)
    best = _Best(share.numpy())
    sums = ClassSums(len(classes))
    stream = None if noise is None else noise.of_step(step)
    for start, scores in blocks:
        labels = classes.of_rows[start : start + len(scores)].long()
        wide = scores.double()
        first, end = torch.searchsorted(used_up, torch.tensor([start, start + len(scores)])).tolist()
        wide[used_up[first:end] - start] = -torch.inf
        sums.add(wide, labels)
        ranked = wide.numpy() if stream is None else wide.numpy() + stream.next(len(scores))
        best.offer(start, ranked, scores.numpy(), labels.numpy())
    found = best.found
    labels = torch.from_numpy(found.labels)
    scores = torch.from_numpy(found.scores)
    log_probabilities = (scores.double() - sums.logarithms()[labels]).float()
    ranks = torch.from_numpy(_ranks(found.labels) + 1)
    return Batch(torch.from_numpy(found.rows), scores, log_probabilities, ranks, available[labels])


def dealt(batch: Batch, steps: int) -> list[Batch]:
    """A batch of `steps` x B rows, shared out to as many steps as cards are dealt.

    The rows, by class and then best first, go to the steps in turn: each step gets B rows, and as even a share
    as can be of every class and of better and worse ranks.
    """
    parts = [torch.arange(step, len(batch.rows), steps) for step in range(steps)]
    return [
        Batch(
            batch.rows[part],
            batch.scores[part],
            batch.log_probabilities[part],
            batch.ranks[part],
            batch.available[part],
        )
        for part in parts
    ]


@dataclass(frozen=True, eq=False)
class _Candidates:
    rows: NDArray[np.int64]
    ranked: NDArray[np.float64]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]


class _Best:
    """The `share[c]` highest rows of each class c among those offered so far, by class and then best first."""

    def __init__(self, share: NDArray[np.int64]) -> None:
        self._share = share
        # What a row of a class must exceed to be kept: an equal one has the higher position.
        self._bars = np.where(share > 0, -np.inf, np.inf)
        self.found = _Candidates(
            np.empty(0, np.int64), np.empty(0), np.empty(0, np.float32), np.empty(0, np.int64)
        )

    def offer(
        self,
        start: int,
        ranked: NDArray[np.float64],
        scores: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> None:
        """The rows from position `start` on, in order; -inf leaves a row out."""
        above = np.flatnonzero(ranked > self._bars[labels])
        if not len(above):
            return
        old = self.found
        rows = np.concatenate([old.rows, start + above])
        values = np.concatenate([old.ranked, ranked[above]])
        classes = np.concatenate([old.labels, labels[above]])
        order = np.lexsort((rows, -values, classes))
        ranks = _ranks(classes[order])
        kept = order[ranks < self._share[classes[order]]]
        # The last row of a class that is full sets its bar.
        full = order[ranks == self._share[classes[order]] - 1]
        self._bars[classes[full]] = values[full]
        self.found = _Candidates(
            rows[kept], values[kept], np.concatenate([old.scores, scores[above]])[kept], classes[kept]
        )


def _ranks(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each element among those with its label, from 0; `labels` are in order."""
    places = np.arange(len(labels))
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    return places - np.repeat(starts, np.diff(starts, append=len(labels)))
