"""Rows in the order in which they turn a curriculum's gradient towards the reward split's: what RAISE starts from.

One gradient a row is worth many training runs: RAISE's reward tells of 8 rows at once what they were worth
together, a gradient tells of each what it is worth. The acquisition function is fitted to these scores before
its first round. As LESS does (arXiv 2402.04333), the model is first trained on a few random rows.

What counts is not how well each row points, but how well all of them together do: an optimizer like Adam undoes
the size of a gradient, so a step gains by the cosine between the batch's summed gradient and the reward split's,
and rows whose errors cancel are worth more than rows that err alike. Rows are therefore taken one by one, each
time the one with which that cosine is highest, after GRAD-MATCH (Killamsetty et al., ICML 2021), whose pursuit
weights the rows where here each counts once.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from assets.selection.gradients import gradients
from assets.selection.pool import candidates
from assets.selection.projection import Projection
from assets.selection.raise_policy.select import quotas
from assets.selection.reward_gradient import reward_gradient

if TYPE_CHECKING:
    from assets.finetuning.row_gradients import RowGradients
    from assets.finetuning.scoring import Example
    from assets.finetuning.trainer import TrainingSession
    from assets.selection.inputs import Inputs

DIMENSIONS = 16_384
"""Of the random projection that gradients are kept in: 64 KiB a row. Products of two gradients are then known
to within about 1 % of the product of their lengths."""


def alignment_scores(
    inputs: "Inputs",
    session: "TrainingSession",
    examples: "list[Example]",
    *,
    rows: int,
    warm_up: int,
    use_clusters: bool = True,
) -> NDArray[np.float64]:
    """Scores (N,) of rows by their place in the order of `directed`, after `warm_up` steps on random rows.

    Only `rows` rows are looked at (0: all), stratified by cluster; the others are NaN. Scores are normal
    scores: the quantiles of a standard normal at the places, the first row's highest. As many rows as the budget
    holds are taken, from clusters as RAISE does; the rest follow by what each would add. The session is
    reset before and after.
    """
    pool, budget = inputs.pool, inputs.budget
    order = np.random.default_rng([inputs.seed, 1]).permutation(len(pool))
    size = budget.batch_size
    known = set(candidates(pool, rows or len(pool), inputs.seed).row_ids)
    places = np.array([place for place, row_id in enumerate(pool.row_ids) if row_id in known])
    projection = Projection(session.layout.length, DIMENSIONS, inputs.seed)
    products, kept = np.zeros(len(places)), torch.zeros(len(places), DIMENSIONS)
    session.reset()
    with inputs.progress("gradients of rows", len(places), "rows") as progress:
        for step in range(warm_up):
            batch = order[np.arange(step * size, (step + 1) * size) % len(order)]
            session.step([inputs.rows[place] for place in batch])
        _, direction = reward_gradient(session, examples)
        with gradients(inputs, session, _Products(direction, projection)) as differentiated:
            for found, (product, projected) in differentiated([inputs.rows[place] for place in places]):
                products[found], kept[found] = product, projected
                progress.advance(len(found))
    session.reset()
    labels = pool.clusters[places] if use_clusters else np.zeros(len(places), np.int32)
    distinct = math.ceil(budget.steps * size / budget.passes)
    scores = np.full(len(pool), np.nan)
    scores[places[directed(products, kept, labels, min(distinct, len(places)), size)]] = normal_scores(
        len(places)
    )
    return scores


@dataclass(frozen=True, eq=False)
class _Products:
    """Keeps the products with `direction` (p,), float32 (l,), and the projections, (l, dimensions)."""

    direction: torch.Tensor
    projection: Projection

    def __call__(
        self, session: "TrainingSession", part: "RowGradients"
    ) -> tuple[NDArray[np.float32], torch.Tensor]:
        return (part.gradients @ self.direction).cpu().numpy(), self.projection(part.gradients)


def directed(
    products: NDArray[np.float64], gradients: torch.Tensor, labels: NDArray[np.int32], count: int, size: int
) -> NDArray[np.int64]:
    """All rows (n,), in the order in which they are taken: `count` of them in batches of `size`, then the rest.

    `products` (n,) are of each row's gradient with the reward's, `gradients` (n, d) the rows', in any space that
    keeps inner products, `labels` (n,) their classes, of which each gives its share of a batch (`quotas`).
    Taken next is the row with which <sum, reward> / |sum| is highest, where sum is that of the gradients
    taken; ties go to the lower place. The rest are in the order of what that would be with each.
    """
    _, classes = np.unique(labels, return_inverse=True)
    squares = (gradients.double() ** 2).sum(dim=1).numpy()
    taken: list[int] = []
    free = np.ones(len(products), bool)
    crossed = np.zeros(len(products))  # <row, sum>
    along, square = 0.0, 0.0  # <sum, reward> and |sum|^2

    def worth() -> NDArray[np.float64]:
        length = np.sqrt(np.maximum(square + 2 * crossed + squares, 1e-30))
        return np.where(free, (along + products) / length, -np.inf)

    while len(taken) < count:
        available = torch.from_numpy(np.bincount(classes[free], minlength=classes.max() + 1))
        share = quotas(available, min(size, count - len(taken)), len(taken) // size).numpy()
        while share.any():
            best = int(np.where(share[classes] > 0, worth(), -np.inf).argmax())
            taken.append(best)
            free[best] = False
            share[classes[best]] -= 1
            along += products[best]
            square += 2 * crossed[best] + squares[best]
            crossed += (gradients @ gradients[best]).double().numpy()
    rest = np.flatnonzero(free)
    return np.concatenate([taken, rest[np.argsort(-worth()[rest], kind="stable")]]).astype(np.int64)


def normal_scores(count: int) -> NDArray[np.float64]:
    """The standard normal's quantiles at `count` places, the highest first."""
    normal = NormalDist()
    return np.array([normal.inv_cdf(1 - (place + 0.5) / count) for place in range(count)])
