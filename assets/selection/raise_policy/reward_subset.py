"""A fixed part of the reward split to measure training runs on, and how far its loss may be from that of all.

Measuring is most of what RAISE costs, so a part is measured. It is the same at every step and in every run, so
rewards, which are differences between two models on the same examples, vary much less than the losses do:
`sampling_error` of the differences of two models' losses says how much.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from resources.errors import SultanaError


def reward_subset(example_ids: Sequence[str], tasks: Sequence[str], size: int) -> list[int]:
    """Places of at most `size` examples, ascending: as many of each task as can be, each task's first by hash.

    Tasks count alike in the loss (scoring.response_loss), so they get equal parts; what a small task lacks goes
    to the others. 0, or no fewer than there are: all. Depends on ids and tasks only, not on their order. Raises
    SultanaError where a task would get fewer than two, of which no sampling error is known, and has more.
    """
    sizes = Counter(tasks)
    if size <= 0 or size >= len(example_ids):
        return list(range(len(example_ids)))
    # The least that leaves a sampling error: two of each task, or all of it.
    least = sum(min(2, count) for count in sizes.values())
    if size < least:
        raise SultanaError(
            f"{size} examples of the reward split are to stand for {len(sizes)} tasks",
            f"Set reward_examples to at least {least}, or to 0 for all",
            code="reward-subset-too-small",
        )
    shares = dict.fromkeys(sorted(sizes), 0)
    left = size
    while left:
        open_tasks = [task for task in shares if shares[task] < sizes[task]]
        for task in open_tasks[:left]:
            shares[task] += 1
        left -= min(left, len(open_tasks))
    order = sorted(range(len(example_ids)), key=lambda place: _hash(example_ids[place]))
    chosen = []
    for place in order:
        if shares[tasks[place]]:
            shares[tasks[place]] -= 1
            chosen.append(place)
    return sorted(chosen)


@dataclass(frozen=True)
class SamplingError:
    """Standard errors of a subset's mean loss against all examples', nats a token; 0 where all are in it."""

    mean: float  # of the mean over tasks
    per_task: Mapping[str, float]

    @property
    def bound(self) -> float:
        """Within this of all examples' loss in 95 % of cases (1.96 standard errors)."""
        return 1.96 * self.mean


def sampling_error(
    per_example: ArrayLike, tokens: ArrayLike, tasks: Sequence[str], population: Mapping[str, int]
) -> SamplingError:
    """How far the subset's loss may be from that of all examples.

    `per_example` (n,): mean loss over each example's tokens (or its difference between two models), `tokens`
    (n,): how many, `tasks` (n,), of the subset; `population`: examples of each task in all. A task's loss is a
    mean over tokens, a ratio of two sums, so its error is that of the ratio estimator, linearised, with the
    finite-population correction 1 - n/N (Cochran, Sampling Techniques, 3rd ed., eq. 6.13); tasks are drawn apart
    and count alike. Raises SultanaError where one example stands for a larger task.
    """
    losses, counts = np.asarray(per_example, np.float64), np.asarray(tokens, np.float64)
    names = np.asarray(tasks)
    errors = {}
    for task in sorted(set(tasks)):
        mine = names == task
        number, whole = int(mine.sum()), population[task]
        if number >= whole:
            errors[task] = 0.0
            continue
        if number < 2:
            raise SultanaError(
                f"One example stands for the {whole:,} of task {task}: its sampling error cannot be told",
                "Measure at least two examples of each task",
                code="reward-subset-too-small",
            )
        mean = float((counts * losses)[mine].sum() / counts[mine].sum())
        deviations = counts[mine] * (losses[mine] - mean)
        variance = float((deviations**2).sum()) / (number - 1) / number * (1 - number / whole)
        errors[task] = math.sqrt(variance) / float(counts[mine].mean())
    return SamplingError(math.sqrt(sum(error**2 for error in errors.values())) / len(errors), errors)


def _hash(example_id: str) -> str:
    return hashlib.sha256(f"reward subset {example_id}".encode()).hexdigest()
