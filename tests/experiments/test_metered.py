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
from tests.experiments import metered
from tests.experiments.cost import Meter
from tests.experiments.metered import MeteredSession, SharedStates

CONFIG = TrainingConfig(layers=1, rank=2, micro_batch=3, frozen_states_bytes=1 << 20)
ROWS = [TrainingRow(f"r{number}", (random_row(number),)) for number in range(6)]


def session(meter: Meter) -> MeteredSession:
    return MeteredSession((tiny_llama(), None), CONFIG, 4, "tiny", Spent(), meter)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedStates, "shared", {})
    monkeypatch.setattr(MeteredSession, "_pools", type(MeteredSession._pools)())


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
    again, _ = gradients(session(Meter()))
    assert torch.equal(again, expected)  # computed anew, since one pool is kept at a time
