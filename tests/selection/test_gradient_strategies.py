"""LESS and gradient alignment on a small model that truly learns."""

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import VOCABULARY, tiny_llama

from assets.finetuning.encoding import Encoded
from assets.finetuning.scoring import Example
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.selection.config import GradientAlignmentSettings, LessSettings
from assets.selection.gradient_alignment import SAVE_EVERY, gradient_alignment, greedy
from assets.selection.inputs import Inputs
from assets.selection.less import adam_updates, less
from assets.selection.pool import Budget, Pool
from assets.selection.projection import Projection
from assets.selection.reward_gradient import reward_gradient

ROWS = 60
CONFIG = TrainingConfig(rank=4, learning_rate=1e-2, schedule="constant", gradient_clip=0)


class SmallModel:
    """A Llama of random weights, as a `CausalModel`."""

    def fingerprint(self) -> str:
        return "small"

    def load(self) -> tuple[Any, Any]:
        return tiny_llama(), None


def row(number: int, *, relevant: bool) -> Encoded:
    """Five random tokens of prompt, and a response from the last five tokens of the vocabulary where relevant."""
    generator = np.random.default_rng(number)
    prompt = generator.integers(3, VOCABULARY, 5)
    first, last = (VOCABULARY - 5, VOCABULARY) if relevant else (3, VOCABULARY - 5)
    response = generator.integers(first, last, 8)
    ids = np.concatenate([prompt, response]).astype(np.int32)
    return Encoded(f"row-{number:03d}", ids, np.arange(len(ids)) >= 5, 5)


def make_inputs(steps: int = 12, passes: int = 1, work: Path | None = None, seed: int = 0) -> Inputs:
    encoded = [row(number, relevant=number % 4 == 0) for number in range(ROWS)]
    pool = Pool.build([one.row_id for one in encoded], ["original"] * ROWS, [0] * ROWS, [8] * ROWS)
    inputs = Inputs(
        pool=pool,
        budget=Budget(steps, 4, passes),
        seed=seed,
        rows=[TrainingRow(one.row_id, (one,)) for one in encoded],
        model=SmallModel(),  # type: ignore[arg-type]
        training=CONFIG,
        work=work,
    )
    examples = [row(1000 + number, relevant=True) for number in range(8)]
    inputs.__dict__["reward_examples"] = [
        Example(one.row_id, f"task-{number % 2}", one) for number, one in enumerate(examples)
    ]
    return inputs


def relevant_share(chosen: Any) -> float:
    numbers = [int(entry.row_id[4:]) for batch in chosen.selections for entry in batch]
    return float(np.mean([number % 4 == 0 for number in numbers]))


def test_less_finds_the_rows_that_are_like_the_reward_split() -> None:
    chosen = less(make_inputs(steps=3), LessSettings(dimensions=512, warmup_share=0.4, epochs=4))
    assert relevant_share(chosen) > 0.6  # 12 of 60 rows, of which a quarter are relevant
    assert chosen.facts["warm_up_rows"] == 24 and chosen.facts["warm_up_steps"] == 24


def test_gradient_alignment_finds_them_at_each_step() -> None:
    chosen = gradient_alignment(
        make_inputs(steps=3), GradientAlignmentSettings(candidates=0, reward_examples=8)
    )
    assert relevant_share(chosen) > 0.6
    drawn = gradient_alignment(
        make_inputs(steps=3), GradientAlignmentSettings(candidates=8, reward_examples=4)
    )
    assert 0.25 < relevant_share(drawn) <= relevant_share(chosen)


@pytest.mark.parametrize("strategy", ["less", "gradient_alignment"])
def test_same_seed_same_choice(strategy: str) -> None:
    def choose(seed: int) -> Any:
        inputs = make_inputs(steps=3, seed=seed)
        if strategy == "less":
            return less(inputs, LessSettings(dimensions=64, warmup_share=0.2, epochs=1)).selections
        return gradient_alignment(inputs, GradientAlignmentSettings(candidates=8)).selections

    assert choose(1) == choose(1) != choose(2)


def test_no_row_is_chosen_more_often_than_allowed() -> None:
    chosen = gradient_alignment(
        make_inputs(steps=20, passes=2), GradientAlignmentSettings(candidates=0, reward_examples=2)
    )
    counts = np.unique([e.row_id for batch in chosen.selections for e in batch], return_counts=True)[1]
    assert counts.max() == 2
    assert all(len(set(batch.row_ids)) == 4 for batch in chosen.selections)


def test_a_killed_run_goes_on_with_the_same_choices(tmp_path: Path) -> None:
    settings = GradientAlignmentSettings(candidates=8, reward_examples=4)
    whole = gradient_alignment(make_inputs(), settings).selections

    class Killed(Exception):
        pass

    class Progress:
        steps = 0

        def advance(self, count: int = 1) -> None:
            self.steps += count
            if self.steps > SAVE_EVERY + 2:
                raise Killed

    @contextmanager
    def killing(label: str, total: float | None, unit: str) -> Iterator[Progress]:
        yield Progress()

    inputs = make_inputs(work=tmp_path)
    object.__setattr__(inputs, "watch", killing)
    with pytest.raises(Killed):
        gradient_alignment(inputs, settings)
    steps: list[int] = []
    step = TrainingSession.step
    again = make_inputs(work=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingSession, "step", lambda self, *given: (steps.append(1), step(self, *given))[1])
        assert gradient_alignment(again, settings).selections == whole
    assert len(steps) == again.budget.steps - SAVE_EVERY


def test_greedy_takes_what_adds_most() -> None:
    gradients = torch.tensor([[1.0, 0.0], [0.99, 0.0], [0.0, 0.9], [-1.0, 0.0]])
    direction = torch.tensor([1.0, 1.0])
    taken = greedy(gradients, direction, 0.5, 3)
    # 0.5 <g, g_z>, less 0.25 <g_z, g_z'> for each row z' taken before.
    assert [place for place, _ in taken] == [0, 2, 1]
    assert [gain for _, gain in taken] == pytest.approx([0.5, 0.45, 0.495 - 0.25 * 0.99], rel=1e-6)


def test_the_projection_keeps_inner_products() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 20_000, generator=generator) + torch.randn(20_000, generator=generator)
    projected = Projection(20_000, 4096, seed=1)(vectors)
    assert torch.allclose(projected @ projected.T, vectors @ vectors.T, rtol=0.15)
    assert torch.equal(projected, Projection(20_000, 4096, seed=1)(vectors))
    sent = pickle.dumps(Projection(20_000, 4096, seed=1))
    assert sent == pickle.dumps(Projection(20_000, 4096, seed=1)) and len(sent) < 200
    assert torch.equal(projected, copy.copy(Projection(20_000, 4096, seed=1))(vectors))


def test_adam_updates_are_adams() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.zeros(50, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=1.0)
    for _ in range(4):
        weights.grad = torch.randn(50, generator=generator)
        optimizer.step()
    state = optimizer.state[weights]
    before, gradient = weights.detach().clone(), torch.randn(50, generator=generator)
    expected = adam_updates(gradient[None], state["exp_avg"].clone(), state["exp_avg_sq"].clone(), 4)[0]
    weights.grad = gradient
    optimizer.step()
    assert torch.allclose(before - weights.detach(), expected, atol=1e-5)


def test_the_reward_gradient_weighs_tasks_equally() -> None:
    inputs = make_inputs()
    session = inputs.session()
    examples = list(inputs.reward_examples)
    uneven = examples[::2] + examples[1:2]
    loss, gradient = reward_gradient(session, uneven)
    assert loss == pytest.approx(session.response_loss(uneven).mean, rel=1e-5)
    parts = [reward_gradient(session, examples[::2])[1], reward_gradient(session, examples[1:2])[1]]
    assert torch.allclose(gradient, (parts[0] + parts[1]) / 2, atol=1e-6)
