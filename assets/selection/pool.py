"""The rows that a strategy may select from.

A pool is ordered by row id, so that the same rows give the same curriculum whatever order a table
returned them in. A position in the pool is what strategies and environments compute with; it never
leaves the process: the ledger stores row ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.identity import digest
from assets.ledger import Entry, Selection
from assets.records import KINDS
from resources.errors import SultanaError


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows in ascending order of id; build one with `Pool.build`, which sorts and checks.

    Shapes: every field has one element a row. The arrays are read-only.
    """

    row_ids: tuple[str, ...]
    kinds: tuple[str, ...]  # "original" or "interpolated"
    clusters: NDArray[np.int32]
    response_lengths: NDArray[np.int32]  # tokens; at least 1
    weights: NDArray[np.float64]  # weight of a row's loss in training; above 0

    @classmethod
    def build(
        cls,
        row_ids: Sequence[str],
        kinds: Sequence[str],
        clusters: Sequence[int] | NDArray[Any],
        response_lengths: Sequence[int] | NDArray[Any],
        weights: Sequence[float] | NDArray[Any] | None = None,
    ) -> "Pool":
        """Sort rows by id and check them; `weights` default to 1.

        Raises SultanaError where columns differ in length, an id is repeated, a kind is unknown, a
        response has no token, or a weight is not a finite number above 0.
        """
        if not row_ids:
            raise SultanaError(
                "The pool to select from is empty",
                "Materialize diversity_clusters with at least one row, or loosen the pool's filters",
                code="pool-empty",
            )
        given_weights = np.ones(len(row_ids)) if weights is None else np.asarray(weights, dtype=np.float64)
        columns: dict[str, Any] = {
            "kinds": kinds,
            "clusters": clusters,
            "response_lengths": response_lengths,
            "weights": given_weights,
        }
        for name, column in columns.items():
            if len(column) != len(row_ids):
                raise SultanaError(
                    f"The pool has {len(row_ids):,} row ids but {len(column):,} {name}",
                    f"Give {name} one element for each row id, in the same order",
                    code="shapes-differ",
                )
        order = sorted(range(len(row_ids)), key=row_ids.__getitem__)
        pool = cls(
            tuple(row_ids[i] for i in order),
            tuple(kinds[i] for i in order),
            _frozen(np.asarray(clusters)[order].astype(np.int32)),
            _frozen(np.asarray(response_lengths)[order].astype(np.int32)),
            _frozen(given_weights[order]),
        )
        pool._check()
        return pool

    def __len__(self) -> int:
        return len(self.row_ids)

    def take(self, positions: Sequence[int] | NDArray[Any]) -> "Pool":
        """The pool of the rows at these positions (any order, no repeats)."""
        chosen = np.sort(np.asarray(positions, dtype=np.int64))
        return Pool(
            tuple(self.row_ids[i] for i in chosen),
            tuple(self.kinds[i] for i in chosen),
            _frozen(self.clusters[chosen]),
            _frozen(self.response_lengths[chosen]),
            _frozen(self.weights[chosen]),
        )

    def digest(self) -> str:
        """SHA-256 of everything that a strategy can see of the rows."""
        return digest(
            [
                self.row_ids,
                self.kinds,
                self.clusters.tolist(),
                self.response_lengths.tolist(),
                self.weights.tolist(),
            ]
        )

    def _check(self) -> None:
        for first, second in zip(self.row_ids, self.row_ids[1:], strict=False):
            if first == second:
                raise SultanaError(
                    f"Row {first} is in the pool twice",
                    "Remove the duplicate before building the pool",
                    code="row-twice",
                )
        for row_id, kind in zip(self.row_ids, self.kinds, strict=True):
            if kind not in KINDS:
                raise SultanaError(
                    f"Row {row_id} of the pool has kind {kind!r}",
                    f"Use one of {', '.join(KINDS)}",
                    code="row-value-invalid",
                )
        short = np.flatnonzero(self.response_lengths < 1)
        if short.size:
            raise SultanaError(
                f"Row {self.row_ids[short[0]]} of the pool has a response of "
                f"{self.response_lengths[short[0]]} tokens",
                "Leave rows without a trainable token out of the pool",
                code="row-value-invalid",
            )
        wrong = np.flatnonzero(~(np.isfinite(self.weights) & (self.weights > 0)))
        if wrong.size:
            raise SultanaError(
                f"Row {self.row_ids[wrong[0]]} of the pool has loss weight {self.weights[wrong[0]]}",
                "Give every row a finite weight above 0",
                code="row-value-invalid",
            )


@dataclass(frozen=True)
class Budget:
    """How much a strategy may train on: `steps` optimizer steps of `batch_size` rows each.

    A strategy that decides once selects `rows` distinct rows and passes over them until every slot
    is full. Where its own rule leaves fewer rows, there are more passes over those. A strategy that
    decides at every step selects a row at most `passes` times. Raises SultanaError on a value below 1.
    """

    steps: int
    batch_size: int
    passes: int = 1

    def __post_init__(self) -> None:
        for setting in ("steps", "batch_size", "passes"):
            if getattr(self, setting) < 1:
                raise SultanaError(
                    f"A curriculum with {setting} = {getattr(self, setting)} was asked for",
                    f"Set {setting} to 1 or more",
                    code="setting-out-of-bounds",
                )

    @property
    def slots(self) -> int:
        """Entries of the ledger: `steps` x `batch_size`."""
        return self.steps * self.batch_size

    @property
    def rows(self) -> int:
        """Distinct rows that a strategy that decides once selects: `slots` / `passes`, rounded up."""
        return -(-self.slots // self.passes)

    def check(self, pool: Pool) -> None:
        """Raises SultanaError where a batch could not be filled with distinct rows."""
        if self.batch_size > len(pool):
            raise SultanaError(
                f"A batch of {self.batch_size:,} rows was asked for from a pool of {len(pool):,}",
                "Lower batch_size or enlarge the pool: a batch never holds a row twice",
                code="pool-too-small",
            )
        if self.rows < self.batch_size:
            raise SultanaError(
                f"{self.passes} passes in {self.steps} steps leave {self.rows:,} distinct rows, fewer than "
                f"the {self.batch_size:,} of one batch",
                f"Set passes to {self.steps} or less: a batch never holds a row twice",
                code="pool-too-small",
            )


def candidates(pool: Pool, size: int, seed: int) -> Pool:
    """A sub-sample of `size` rows, stratified by cluster; the whole pool where it is no larger.

    Each cluster gives rows in proportion to its size (largest remainders; ties to the lower cluster
    number), drawn without replacement. The result depends only on the pool's content, `size`
    and `seed`. Bounds the cost of scoring: every row costs two forward passes of the auxiliary model.
    """
    if size < 1:
        raise SultanaError(
            f"A sub-sample of {size} candidates was asked for",
            "Ask for at least 1 row",
            code="setting-out-of-bounds",
        )
    if size >= len(pool):
        return pool
    labels, inverse, sizes = np.unique(pool.clusters, return_inverse=True, return_counts=True)
    shares = shares_by_size(sizes, size)
    keys = np.random.default_rng(seed).random(len(pool))
    chosen = []
    for label in range(len(labels)):
        members = np.flatnonzero(inverse == label)
        chosen.append(members[np.argsort(keys[members], kind="stable")[: shares[label]]])
    return pool.take(np.concatenate(chosen))


def shares_by_size(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """`total`, at most the sum of `sizes`, in proportion to them: largest remainders, ties to the first."""
    exact = sizes * total / sizes.sum()
    shares = np.floor(exact).astype(np.int64)
    remainders = np.argsort(-(exact - shares), kind="stable")
    shares[remainders[: total - int(shares.sum())]] += 1
    return shares


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def selection(
    pool: Pool,
    step: int,
    positions: Sequence[int],
    scores: Sequence[float],
    reasons: Sequence[str],
    policy_sha256: str,
) -> Selection:
    """The batch of the rows at these positions of the pool, in slot order."""
    return Selection(
        step,
        tuple(
            Entry(
                pool.row_ids[position],
                pool.kinds[position],
                int(pool.clusters[position]),
                float(score),
                float(pool.weights[position]),
                reason,
                policy_sha256,
            )
            for position, score, reason in zip(positions, scores, reasons, strict=True)
        ),
    )
