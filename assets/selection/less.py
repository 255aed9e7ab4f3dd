"""LESS: rows of the highest influence on the reward split (Xia et al., ICML 2024, arXiv 2402.04333).

The model is first trained on a few rows drawn at random; after each of its epochs the gradient of every row
of the pool, as Adam would apply it, is compared with the gradients of the reward split's tasks:

    Inf(z, task) = sum over epochs i of (mean learning rate) * cos(gradient of the task's loss, Gamma(z; theta_i))

and a row's score is its highest over the tasks (paper §3.1, §4.2, eq. 4). Gradients are of the LoRA weights,
projected at random to a few thousand dimensions, which keeps inner products (§4.1). The projection is sparse:
see `Projection`. LESS takes dense signs.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from assets.selection.gradients import gradients
from assets.selection.projection import Projection
from assets.selection.reward_gradient import task_gradients
from assets.selection.static import highest
from assets.selection.strategy import Chosen

if TYPE_CHECKING:
    from assets.finetuning.row_gradients import RowGradients
    from assets.finetuning.trainer import TrainingSession
    from assets.selection.config import LessSettings
    from assets.selection.inputs import Inputs

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def adam_updates(
    gradients: torch.Tensor, first: torch.Tensor, second: torch.Tensor, steps: int
) -> torch.Tensor:
    """Gamma of each gradient (l, p): the direction of Adam's next step were it on that row alone (§3.1).

    `first` and `second` (p,) are Adam's moments after `steps` steps, not corrected for their start at 0.
    """
    moment = (BETAS[0] * first + (1 - BETAS[0]) * gradients) / (1 - BETAS[0] ** (steps + 1))
    square = (BETAS[1] * second + (1 - BETAS[1]) * gradients**2) / (1 - BETAS[1] ** (steps + 1))
    return moment / (square.sqrt() + EPSILON)


def less(inputs: "Inputs", settings: "LessSettings") -> Chosen:
    """The rows of the highest influence, in seeded order over the steps."""
    warm_up = max(inputs.budget.batch_size, math.ceil(settings.warmup_share * len(inputs.pool)))
    size = inputs.budget.batch_size
    steps = math.ceil(min(warm_up, len(inputs.pool)) / size)
    session = inputs.session(steps * settings.epochs)
    session.check(inputs.rows)
    examples = inputs.reward_examples
    generator = np.random.default_rng([inputs.seed, 0])
    drawn = generator.permutation(len(inputs.pool))[: steps * size]
    projection = Projection(session.layout.length, settings.dimensions, inputs.seed)
    influence: dict[str, np.ndarray] = {}
    total = settings.epochs * (len(inputs.pool) + len(drawn))
    with (
        inputs.progress("gradients of rows", total, "rows") as progress,
        gradients(inputs, session, _Updates(projection)) as differentiated,
    ):
        for _ in range(settings.epochs):
            order = generator.permutation(drawn)
            rates = []
            for start in range(0, len(order), size):
                batch = [inputs.rows[place] for place in order[start : start + size]]
                rates.append(session.step(batch).learning_rate)
                progress.advance(len(batch))
            tasks = {
                task: _unit(projection(gradient[None]))[0]
                for task, (_, gradient) in task_gradients(session, examples).items()
            }
            for places, updates in differentiated(inputs.rows):
                for task, direction in tasks.items():
                    column = influence.setdefault(task, np.zeros(len(inputs.pool)))
                    column[places] += np.mean(rates) * (updates @ direction).numpy()
                progress.advance(len(places))
    names = sorted(influence)
    table = np.stack([influence[task] for task in names])
    best = table.argmax(axis=0)
    places_of = {row_id: place for place, row_id in enumerate(inputs.pool.row_ids)}

    def reason(rank: int, score: float) -> str:
        return f"influence {score:.3g} on the reward split, number {rank:,} of {len(places_of):,}"

    chosen = highest(inputs.pool, inputs.budget, inputs.seed, "less", table.max(axis=0), reason)
    return Chosen(
        chosen,
        {
            "warm_up_rows": len(drawn),
            "warm_up_steps": steps * settings.epochs,
            "rows_by_task_of_the_highest_influence": {
                task: int((best == number).sum()) for number, task in enumerate(names)
            },
        },
    )


@dataclass(frozen=True, eq=False)
class _Updates:
    """Keeps the projected directions of unit length, (l, dimensions), in which Adam would go."""

    projection: Projection

    def __call__(self, session: "TrainingSession", part: "RowGradients") -> torch.Tensor:
        first, second = session.moments()
        means = part.gradients / part.label_weights[:, None].to(part.gradients)
        return _unit(self.projection(adam_updates(means, first, second, session.step_number)))


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-30)
