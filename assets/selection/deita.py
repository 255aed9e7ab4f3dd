"""DEITA: complexity times quality, and only rows unlike those already kept (arXiv 2312.15685).

Rows are sorted by their score (there: `evol` complexity x `evol` quality, both learned scorers). Then they
are taken in that order, a row being kept where its nearest row *among the kept* has a cosine similarity
of at most the threshold, until the budget is full ("Repr Filter"). The published filter
compares one row with all kept rows at a time; here whole blocks of rows are compared by matrix products,
which picks the same rows.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.ledger import Selection
from assets.selection.pool import Budget, Pool
from assets.selection.static import laid_out, one_per_row
from resources.errors import SultanaError

THRESHOLD = 0.9
"""Cosine similarity above which a row is too much like a kept one: the published default."""

BLOCK = 1024
"""Rows compared at a time: blocks of 1,024 x 4,096 similarities, 16 MB."""

KEPT_BLOCK = 4096


def deita(
    pool: Pool,
    budget: Budget,
    seed: int,
    vectors: NDArray[np.float32],
    complexity: Sequence[float] | NDArray[Any] | None,
    quality: Sequence[float] | NDArray[Any] | None,
    threshold: float = THRESHOLD,
    stand_in: bool = False,
    excluded: Counter[str] | None = None,
) -> tuple[Selection, ...]:
    """The rows with the highest complexity x quality (ties to the lower id) that are not near a kept one.

    `vectors` (N, d); `complexity` and `quality` one number a row, in the pool's order. With `stand_in`,
    the response's length (tokens) stands in for a score that is None, and each reason says so; without
    it a missing score is an error. `excluded` counts the rows passed over as too similar.
    """
    lengths = pool.response_lengths
    values = np.ones(len(pool))
    missing = []
    for name, given in (("complexity", complexity), ("quality", quality)):
        if given is None and not stand_in:
            raise SultanaError(
                f"Strategy deita has no {name} scores",
                f"Name a score field {name} in the source, or let the response's length stand in for it",
                code="scores-missing",
            )
        missing += [name] if given is None else []
        values = values * one_per_row(pool, "deita", name, lengths if given is None else given)
    check_vectors(pool, "deita", vectors)
    order = np.argsort(-values, kind="stable")
    kept = deita_filter(vectors, order, threshold, budget.rows)
    places = np.empty(len(pool), dtype=np.int64)
    places[order] = np.arange(1, len(pool) + 1)
    if excluded is not None:
        looked_at = int(places[kept[-1]]) if len(kept) == budget.rows else len(pool)
        near = f"cosine similarity above {threshold:g} to a row kept before it"
        excluded += Counter({near: looked_at - len(kept)})
    scored = _wording(missing, stand_in)

    def reason(position: int, rank: int) -> str:
        return (
            f"{scored} {values[position]:.6g}, number {places[position]:,} of {len(pool):,}; "
            f"number {rank:,} kept, cosine similarity at most {threshold:g} to those kept before it"
        )

    return laid_out(pool, budget, seed, "deita", kept, values, reason)


def deita_filter(
    vectors: NDArray[np.float32],
    order: Sequence[int] | NDArray[Any],
    threshold: float = THRESHOLD,
    limit: int | None = None,
) -> NDArray[np.int64]:
    """Places in `vectors` that the filter keeps, in the order it keeps them.

    `vectors` (N, d), any length but 0; `order` the places to look at, best first. A place is kept where
    no place kept before it has a cosine similarity above `threshold` (one exactly at it is kept), until
    `limit` are kept. Similarities are float32. Memory beside the input is linear in N + `BLOCK` x d;
    time N x kept x d, in matrix products. Raises SultanaError where a vector looked at is zero or
    not finite, `threshold` is not a number or `limit` below 1.
    """
    places = np.asarray(order, dtype=np.int64)
    if limit is not None and limit < 1:
        raise SultanaError(
            f"The DEITA filter was asked for {limit} rows",
            "Ask for at least 1 row",
            code="setting-out-of-bounds",
        )
    if not np.isfinite(threshold):
        raise SultanaError(
            f"The DEITA filter has threshold {threshold}",
            "Give a cosine similarity, for instance 0.9",
            code="setting-out-of-bounds",
        )
    most = len(places) if limit is None else min(limit, len(places))
    kept = np.empty(most, dtype=np.int64)
    count = 0
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        rows = _unit(vectors, block)
        for first in range(0, count, KEPT_BLOCK):
            near = rows @ _unit(vectors, kept[first : min(first + KEPT_BLOCK, count)]).T
            far = near.max(axis=1) <= threshold
            block, rows = block[far], rows[far]
        # Rows of the block among themselves: in order, each one kept rules out those near it.
        alike = rows @ rows.T > threshold
        out = np.zeros(len(block), dtype=np.bool_)
        for place in range(len(block)):
            if out[place]:
                continue
            kept[count] = block[place]
            count += 1
            if count == most:
                return kept
            out |= alike[place]
    return kept[:count]


def check_vectors(pool: Pool, strategy: str, vectors: NDArray[Any]) -> None:
    """Raises SultanaError where `vectors` are not finite (N, d), or one of them is zero."""
    if vectors.ndim != 2 or len(vectors) != len(pool):
        raise SultanaError(
            f"Strategy {strategy} was given vectors of shape {vectors.shape} for a pool of {len(pool):,} rows",
            "Give one vector for each row of the pool, in the pool's order",
            code="shapes-differ",
        )
    for start in range(0, len(vectors), BLOCK):
        lengths = np.linalg.norm(vectors[start : start + BLOCK], axis=1)
        wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if wrong.size:
            raise SultanaError(
                f"Strategy {strategy} was given a vector of length {lengths[wrong[0]]} for row "
                f"{pool.row_ids[start + wrong[0]]}",
                "Materialize the embeddings again: a sentence vector is finite and not zero",
                code="row-value-invalid",
            )


def _unit(vectors: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
    rows = np.asarray(vectors[places], dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if wrong.size:
        raise SultanaError(
            f"The DEITA filter was given a vector of length {lengths[wrong[0], 0]} at place {places[wrong[0]]}",
            "Give vectors that are finite and not zero",
            code="row-value-invalid",
        )
    return rows / lengths


def _wording(missing: Sequence[str], stand_in: bool) -> str:
    if missing:
        return f"complexity x quality (response length in tokens in place of {' and of '.join(missing)})"
    if stand_in:
        return "complexity x quality (response length in tokens in place of missing scores)"
    return "complexity x quality"
