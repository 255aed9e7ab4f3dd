"""Scores of a whole pool and what PPO needs of them, in memory that does not grow with the pool (RAISE §3.3-3.5).

The paper names a buffer of T x N x 39 numbers as its limit. Here nothing of size N x hidden or T x N exists: rows
pass by in blocks, the counts nu differ from 0 for the rows selected earlier only, and the loss needs the
probabilities of the rows selected only, log p = score - log of the class's normaliser (eq. 10). The normaliser's
gradient is added up in a second pass over the blocks. The numbers are those of the equations, to rounding.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assets.selection.raise_policy.acquisition import AcquisitionFunction
from assets.selection.raise_policy.state import EarlierSelections
from resources.errors import SultanaError

ROWS_AT_ONCE = 4096
"""Rows of a block: its hidden layer (1 MiB with 64 units) stays in a core's cache."""

KEPT_BYTES = 64 << 20
"""The static part of the first layer is kept between steps up to this size; beyond, it is computed anew."""


class StaticFeatures:
    """The pool's static features by blocks of rows: an array (N, columns), memory-mapped or not, or a function.

    A function is given (start, stop) and returns the rows from `start` up to `stop`, (stop - start, columns);
    it must give the same rows each time.
    """

    def __init__(
        self,
        source: NDArray[np.float32] | Callable[[int, int], NDArray[np.float32]],
        rows: int | None = None,
        columns: int | None = None,
    ) -> None:
        if isinstance(source, np.ndarray):
            rows, columns = source.shape
        if rows is None or columns is None:
            raise SultanaError(
                "Static features are given by a function without their number of rows and columns",
                "Give rows and columns with it",
                code="input-not-given",
            )
        self._source, self._rows, self.columns = source, rows, columns

    def __len__(self) -> int:
        return self._rows

    def block(self, start: int, stop: int) -> Tensor:
        """Rows from `start` up to `stop`, float32, a copy."""
        source = self._source
        found = source[start:stop] if isinstance(source, np.ndarray) else source(start, stop)
        if found.shape != (stop - start, self.columns):
            raise SultanaError(
                f"Static features of rows {start:,} to {stop:,} have shape {found.shape}; expected "
                f"({stop - start}, {self.columns})",
                "Give one row of features for each row of the pool",
                code="shapes-differ",
            )
        return torch.from_numpy(np.array(found, dtype=np.float32))

    def take(self, positions: Tensor) -> Tensor:
        """The rows at these positions, of any shape: (*positions.shape, columns) float32."""
        source, flat = self._source, positions.flatten().numpy()
        if isinstance(source, np.ndarray):
            found = np.array(source[flat], dtype=np.float32)
        else:
            found = np.empty((len(flat), self.columns), dtype=np.float32)
            for place, position in enumerate(flat.tolist()):
                found[place] = source(position, position + 1)[0]
        return torch.from_numpy(found).view(*positions.shape, self.columns)


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of a pool: `of_rows` (N,) int32 from 0 on, `sizes` (C,) int64."""

    of_rows: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, labels: NDArray[Any]) -> "Classes":
        """Classes from labels (N,), in ascending order of label."""
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return cls(torch.from_numpy(inverse.astype(np.int32)), torch.from_numpy(sizes.astype(np.int64)))

    def __len__(self) -> int:
        return len(self.sizes)


class RowScorer:
    """F_theta over a pool, for weights that stay the same as long as the scorer is used."""

    def __init__(
        self, function: AcquisitionFunction, static: StaticFeatures, rows_at_once: int = ROWS_AT_ONCE
    ) -> None:
        self.function, self.static, self.rows_at_once = function, static, rows_at_once
        self._kept: dict[int, Tensor] = {}
        self._keep = len(static) * function.hidden * 4 <= KEPT_BYTES

    def blocks(
        self, stage: Tensor, earlier: EarlierSelections, first: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """(first position, scores (n,) float32) of the pool's blocks in order, at `stage` (2,).

        Only of the rows from `first` up to `end`: a whole number of blocks, but for the pool's last.
        """
        end = len(self.static) if end is None else end
        by_stage, _, by_count = self.function.parts()
        of_stage = by_stage @ stage
        buffer = torch.empty(self.rows_at_once, self.function.hidden)
        for start in range(first, end, self.rows_at_once):
            of_rows = self._kept.get(start)
            if of_rows is None:
                stop = min(start + self.rows_at_once, end)
                of_rows = self.function.static_part(self.static.block(start, stop))
                if self._keep:
                    self._kept[start] = of_rows
            hidden = _hidden(of_rows, of_stage, by_count, *earlier.within(start, len(of_rows)), buffer)
            yield start, self.function.output(hidden)


@dataclass(frozen=True, eq=False)
class Decision:
    """A state in which rows were selected: `stage` (2,), the selections of the run before it, the cap on them."""

    stage: Tensor
    earlier: EarlierSelections
    cap: int | None = None  # selections of a row that were allowed; None: no limit


def selected_scores(
    function: AcquisitionFunction, static: StaticFeatures, decisions: Sequence[Decision], rows: Tensor
) -> Tensor:
    """Scores (m, B) of rows (m, B), each in the state of its decision; differentiable."""
    counts = torch.stack(
        [decision.earlier.counts_of(chosen) for decision, chosen in zip(decisions, rows, strict=True)]
    )
    return function(torch.stack([decision.stage for decision in decisions]), static.take(rows), counts)


def log_normalisers(
    function: AcquisitionFunction,
    static: StaticFeatures,
    classes: Classes,
    decisions: Sequence[Decision],
    rows_at_once: int = ROWS_AT_ONCE,
) -> Tensor:
    """log of the sum over a class's available rows of exp F_theta, (m, C) float64, without gradient (eq. 10)."""
    by_stage, _, by_count = function.parts()
    sums = [ClassSums(len(classes)) for _ in decisions]
    buffer = torch.empty(rows_at_once, function.hidden)
    for start in range(0, len(static), rows_at_once):
        stop = min(start + rows_at_once, len(static))
        of_rows = function.static_part(static.block(start, stop))
        labels = classes.of_rows[start:stop].long()
        for decision, total in zip(decisions, sums, strict=True):
            places, counts = decision.earlier.within(start, stop - start)
            hidden = _hidden(of_rows, by_stage @ decision.stage, by_count, places, counts, buffer)
            scores = function.output(hidden).double()
            if decision.cap is not None:
                scores[places[counts >= decision.cap]] = -torch.inf
            total.add(scores, labels)
    return torch.stack([total.logarithms() for total in sums])


def descend_normalisers(
    function: AcquisitionFunction,
    static: StaticFeatures,
    classes: Classes,
    decisions: Sequence[Decision],
    normalisers: Tensor,
    gradients: Tensor,
    rows_at_once: int = ROWS_AT_ONCE,
) -> None:
    """Add the log-normalisers' part to the gradients of `function`'s parameters.

    `normalisers` (m, C) are those of `log_normalisers` at the same weights, `gradients` (m, C) the loss's with
    respect to them. A row's score moves its class's log-normaliser by its probability p, and every weight by the
    chain rule through tanh; written out by hand, since a block's hidden layer is then computed in place.
    """
    by_stage, _, by_count = function.parts()
    outer = function.outer.weight.detach()[0]
    of_outer, of_outer_bias = torch.zeros_like(outer), torch.zeros(())
    of_inner = torch.zeros_like(function.inner.weight)
    of_inner_bias = torch.zeros_like(function.inner.bias)
    stages, last = by_stage.shape[1], function.inner.in_features - 1
    buffer = torch.empty(rows_at_once, function.hidden)
    one = torch.ones(())
    gradients, normalisers = gradients.float(), normalisers.double()
    for start in range(0, len(static), rows_at_once):
        stop = min(start + rows_at_once, len(static))
        block = static.block(start, stop)
        of_rows = function.static_part(block)
        labels = classes.of_rows[start:stop].long()
        before_tanh = torch.zeros_like(of_rows)  # the loss's gradient, but for the factor `outer`
        for number, decision in enumerate(decisions):
            places, counts = decision.earlier.within(start, stop - start)
            hidden = _hidden(of_rows, by_stage @ decision.stage, by_count, places, counts, buffer)
            probabilities = (function.output(hidden) - normalisers[number][labels]).exp().float()
            if decision.cap is not None:
                probabilities[places[counts >= decision.cap]] = 0.0
            of_scores = probabilities * gradients[number][labels]
            of_outer += hidden.T @ of_scores
            of_outer_bias += of_scores.sum()
            slope = torch.addcmul(one, hidden, hidden, value=-1, out=hidden)  # of tanh
            before_tanh.addcmul_(slope, of_scores[:, None])
            of_inner[:, :stages] += (outer * (slope.T @ of_scores))[:, None] * decision.stage
            if len(places):
                of_inner[:, last] += outer * (slope[places].T @ (of_scores[places] * counts))
        before_tanh *= outer
        of_inner[:, stages:last] += before_tanh.T @ block
        of_inner_bias += before_tanh.sum(0)
    for parameter, gradient in (
        (function.inner.weight, of_inner),
        (function.inner.bias, of_inner_bias),
        (function.outer.weight, of_outer[None]),
        (function.outer.bias, of_outer_bias[None]),
    ):
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


class ClassSums:
    """Sums of exponentials by class, added up block by block without overflow."""

    def __init__(self, classes: int) -> None:
        lowest = torch.finfo(torch.float64).min  # not -inf: of a class without a row yet, -inf - -inf is NaN
        self._peaks = torch.full((classes,), lowest, dtype=torch.float64)
        self._sums = torch.zeros(classes, dtype=torch.float64)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Scores (n,) float64 of rows of classes `labels` (n,) int64; -inf leaves a row out."""
        peaks = self._peaks.scatter_reduce(0, labels, scores, "amax")
        self._sums *= (self._peaks - peaks).exp()
        self._sums.index_add_(0, labels, (scores - peaks[labels]).exp())
        self._peaks = peaks

    def logarithms(self) -> Tensor:
        """log of each class's sum, (C,) float64; -inf for a class without a row."""
        return torch.where(self._sums > 0, self._peaks + self._sums.log(), -torch.inf)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: blocks are too small to share, and sums do not depend on the number of threads.

    Where other processes keep the cores busy, threads that wait for each other at every block cost many times
    what they save.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _hidden(
    of_rows: Tensor, of_stage: Tensor, by_count: Tensor, places: Tensor, counts: Tensor, buffer: Tensor
) -> Tensor:
    """The hidden layer (n, hidden) of a block, in `buffer`; `places` in the block were selected `counts` times."""
    hidden = torch.add(of_rows, of_stage, out=buffer[: len(of_rows)])
    if len(places):
        hidden[places] += counts[:, None] * by_count
    # numpy's tanh: some seven times as fast as torch's on a processor with AVX-512, and as exact as float32 is.
    values = hidden.numpy()
    np.tanh(values, out=values)
    return hidden
