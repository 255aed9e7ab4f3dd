"""Strategies that decide once, before training: `random` and `longest`.

Both fill `steps` x `batch_size` slots from a pool and give each entry its score and a reason in words.
A batch never holds a row twice. Where there are more slots than rows, the pool is passed over
again: each full pass selects every row once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.ledger import Selection, strategy_sha256
from assets.selection.pool import Pool, selection
from resources.errors import SultanaError

VERSION = "1"
"""Raised whenever a change makes a strategy select differently from the same inputs."""


def random(pool: Pool, steps: int, batch_size: int, seed: int) -> tuple[Selection, ...]:
    """Rows drawn without replacement within a pass; the score is the uniform key that ordered them.

    Row ids and `seed` alone decide: neither lengths nor clusters do.
    """
    _check_size(pool, steps, batch_size)
    generator = np.random.default_rng(seed)
    keys: list[NDArray[Any]] = []
    passes: list[NDArray[Any]] = []
    for _ in range(-(-steps * batch_size // len(pool))):
        keys.append(generator.random(len(pool)))
        passes.append(np.argsort(keys[-1], kind="stable"))
    drawn = _in_batches(passes, steps, batch_size)
    policy = strategy_sha256("random", VERSION)
    chosen = []
    for step, batch in enumerate(drawn):
        reasons = [
            f"drawn at random without replacement, pass {turn + 1} over {len(pool):,} rows"
            for _, turn in batch
        ]
        scores = [float(keys[turn][position]) for position, turn in batch]
        chosen.append(selection(pool, step, [position for position, _ in batch], scores, reasons, policy))
    return tuple(chosen)


def longest(pool: Pool, steps: int, batch_size: int, seed: int) -> tuple[Selection, ...]:
    """The rows with the longest responses (tokens), in seeded order over the steps.

    Long responses alone are a baseline that beats many costlier scores (Zhao et al., ICML 2024,
    "Long Is More for Alignment").
    """

    def reason(rank: int, score: float) -> str:
        return f"response of {score:,.0f} tokens, number {rank:,} by length of {len(pool):,}"

    return highest(pool, pool.response_lengths, steps, batch_size, seed, "longest", reason)


def highest(
    pool: Pool,
    scores: Sequence[float] | NDArray[Any],
    steps: int,
    batch_size: int,
    seed: int,
    strategy: str,
    reason: Callable[[int, float], str],
) -> tuple[Selection, ...]:
    """The rows with the highest scores (ties to the lower id), in seeded order over the steps.

    `scores` has one finite number a row, in the pool's order; `reason(rank, score)` words why a row
    with this rank (from 1) was selected. Where there are more slots than rows, the last, partial pass
    holds the highest-scored rows. Raises SultanaError where a score is not finite.
    """
    _check_size(pool, steps, batch_size)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (len(pool),):
        raise SultanaError(
            f"Strategy {strategy} scored {values.size:,} rows of a pool of {len(pool):,}",
            "Score every row of the pool once, in the pool's order",
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        raise SultanaError(
            f"Strategy {strategy} scored row {pool.row_ids[wrong[0]]} as {values[wrong[0]]}",
            "Give every row a finite score, or leave the row out of the pool",
        )
    order = np.argsort(-values, kind="stable")
    ranks = np.empty(len(pool), dtype=np.int64)
    ranks[order] = np.arange(1, len(pool) + 1)
    generator = np.random.default_rng(seed)
    passes = []
    slots = steps * batch_size
    while slots > 0:
        passes.append(np.concatenate([generator.permutation(order[:slots]), order[slots:]]))
        slots -= len(pool)
    policy = strategy_sha256(strategy, VERSION)
    chosen = []
    for step, batch in enumerate(_in_batches(passes, steps, batch_size)):
        positions = [position for position, _ in batch]
        batch_scores = [float(values[position]) for position in positions]
        reasons = [reason(int(ranks[p]), score) for p, score in zip(positions, batch_scores, strict=True)]
        chosen.append(selection(pool, step, positions, batch_scores, reasons, policy))
    return tuple(chosen)


def _in_batches(passes: Sequence[NDArray[Any]], steps: int, batch_size: int) -> list[list[tuple[int, int]]]:
    """Batches of (position, pass): where a batch spans two passes, the second one's repeats wait."""
    queue = [(int(position), turn) for turn, rows in enumerate(passes) for position in rows]
    start = 0
    batches = []
    for _ in range(steps):
        batch: list[tuple[int, int]] = []
        taken: set[int] = set()
        waiting: list[tuple[int, int]] = []
        while len(batch) < batch_size and start < len(queue):
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


def _check_size(pool: Pool, steps: int, batch_size: int) -> None:
    if steps < 1 or batch_size < 1:
        raise SultanaError(
            f"A curriculum of {steps} steps with {batch_size} rows each was asked for",
            "Ask for at least 1 of each",
        )
    if batch_size > len(pool):
        raise SultanaError(
            f"A batch of {batch_size} rows was asked for from a pool of {len(pool)}",
            "Lower the batch size or enlarge the pool: a batch never holds a row twice",
        )
