"""Rows that share a line, and how a step is divided into passes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assets.finetuning.encoding import Encoded
from assets.finetuning.micro_batches import first_fit, in_micro_batches
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.interpolation.alignment import AlignedRow, align
from assets.interpolation.mixing import collate

FULL = TrainingConfig(method="full", learning_rate=1e-3, micro_batch=4, gradient_clip=0)
LORA = replace(FULL, method="lora", rank=4, learning_rate=1e-2)
MakeModel = Callable[..., Any]
MakeRow = Callable[..., Encoded]


def aligned(width: int, layer: int = 0) -> AlignedRow:
    sides = 2 if layer else 1
    ids, ones = np.full((sides, width), 5), np.ones((sides, width), np.float32)
    return AlignedRow(ids, ones, ones, (0,) * sides, (width,) * sides, layer=layer)


rows = st.lists(st.builds(aligned, st.integers(1, 30), st.integers(0, 2)), min_size=1, max_size=30)


def some_rows(make_row: MakeRow) -> list[TrainingRow]:
    found = [TrainingRow(f"r{n}", (make_row(n, 2 + n % 3, 2 + n),)) for n in range(6)]
    found.append(TrainingRow("m", (make_row(20, 3, 4), make_row(21, 5, 2)), 0.4))
    found.append(TrainingRow("n", (make_row(22, 6, 3), make_row(23, 2, 9)), 0.7, weight=0.5))
    return found


@given(rows, st.integers(1, 5), st.booleans(), st.sampled_from([0.0, 0.25, 1.0]))
def test_every_row_is_in_one_pass_with_rows_of_its_layer(
    given_rows: list[AlignedRow], size: int, packing: bool, most_padding: float
) -> None:
    parts = list(in_micro_batches(given_rows, size, packing=packing, most_padding=most_padding))
    assert sorted(number for part in parts for number in part.rows) == list(range(len(given_rows)))
    for part in parts:
        assert len({given_rows[number].layer for number in part.rows}) == 1
        if part.places is None:
            assert len(part.rows) <= size
            widths = [given_rows[number].width for number in part.rows]
            assert min(widths) >= (1 - most_padding) * max(widths)
            continue
        assert packing and max(line for line, _ in part.places) < size
        taken: set[tuple[int, int]] = set()
        for number, (line, start) in zip(part.rows, part.places, strict=True):
            mine = {(line, column) for column in range(start, start + given_rows[number].width)}
            assert not mine & taken  # rows do not overlap
            taken |= mine


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_lines_are_as_wide_as_the_widest_row_and_few(widths: list[int]) -> None:
    widths = sorted(widths, reverse=True)
    places = first_fit(widths)
    ends = [start + width for (_, start), width in zip(places, widths, strict=True)]
    assert max(ends) == widths[0]
    fewest = -(-sum(widths) // widths[0])
    assert 1 + max(line for line, _ in places) <= 11 / 9 * 2 * fewest + 1


def test_positions_begin_anew_with_every_row(make_row: MakeRow) -> None:
    encoded = [make_row(1, 2, 3), make_row(2, 1, 2), make_row(3, 2, 2)]
    three = [align((row,), 1.0) for row in encoded]
    batch = collate(three, places=[(0, 0), (1, 0), (1, 3)])
    assert batch.positions is not None
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 0, 1, 2, 3]]
    assert batch.label_rows.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert batch.label_places.tolist() == [1, 2, 3, 7, 8, 11, 12]
    assert batch.tokens == 12 and collate(three).positions is None


@pytest.mark.parametrize("config", [FULL, LORA], ids=["full", "lora"])
def test_packed_rows_train_as_rows_alone(
    make_model: MakeModel, make_row: MakeRow, config: TrainingConfig
) -> None:
    """With sdpa; Gemma 2 in test_model_families.py has eager attention only."""
    rows = some_rows(make_row)
    packed = TrainingSession((make_model(), None), replace(config, packing=True), 3)
    single = TrainingSession((make_model(), None), replace(config, micro_batch=1), 3)
    shapes: list[Any] = []
    packed.model.model.layers[0].register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
    one, two = packed.gradients(rows), single.gradients(rows)
    # 8 rows in fewer lines. The first forward is that of the probe.
    assert sum(shape[0] for shape in shapes[-2:]) < 8 and shapes[-1][1] == 15
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], rtol=1e-4, atol=1e-6) for name in one)
    for _ in range(3):
        first, second = packed.step(rows), single.step(rows)
        assert first.loss == pytest.approx(second.loss, rel=1e-5) and first.tokens == second.tokens
        assert first.gradient_norm == pytest.approx(second.gradient_norm, rel=1e-4)


def test_less_padding_changes_a_step_by_rounding_only(make_model: MakeModel, make_row: MakeRow) -> None:
    rows = some_rows(make_row)
    padded = TrainingSession((make_model(), None), LORA, 2)
    narrow = TrainingSession((make_model(), None), LORA, 2, most_padding=0.25)
    for _ in range(2):
        one, two = padded.step(rows), narrow.step(rows)
        assert one.loss == pytest.approx(two.loss, rel=1e-5) and one.tokens == two.tokens
        assert one.gradient_norm == pytest.approx(two.gradient_norm, rel=1e-4)


def test_rows_that_saw_one_another_would_be_noticed(make_model: MakeModel, make_row: MakeRow) -> None:
    """What the tests above compare differs where positions, and with them the masks, are left out."""
    encoded = [align((make_row(n, 3, 4),), 1.0) for n in range(2)]
    session = TrainingSession((make_model(), None), FULL, 1)
    packed = collate(encoded, places=[(0, 0), (0, 7)])
    assert packed.positions is not None
    with torch.no_grad():
        alone = session.decoder.loss(collate(encoded)).item()
        assert session.decoder.loss(packed).item() == pytest.approx(alone, rel=1e-5)
        positions_alone = replace(packed, positions=None)
        assert session.decoder.loss(positions_alone).item() != pytest.approx(alone, rel=1e-2)
        shuffled = replace(packed, ids=packed.ids.clone())
        shuffled.ids[0, 0, :7] = shuffled.ids[0, 0, :7].flip(0)
        states = session.decoder.states(shuffled)[0, 7:]
        assert torch.allclose(states, session.decoder.states(packed)[0, 7:], atol=1e-5)


def test_packing_in_bfloat16_on_a_cpu(make_model: MakeModel, make_row: MakeRow) -> None:
    rows = some_rows(make_row)
    exact = TrainingSession((make_model(), None), FULL, 1).step(rows).loss
    session = TrainingSession((make_model(), None), replace(FULL, packing=True, dtype="bfloat16"), 1)
    assert session.step(rows).loss == pytest.approx(exact, rel=0.03)
