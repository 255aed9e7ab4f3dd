"""Rows whose gradients point where the reward split's does, chosen at each step, after GREATS (Wang et al.,
"GREATS: Online Selection of High-Quality Data for LLM Training in Every Iteration", NeurIPS 2024).

At each step some rows are drawn, their gradients at the present weights taken, and the batch is filled
greedily by what each row adds to the fall of the loss on the reward split, expanded to the second order with
the identity for the Hessian (GREATS §3):

    gain(z | S) = eta <g, g_z> - eta^2 * sum over z' in S of <g_z, g_z'>

with eta the learning rate divided by the batch size, and g_z what a row adds to the gradient of a batch's mean
token loss: the gradient of its summed loss, divided by the tokens of a row on average. (That of its mean loss
prefers the shortest responses, whose gradients are large and noisy: in our trials, rows selected by it once,
before training, ended worse than random rows.) Nothing is learned: each step pays for the gradients of all
rows drawn. GREATS never forms the gradients but takes their products layer by layer; those of low-rank
adapters are small enough to be formed.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from assets.finetuning.checkpoints import CheckpointFolder
from assets.identity import digest
from assets.ledger import Selection, strategy_sha256
from assets.selection.gradients import GradientsOf, gradients
from assets.selection.pool import selection
from assets.selection.reward_gradient import reward_gradient
from assets.selection.strategy import Chosen

if TYPE_CHECKING:
    from assets.finetuning.row_gradients import RowGradients
    from assets.finetuning.trainer import TrainingSession
    from assets.selection.config import GradientAlignmentSettings
    from assets.selection.inputs import Inputs

VERSION = "1"
"""Raised whenever a change makes the strategy select differently from the same inputs."""

SAVE_EVERY = 5
"""Steps between the states that a killed run goes on from."""


def greedy(
    gradients: torch.Tensor, direction: torch.Tensor, rate: float, count: int
) -> list[tuple[int, float]]:
    """`count` rows of `gradients` (m, p) and what each adds, in the order in which they are taken.

    `direction` (p,) is the gradient of the reward split's loss; ties go to the first row.
    """
    gains = (rate * (gradients @ direction)).double()
    products = (rate**2 * (gradients @ gradients.T)).double()
    taken: list[tuple[int, float]] = []
    for _ in range(count):
        best = int(gains.argmax())
        taken.append((best, float(gains[best])))
        gains -= products[best]
        gains[best] = -torch.inf
    return taken


def gradient_alignment(inputs: "Inputs", settings: "GradientAlignmentSettings") -> Chosen:
    """A training run whose every batch is the best of some rows drawn; its batches are the curriculum."""
    session = inputs.session()
    session.check(inputs.rows)
    with (
        gradients(inputs, session, _whole) as differentiated,
        inputs.progress("training run", inputs.budget.steps, "steps") as progress,
    ):
        run = _Run(inputs, settings, session, differentiated)
        run.restore()
        progress.advance(len(run.chosen))
        while len(run.chosen) < inputs.budget.steps:
            run.step()
            progress.advance()
            if len(run.chosen) % SAVE_EVERY == 0:
                run.save()
    return Chosen(
        run.selections(),
        {"candidates_of_a_step": run.drawn, "reward_examples_of_a_step": run.asked},
    )


def _whole(session: "TrainingSession", part: "RowGradients") -> tuple[torch.Tensor, float]:
    """Gradients (l, p), in full since any two of them are compared, and the sum of their label weights."""
    return part.gradients.cpu(), float(part.label_weights.sum())


class _Run:
    def __init__(
        self,
        inputs: "Inputs",
        settings: "GradientAlignmentSettings",
        session: "TrainingSession",
        differentiated: GradientsOf[tuple[torch.Tensor, float]],
    ) -> None:
        self.inputs, self.session, self.differentiated = inputs, session, differentiated
        self.drawn = settings.candidates or len(inputs.pool)
        self.asked = min(settings.reward_examples, len(inputs.reward_examples))
        self.counts = np.zeros(len(inputs.pool), np.int32)
        self.chosen: list[list[tuple[int, float]]] = []
        self.digest = digest(
            [
                VERSION,
                session.config_digest,
                inputs.pool.digest(),
                [example.example_id for example in inputs.reward_examples],
                [inputs.seed, self.drawn, self.asked, inputs.budget.passes, inputs.budget.batch_size],
            ]
        )
        self.folder = None if inputs.work is None else CheckpointFolder(inputs.work / "gradient_alignment")

    def step(self) -> None:
        """Draw rows and reward examples, take the best rows, and train on them."""
        inputs, step = self.inputs, len(self.chosen)
        generator = np.random.default_rng([inputs.seed, step])
        allowed = np.flatnonzero(self.counts < inputs.budget.passes)
        size = max(self.drawn, inputs.budget.batch_size)
        places = np.sort(generator.choice(allowed, min(size, len(allowed)), replace=False))
        examples = generator.choice(len(inputs.reward_examples), self.asked, replace=False)
        _, direction = reward_gradient(
            self.session, [inputs.reward_examples[place] for place in np.sort(examples)]
        )
        found, weight = torch.zeros(len(places), self.session.layout.length), 0.0
        for order, (part, labels) in self.differentiated([inputs.rows[place] for place in places]):
            found[order] = part
            weight += labels
        found *= len(places) / weight
        rate = self.session.learning_rate_at(step) / inputs.budget.batch_size
        taken = [
            (int(places[at]), gain)
            for at, gain in greedy(found, direction.cpu(), rate, inputs.budget.batch_size)
        ]
        self.session.step([inputs.rows[place] for place, _ in taken])
        self.counts[[place for place, _ in taken]] += 1
        self.chosen.append(taken)

    def selections(self) -> tuple[Selection, ...]:
        """The curriculum so far."""
        policy = strategy_sha256("gradient_alignment", VERSION)
        reasons = [
            f"number {rank} of {self.drawn:,} rows drawn by the fall of the reward split's loss that its "
            "gradient promises, less what the rows before it in the batch give"
            for rank in range(1, self.inputs.budget.batch_size + 1)
        ]
        return tuple(
            selection(
                self.inputs.pool,
                step,
                [place for place, _ in taken],
                [gain for _, gain in taken],
                reasons,
                policy,
            )
            for step, taken in enumerate(self.chosen)
        )

    def save(self) -> None:
        """Keep weights, optimizer and choices for a run that goes on after a kill."""
        if self.folder is None:
            return
        state = self.session.state_dict()
        numbers = state["numbers"] | {"chosen": self.chosen}
        self.folder.save(len(self.chosen), {"tensors": state["tensors"], "numbers": numbers}, self.digest)
        self.folder.prune(1)

    def restore(self) -> None:
        """Go on from the state last kept, if any."""
        found = None if self.folder is None else self.folder.latest_verified(self.digest)
        if self.folder is None or found is None:
            return
        state: dict[str, Any] = self.folder.load(found)
        self.chosen = [
            [(int(place), float(gain)) for place, gain in taken] for taken in state["numbers"].pop("chosen")
        ]
        for taken in self.chosen:
            self.counts[[place for place, _ in taken]] += 1
        self.session.load_state_dict(state)
