"""Algorithm 1 of RAISE: the batch of a step, chosen within classes (RAISE §3.4, eq. 10).

Each class gives its b = B / C best rows. Beyond the paper: B need not be a multiple of C, a class may hold
fewer than b rows, and a row selected as often as allowed is left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from resources.errors import SultanaError


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's rows, by class and then best first; every field is (B,)."""

    rows: Tensor  # int64, positions in the pool
    scores: Tensor  # float32, without exploration noise
    log_probabilities: Tensor  # float32, softmax within the row's class (eq. 10)
    ranks: Tensor  # int64, place in its class by what was ranked, from 1
    available: Tensor  # int64, rows that its class offered


def class_indices(clusters: Tensor) -> Tensor:
    """Cluster labels (N,) as classes 0..C-1 (N,) int64, in ascending order of label."""
    return torch.unique(clusters, sorted=True, return_inverse=True)[1]


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


def class_log_softmax(scores: Tensor, classes: Tensor, allowed: Tensor) -> Tensor:
    """log p of eq. 10, (m, N): softmax over the allowed rows of each row's class; -inf where not allowed.

    `scores` (m, N), `classes` (N,) int64 from 0, `allowed` (m, N) bool. Differentiable in `scores`.
    """
    count = int(classes.max()) + 1
    index = classes.expand_as(scores)
    masked = scores.masked_fill(~allowed, -torch.inf)
    empty = torch.full((len(scores), count), -torch.inf, dtype=scores.dtype)
    peaks = empty.scatter_reduce(1, index, masked.detach(), "amax").clamp_min(torch.finfo(scores.dtype).min)
    exponentials = (masked - peaks.gather(1, index)).exp()
    sums = torch.zeros_like(peaks).scatter_add(1, index, exponentials)
    # A class without an allowed row has sum 0; none of its rows is ever gathered.
    totals = peaks + sums.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return masked - totals.gather(1, index)


def select(
    scores: Tensor,
    classes: Tensor,
    counts: Tensor,
    batch_size: int,
    step: int,
    maximum_repeats: int | None,
    generator: torch.Generator | None,
) -> Batch:
    """The batch of one step from scores (N,), classes (N,) and counts nu (N,).

    With a generator, Gumbel noise is added to the scores: the b highest are then a sample without replacement
    from the class's softmax (Gumbel-top-b; Kool et al., ICML 2019). Without one, the b highest are taken;
    ties go to the lower position. Deployment uses none.
    """
    allowed = (
        torch.ones_like(classes, dtype=torch.bool) if maximum_repeats is None else counts < maximum_repeats
    )
    ranked = scores.double().masked_fill(~allowed, -torch.inf)
    if generator is not None:
        uniform = torch.rand(len(scores), generator=generator, dtype=torch.float64).clamp_min(1e-300)
        ranked = ranked - (-uniform.log()).log()
    available = torch.zeros(int(classes.max()) + 1, dtype=torch.int64).index_add(0, classes, allowed.long())
    share = quotas(available, batch_size, step)
    best_first = torch.argsort(ranked, descending=True, stable=True)
    by_class = best_first[torch.argsort(classes[best_first], stable=True)]
    sizes = torch.bincount(classes)
    starts = torch.cumsum(sizes, 0) - sizes
    grouped = classes[by_class]
    ranks = torch.arange(len(scores)) - starts[grouped] + 1
    chosen = ranks <= share[grouped]
    rows = by_class[chosen]
    log_probabilities = class_log_softmax(scores[None], classes, allowed[None])[0]
    return Batch(rows, scores[rows], log_probabilities[rows], ranks[chosen], available[classes[rows]])
