"""Strategies that decide once and need no model: `random`, `longest`, `full`, `alpagasus`; and what all
such share.

A strategy that decides once selects `Budget.rows` distinct rows and passes over them in seeded order
until every slot is full. A batch never holds a row twice. Each entry carries its score and a reason
in words. Other modules rank rows by their source's rule and come here to lay them out (`laid_out`,
`highest`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.ledger import Selection, strategy_sha256
from assets.selection.pool import Budget, Pool, selection
from resources.errors import SultanaError

VERSION = "2"
"""Raised whenever a change makes a strategy select differently from the same inputs."""


def random(pool: Pool, budget: Budget, seed: int) -> tuple[Selection, ...]:
    """Rows drawn without replacement; the score is the uniform key that ordered them in their pass.

    Row ids and `seed` alone decide: neither lengths nor clusters do. Raises SultanaError as
    `Budget.check`.
    """
    budget.check(pool)
    return _shuffled(pool, budget, seed, "random", "drawn at random without replacement")


def full(pool: Pool, batch_size: int, passes: int, seed: int) -> tuple[Selection, ...]:
    """Every row of the pool `passes` times, each pass in an order of its own: what selection saves.

    Steps are as many as that takes. Every batch is full: the last one holds rows of one more pass
    where the pool does not divide. The score is the uniform key that ordered the pass.
    """
    steps = max(1, -(-len(pool) * passes // max(1, batch_size)))
    budget = Budget(steps, batch_size, passes)
    budget.check(pool)
    return _shuffled(pool, budget, seed, "full", "every row of the pool")


def longest(pool: Pool, budget: Budget, seed: int) -> tuple[Selection, ...]:
    """The rows with the longest responses (tokens), in seeded order over the steps.

    Long responses alone are a baseline that beats many costlier scores (Zhao et al., ICML 2024,
    "Long Is More for Alignment").
    """

    def reason(rank: int, score: float) -> str:
        return f"response of {score:,.0f} tokens, number {rank:,} by length of {len(pool):,}"

    return highest(pool, budget, seed, "longest", pool.response_lengths, reason)


def highest(
    pool: Pool,
    budget: Budget,
    seed: int,
    strategy: str,
    scores: Sequence[float] | NDArray[Any],
    reason: Callable[[int, float], str],
) -> tuple[Selection, ...]:
    """The rows with the highest scores (ties to the lower id), in seeded order over the steps.

    `scores` has one finite number a row, in the pool's order; `reason(rank, score)` words why a row
    with this rank (from 1) was selected. Raises SultanaError where a score is missing or not finite.
    """
    values = one_per_row(pool, strategy, "score", scores)
    ranked = np.argsort(-values, kind="stable")

    def words(position: int, rank: int) -> str:
        return reason(rank, float(values[position]))

    return laid_out(pool, budget, seed, strategy, ranked, values, words)


def alpagasus(
    pool: Pool,
    budget: Budget,
    seed: int,
    ratings: Sequence[float] | NDArray[Any],
    threshold: float = 4.5,
    excluded: Counter[str] | None = None,
) -> tuple[Selection, ...]:
    """Rows that a judge rated at `threshold` or more, the best first, ties drawn by seed.

    AlpaGasus (arXiv 2307.08701) keeps every row at the threshold; the budget keeps the best of them.
    `ratings` has one number a row, as its judge gave it (there: 0 to 5, in halves). `excluded` counts
    the rows left out.
    """
    values = one_per_row(pool, "alpagasus", "rating", ratings)
    kept = np.flatnonzero(values >= threshold)
    if excluded is not None:
        excluded += Counter({f"rated below {threshold:g}": len(pool) - len(kept)})
    lots = np.random.default_rng([seed, 1]).random(len(pool))
    ranked = kept[np.lexsort((lots[kept], -values[kept]))]

    def reason(position: int, rank: int) -> str:
        return f"rated {values[position]:g}, number {rank:,} of {len(kept):,} rows at {threshold:g} or more"

    return laid_out(pool, budget, seed, "alpagasus", ranked, values, reason)


def laid_out(
    pool: Pool,
    budget: Budget,
    seed: int,
    strategy: str,
    ranked: Sequence[int] | NDArray[Any],
    scores: NDArray[Any],
    reason: Callable[[int, int], str],
) -> tuple[Selection, ...]:
    """The first `budget.rows` of `ranked` (positions, best first) in seeded order over the steps.

    `scores` (N,) are those of all rows of the pool. Where the last pass is partial, it holds the rows
    that rank highest. `reason(position, rank)` words why a row was selected; ranks, from 1, are places
    in `ranked`. The order over the steps follows `seed`; what is selected does not.
    Raises SultanaError where `ranked` has fewer rows than one batch, as `Budget.check` otherwise.
    """
    budget.check(pool)
    order = np.asarray(ranked, dtype=np.int64)[: budget.rows]
    if len(order) < budget.batch_size:
        raise SultanaError(
            f"Strategy {strategy} leaves {len(order):,} rows of a pool of {len(pool):,}, fewer than the "
            f"{budget.batch_size:,} of one batch",
            "Lower batch_size, enlarge the pool, or loosen the strategy's threshold",
            code="pool-too-small",
        )
    ranks = {int(position): rank for rank, position in enumerate(order, 1)}
    generator = np.random.default_rng(seed)
    turns = []
    slots = budget.slots
    while slots > 0:
        turns.append(np.concatenate([generator.permutation(order[:slots]), order[slots:]]))
        slots -= len(order)
    policy = strategy_sha256(strategy, VERSION)
    chosen = []
    for step, batch in enumerate(in_batches(turns, budget)):
        positions = [position for position, _ in batch]
        values = [float(scores[position]) for position in positions]
        reasons = [reason(position, ranks[position]) for position in positions]
        chosen.append(selection(pool, step, positions, values, reasons, policy))
    return tuple(chosen)


def one_per_row(
    pool: Pool, strategy: str, noun: str, given: Sequence[float] | NDArray[Any]
) -> NDArray[np.float64]:
    """`given` as finite float64 (N,); raises SultanaError naming the strategy and the row at fault."""
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (len(pool),):
        raise SultanaError(
            f"Strategy {strategy} was given {values.size:,} values of {noun} for a pool of {len(pool):,} rows",
            f"Give {noun} one value for each row of the pool, in the pool's order",
            code="shapes-differ",
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise SultanaError(
            f"Strategy {strategy} was given {noun} {values[wrong[0]]} for row {pool.row_ids[wrong[0]]}",
            f"Give every row a finite {noun}, or leave the row out of the pool",
            code="row-value-invalid",
        )
    return values


def _shuffled(pool: Pool, budget: Budget, seed: int, strategy: str, why: str) -> tuple[Selection, ...]:
    """Rows by uniform keys, drawn anew for each pass over the rows that the first pass drew."""
    generator = np.random.default_rng(seed)
    keys = [generator.random(len(pool))]
    turns = [np.argsort(keys[0], kind="stable")[: budget.rows]]
    drawn = np.sort(turns[0])
    while len(turns) * len(drawn) < budget.slots:
        keys.append(generator.random(len(pool)))
        turns.append(drawn[np.argsort(keys[-1][drawn], kind="stable")])
    policy = strategy_sha256(strategy, VERSION)
    chosen = []
    for step, batch in enumerate(in_batches(turns, budget)):
        reasons = [f"{why}, pass {turn + 1} over {len(drawn):,} of {len(pool):,} rows" for _, turn in batch]
        scores = [float(keys[turn][position]) for position, turn in batch]
        chosen.append(selection(pool, step, [position for position, _ in batch], scores, reasons, policy))
    return tuple(chosen)


def in_batches(turns: Sequence[NDArray[Any]], budget: Budget) -> list[list[tuple[int, int]]]:
    """`budget.steps` batches of (position, pass) from passes over the same rows, in their order.

    Where a batch spans two passes, the second one's repeats wait for the next batch.
    """
    queue = [(int(position), turn) for turn, rows in enumerate(turns) for position in rows]
    start = 0
    batches = []
    for _ in range(budget.steps):
        batch: list[tuple[int, int]] = []
        taken: set[int] = set()
        waiting: list[tuple[int, int]] = []
        while len(batch) < budget.batch_size and start < len(queue):
            place = queue[start]
            start += 1
            if place[0] in taken:
                waiting.append(place)
            else:
                batch.append(place)
                taken.add(place[0])
        start -= len(waiting)
        queue[start : start + len(waiting)] = waiting
        batches.append(batch)
    return batches
