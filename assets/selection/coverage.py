"""Strategies that cover the pool: `k_center`, the greedy core-set, and `kmeans_quality`, quality within clusters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.ledger import Selection
from assets.selection.deita import check_vectors
from assets.selection.pool import Budget, Pool, shares_by_size
from assets.selection.static import laid_out, one_per_row
from resources.errors import SultanaError


def k_center(pool: Pool, budget: Budget, seed: int, vectors: NDArray[np.float32]) -> tuple[Selection, ...]:
    """Each row the farthest from those before it (Sener & Savarese, ICLR 2018, algorithm 1).

    `vectors` (N, d) in the pool's order; the distance is Euclidean. The first row is drawn by `seed`, as
    no row has been trained on yet; ties go to the lower id. The score is a row's distance to its nearest
    row selected before it (the first row has the second's). The radius that the selection covers is at
    most twice the least possible one.
    """
    budget.check(pool)
    check_vectors(pool, "k_center", vectors)
    ranked, distances = farthest_first(vectors, min(budget.rows, len(pool)), seed)
    scores = np.zeros(len(pool))
    scores[ranked] = distances

    def reason(position: int, rank: int) -> str:
        if rank == 1:
            return "start of the traversal, drawn by seed"
        return f"number {rank:,}: at distance {scores[position]:.4f}, the farthest from all rows before it"

    return laid_out(pool, budget, seed, "k_center", ranked, scores, reason)


def farthest_first(
    vectors: NDArray[np.float32], count: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`count` distinct places by farthest-first traversal, and the distance of each to those before it.

    The start is drawn by `seed`; ties go to the lower place. Float32 distances; time N x count x d, memory
    linear in N beside the input.
    """
    squares = np.einsum("nd,nd->n", vectors, vectors)
    nearest = np.full(len(vectors), np.inf, dtype=np.float32)  # squared distance to the places taken
    taken = np.empty(count, dtype=np.int64)
    distances = np.zeros(count)
    place = int(np.random.default_rng(seed).integers(len(vectors)))
    for number in range(count):
        taken[number] = place
        if number:
            distances[number] = np.sqrt(max(float(nearest[place]), 0.0))
        np.minimum(nearest, squares + squares[place] - 2 * (vectors @ vectors[place]), out=nearest)
        nearest[taken[: number + 1]] = -np.inf
        place = int(np.argmax(nearest))
    distances[0] = distances[1] if count > 1 else 0.0
    return taken, distances


def kmeans_quality(
    pool: Pool,
    budget: Budget,
    seed: int,
    quality: Sequence[float] | NDArray[Any],
    stand_in: bool = False,
) -> tuple[Selection, ...]:
    """Rows drawn within each cluster in proportion to their quality (kMQ, arXiv 2409.11378).

    A cluster of the pool gives rows in proportion to its size (largest remainders; ties to the lower
    number). Within it rows are drawn without replacement, each draw with probability quality / sum of the
    quality left. (That is the paper's rule; its published code gives every cluster the same number and
    draws by the softmax of quality.) `quality` has one number a row, 0 or more; rows of quality 0 are drawn last. With
    `stand_in` it is the response's length in tokens, and each reason says so. Raises SultanaError where
    one is negative.
    """
    budget.check(pool)
    values = one_per_row(pool, "kmeans_quality", "quality", quality)
    wrong = np.flatnonzero(values < 0)
    if wrong.size:
        raise SultanaError(
            f"Strategy kmeans_quality was given quality {values[wrong[0]]:g} for row {pool.row_ids[wrong[0]]}",
            "Give a quality of 0 or more: rows are drawn in proportion to it",
            code="row-value-invalid",
        )
    labels, of_row, sizes = np.unique(pool.clusters, return_inverse=True, return_counts=True)
    shares = shares_by_size(sizes, min(budget.rows, len(pool)))
    generator = np.random.default_rng(seed)
    # Draws without replacement in proportion to weights w are the highest log w + Gumbel noise. Rows of
    # weight 0 come after all others, in random order.
    lots = generator.gumbel(size=len(pool))
    with np.errstate(divide="ignore"):
        keys = np.log(values) + lots
    order = np.lexsort((-lots, -keys))
    places = np.empty(len(pool), dtype=np.int64)  # place of a row in the draws of its cluster
    for label in range(len(labels)):
        members = order[of_row[order] == label]
        places[members] = np.arange(len(members))
    drawn = order[places[order] < shares[of_row[order]]]
    ranked = drawn[np.argsort(-values[drawn], kind="stable")]

    noun = "response length in tokens in place of quality" if stand_in else "quality"

    def reason(position: int, rank: int) -> str:
        label = of_row[position]
        return (
            f"{noun} {values[position]:g}: draw {places[position] + 1:,} of {shares[label]:,} from the "
            f"{sizes[label]:,} rows of cluster {labels[label]}, in proportion to it"
        )

    return laid_out(pool, budget, seed, "kmeans_quality", ranked, values, reason)
