"""The gradient of each row against a backward over that row alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from assets.finetuning.encoding import Encoded
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.interpolation.alignment import align
from resources.errors import SultanaError

MakeModel = Callable[..., Any]
MakeRow = Callable[..., Encoded]
LORA = TrainingConfig(rank=4, learning_rate=1e-2, micro_batch=3, gradient_clip=0)


def all_gradients(session: TrainingSession, rows: list[TrainingRow]) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over each row's tokens (n, p), and label weights (n,), in the order of `rows`."""
    gradients = torch.zeros(len(rows), session.layout.length)
    weights = torch.zeros(len(rows), dtype=torch.float64)
    for part in session.row_gradients(rows):
        gradients[part.rows], weights[part.rows] = part.gradients, part.label_weights
    return gradients, weights


@pytest.mark.parametrize("kept", [0, 1 << 20])
def test_each_row_is_as_alone(make_model: MakeModel, make_row: MakeRow, kept: int) -> None:
    config = replace(LORA, layers=2, frozen_states_bytes=kept)
    session = TrainingSession((make_model(), None), config, 3)
    one, two = make_row(1), make_row(2)
    rows = [TrainingRow(f"{number}", (make_row(number),)) for number in range(4)]
    rows += [TrainingRow("mix", (one, two), 0.3), TrainingRow("deep", (one, two), 0.6, layer=1)]
    session.step(rows)  # off the start, where B is 0
    gradients, weights = all_gradients(session, rows)
    for place, row in enumerate(rows):
        loss, alone = session.loss_and_gradient([row])
        assert loss > 0
        expected = alone * align(row.parents, row.mixing, row.alignment, row.layer).label_weight
        assert torch.allclose(gradients[place], expected, rtol=1e-3, atol=1e-5)
    _, whole = session.loss_and_gradient(rows)
    assert torch.allclose(gradients.sum(0) / weights.sum(), whole, rtol=1e-3, atol=1e-5)


def test_row_weights_are_not_in_it(make_model: MakeModel, make_row: MakeRow) -> None:
    session = TrainingSession((make_model(), None), LORA, 3)
    row = make_row(1)
    one, _ = all_gradients(session, [TrainingRow("r", (row,))])
    two, _ = all_gradients(session, [TrainingRow("r", (row,), weight=3.0)])
    assert torch.equal(one, two)


def test_nothing_is_left_behind(make_model: MakeModel, make_row: MakeRow) -> None:
    rows = [TrainingRow(f"{number}", (make_row(number),)) for number in range(4)]
    asked, plain = (TrainingSession((make_model(), None), LORA, 3) for _ in range(2))
    all_gradients(asked, rows)
    asked.loss_and_gradient(rows)
    assert asked.step(rows).loss == plain.step(rows).loss
    assert asked.step(rows).loss == plain.step(rows).loss


def test_moments_are_adams(make_model: MakeModel, make_row: MakeRow) -> None:
    rows = [TrainingRow(f"{number}", (make_row(number),)) for number in range(4)]
    session = TrainingSession((make_model(), None), LORA, 3)
    assert not any(one.any() for one in session.moments())
    _, gradient = session.loss_and_gradient(rows)
    session.step(rows)
    first, second = session.moments()
    assert torch.allclose(first, 0.1 * gradient, rtol=1e-3, atol=1e-9)
    assert torch.allclose(second, 0.001 * gradient**2, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("changes", [{"method": "full"}, {"dropout": 0.5}])
def test_other_weights_are_refused(make_model: MakeModel, make_row: MakeRow, changes: dict[str, Any]) -> None:
    session = TrainingSession((make_model(), None), replace(LORA, **changes), 3)
    with pytest.raises(SultanaError, match="gradients of single rows"):
        next(session.row_gradients([TrainingRow("r", (make_row(1),))]))


def test_a_row_without_a_label_is_named(make_model: MakeModel, make_row: MakeRow) -> None:
    session = TrainingSession((make_model(), None), LORA, 3)
    row = make_row(1)
    silent = Encoded("silent", row.ids, row.trained & False, row.response_start)
    with pytest.raises(SultanaError, match="silent"):
        next(session.row_gradients([TrainingRow("silent", (silent,))]))
