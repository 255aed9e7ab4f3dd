"""Instruction-following difficulty: how little the prompt helps the model to predict the response.

`ifd` is Cherry LLM's score (arXiv 2308.12032), the model's mean loss of the response given the
prompt over its mean loss of the response alone; `superfiltering` is the score of a small model in its place
(arXiv 2402.00530), as its code ranks: the ratio of perplexities. Both leave out the rows whose prompt makes
the response harder to predict and take the highest of the rest. Where they differ follows their code: a ratio
of exactly 1 stays in the first and is left out by the second. Cherry LLM first trains its model on
a few rows of every cluster; which model scores is the caller's choice.
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

Column = Sequence[float] | NDArray[Any]


def ifd(
    pool: Pool,
    budget: Budget,
    seed: int,
    given_prompt: Column,
    alone: Column,
    tokens: Column,
    excluded: Counter[str] | None = None,
) -> tuple[Selection, ...]:
    """The rows with the highest ratio of mean losses, of those at 1 or less (ties to the lower id).

    `given_prompt` and `alone`, log P(y|x) and log P(y) in nats, are sums over the same `tokens` of the
    response; one number a row, in the pool's order. `excluded` counts the rows left out and why.
    """
    losses = _losses(pool, "ifd", given_prompt, alone, tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = losses[0] / losses[1]
    keep = (losses[1] > 0) & (ratios <= 1)
    return _highest(pool, budget, seed, "ifd", "loss", losses, ratios, keep, excluded)


def superfiltering(
    pool: Pool,
    budget: Budget,
    seed: int,
    given_prompt: Column,
    alone: Column,
    tokens: Column,
    excluded: Counter[str] | None = None,
) -> tuple[Selection, ...]:
    """The rows with the highest ratio of perplexities, of those below 1; arguments as `ifd`.

    The log-probabilities are those of a small model, whatever model is then trained.
    """
    losses = _losses(pool, "superfiltering", given_prompt, alone, tokens)
    with np.errstate(over="ignore"):
        ratios = np.exp(losses[0] - losses[1])
    keep = (losses[1] > 0) & (ratios < 1)
    return _highest(pool, budget, seed, "superfiltering", "perplexity", losses, ratios, keep, excluded)


def _losses(
    pool: Pool, strategy: str, given_prompt: Column, alone: Column, tokens: Column
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean losses (N,) in nats a token, given the prompt and alone."""
    counts = one_per_row(pool, strategy, "tokens", tokens)
    wrong = np.flatnonzero(counts < 1)
    if wrong.size:
        raise SultanaError(
            f"Strategy {strategy} was given {counts[wrong[0]]:g} tokens for row {pool.row_ids[wrong[0]]}",
            "Leave rows without a trainable token out of the pool",
            code="row-value-invalid",
        )
    return (
        -one_per_row(pool, strategy, "log P(y|x)", given_prompt) / counts,
        -one_per_row(pool, strategy, "log P(y)", alone) / counts,
    )


def _highest(
    pool: Pool,
    budget: Budget,
    seed: int,
    strategy: str,
    noun: str,
    losses: tuple[NDArray[np.float64], NDArray[np.float64]],
    ratios: NDArray[np.float64],
    keep: NDArray[np.bool_],
    excluded: Counter[str] | None,
) -> tuple[Selection, ...]:
    """The rows to keep by descending ratio; `losses` and `noun` are for the reasons."""
    kept = np.flatnonzero(keep)
    ranked = kept[np.argsort(-ratios[kept], kind="stable")]
    if excluded is not None:
        certain = int(np.sum(losses[1] <= 0))
        excluded += Counter(
            {
                "response certain without the prompt": certain,
                "response harder to predict with the prompt than without it": len(pool) - len(kept) - certain,
            }
        )

    def reason(position: int, rank: int) -> str:
        return (
            f"{noun} ratio {ratios[position]:.4f} (loss {losses[0][position]:.4f} given the prompt, "
            f"{losses[1][position]:.4f} alone), number {rank:,} of {len(kept):,} rows that the prompt helps"
        )

    return laid_out(pool, budget, seed, strategy, ranked, ratios, reason)
