"""What experiments share between runs changes no number, and every run pays for it."""

from typing import Any

import pytest
import torch
from small_models import random_row, tiny_llama

from assets.finetuning.scoring import Example
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.selection.inputs import Spent
from assets.selection.less import _Updates
from assets.selection.projection import Projection
from tests.experiments import metered
from tests.experiments.cost import Meter
from tests.experiments.metered import MeteredInputs, MeteredSession, SharedStates

CONFIG = TrainingConfig(layers=1, rank=2, micro_batch=3, frozen_states_bytes=1 << 20)
ROWS = [TrainingRow(f"r{number}", (random_row(number),)) for number in range(6)]


def session(meter: Meter) -> MeteredSession:
    return MeteredSession((tiny_llama(), None), CONFIG, 4, "tiny", Spent(), meter)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedStates, "shared", {})
    for kept in ("_pools", "_passes"):
        monkeypatch.setattr(MeteredSession, kept, type(MeteredSession._pools)())


def test_shared_states_train_alike_and_are_paid_for_once_a_run() -> None:
    plain = TrainingSession((tiny_llama(), None), CONFIG, 4, "tiny")
    expected = [plain.step(ROWS[:3]).loss for _ in range(2)]
    charged = []
    for _ in range(2):
        meter = Meter()
        mine = session(meter)
        assert [mine.step(ROWS[:3]).loss for _ in range(2)] == expected
        charged.append(meter.counts["frozen states"])
    assert charged == [0, 3]  # the first computes them within its steps
    assert len(SharedStates.shared) == 3
    scored = SharedStates(plain)
    plain.frozen = scored
    assert plain.response_loss([Example("e", "t", random_row(0))]).mean > 0
    assert len(SharedStates.shared) == 3  # a question is known by its tokens, as a row is


def test_gradients_of_a_pool_are_taken_once_at_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metered, "KEPT_FROM", 4)

    def gradients(mine: MeteredSession) -> tuple[torch.Tensor, list[Any]]:
        parts = list(mine.row_gradients(ROWS))
        return torch.cat([part.gradients for part in parts]), [part.rows for part in parts]

    meters = [Meter() for _ in range(3)]
    first, second, trained = map(session, meters)
    expected, rows = gradients(first)
    assert [part.rows for part in second.row_gradients(ROWS)] == rows
    assert second.spent.rows_differentiated == 0 and meters[1].seconds["gradients"] > 0
    assert meters[1].counts["gradients"] == meters[0].counts["gradients"] == len(ROWS)
    trained.step(ROWS[:3])
    other, _ = gradients(trained)
    assert trained.spent.rows_differentiated == len(ROWS)
    assert not torch.equal(other, expected)


def test_what_is_left_of_gradients_at_later_weights_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metered, "KEPT_FROM", 4)

    def lengths(steps: int, meter: Meter, reduce: Any = _length) -> tuple[list[Any], int]:
        mine = session(meter)
        for _ in range(steps):
            mine.step(ROWS[:3])
        found = list(object.__new__(MeteredInputs).reduced_gradients(mine, reduce, ROWS))
        return found, mine.spent.rows_differentiated

    meters = [Meter() for _ in range(2)]
    expected, differentiated = lengths(1, meters[0])
    assert differentiated == meters[0].counts["gradients"] == len(ROWS)
    found, differentiated = lengths(1, meters[1])
    assert differentiated == 0 and meters[1].counts["gradients"] == len(ROWS)
    assert meters[1].seconds["gradients"] > 0
    assert [places for places, _ in found] == [places for places, _ in expected]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(found, expected, strict=True))
    later, differentiated = lengths(2, Meter())
    assert differentiated == len(ROWS) and not torch.equal(later[0][1], expected[0][1])
    _, differentiated = lengths(1, Meter(), _lengths_of_steps)
    assert differentiated == len(ROWS)
    # As two rewards of a seed ask, and another seed.
    for seed, expected_rows in ((0, len(ROWS)), (0, 0), (1, len(ROWS))):
        updates = _Updates(Projection(session(Meter()).layout.length, 16, seed))
        _, differentiated = lengths(1, Meter(), updates)
        assert differentiated == expected_rows


def _length(session: Any, part: Any) -> torch.Tensor:
    return part.gradients.norm(dim=1)


def _lengths_of_steps(session: Any, part: Any) -> torch.Tensor:
    return part.gradients.norm(dim=1) * session.step_number
