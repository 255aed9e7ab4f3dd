"""Training from kept states of the lower layers is training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_model_families import FAMILIES, tiny

from assets.finetuning.encoding import Encoded
from assets.finetuning.scoring import Example
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow
from assets.interpolation.alignment import align
from assets.interpolation.mixing import collate
from resources.errors import SultanaError

MakeModel = Callable[..., Any]
MakeRow = Callable[..., Encoded]

PLAIN = TrainingConfig(layers=1, rank=4, learning_rate=1e-2, micro_batch=3, gradient_clip=0)
KEPT = replace(PLAIN, frozen_states_bytes=1 << 20)
FULL = {"method": "full", "learning_rate": 1e-3}


def rows_of(make_row: MakeRow) -> list[TrainingRow]:
    """Originals, mixes at the embedding layer, below and above the first trained layer."""
    one, two, three, four = (make_row(number) for number in range(4))
    return [
        TrainingRow("a", (one,)),
        TrainingRow("b", (two,), weight=0.5),
        TrainingRow("ab", (one, two), 0.3),
        TrainingRow("cd", (three, four), 0.6, layer=1),
        TrainingRow("ba", (two, one), 0.8, layer=2),
        TrainingRow("c", (three,)),
    ]


@pytest.mark.parametrize("changes", [{}, FULL, {"packing": True}], ids=["lora", "full", "packing"])
@pytest.mark.parametrize("layers", [1, 2])
def test_losses_are_those_of_the_whole_forward(
    make_model: MakeModel, make_row: MakeRow, changes: dict[str, Any], layers: int
) -> None:
    rows = rows_of(make_row)
    plain, kept = (
        TrainingSession((make_model(), None), replace(config, layers=layers, **changes), 4)
        for config in (PLAIN, KEPT)
    )
    examples = [Example(f"e{number}", "t", make_row(number)) for number in range(7, 12)]
    for _ in range(4):
        one, two = plain.step(rows), kept.step(rows)
        assert two.loss == pytest.approx(one.loss, rel=1e-4)
        assert two.tokens == one.tokens
        expected, found = plain.response_loss(examples), kept.response_loss(examples)
        assert found.mean == pytest.approx(expected.mean, rel=1e-4)
    assert plain.frozen is None and kept.frozen is not None
    assert kept.frozen.computed >= len(examples) + 4


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_families(family: str, make_row: MakeRow) -> None:
    rows = [TrainingRow("a", (make_row(1),)), TrainingRow("ab", (make_row(1), make_row(2)), 0.3)]
    plain, kept = (TrainingSession((tiny(family), None), config, 2) for config in (PLAIN, KEPT))
    if family in ("opt", "falcon"):  # by name: they do more between layers
        with pytest.raises(SultanaError, match=r"(OPT|Falcon).* Set frozen_states_bytes to 0"):
            kept.step(rows)
        return
    for _ in range(2):
        assert kept.step(rows).loss == pytest.approx(plain.step(rows).loss, rel=1e-3)


def test_the_limit_changes_no_bit(make_model: MakeModel, make_row: MakeRow) -> None:
    rows = rows_of(make_row)
    small, large = (
        TrainingSession((make_model(), None), replace(KEPT, frozen_states_bytes=size), 3)
        for size in (3000, 1 << 20)
    )
    for _ in range(3):
        assert small.step(rows).loss == large.step(rows).loss
    assert small.frozen and large.frozen
    assert small.frozen.used_bytes <= 3000 < large.frozen.used_bytes
    assert small.frozen.computed > large.frozen.computed == 5  # of six rows, one is mixed further up


def test_states_do_not_hang_on_what_was_computed_before(make_model: MakeModel, make_row: MakeRow) -> None:
    # On a CPU, bfloat16 attention runs in other kernels where a backward follows.
    trained, scored = (
        TrainingSession((make_model(), None), replace(KEPT, dtype="bfloat16"), 3) for _ in range(2)
    )
    trained.step([TrainingRow("a", (make_row(1),))])
    scored.response_loss([Example("e", "t", make_row(2))])
    rows = [align((make_row(number, 9, 30),), 1.0) for number in range(3, 9)]
    for row in rows:
        batch = collate([row])
        assert trained.frozen and scored.frozen
        one, two = (session.frozen.put_into(batch, [row]).frozen for session in (trained, scored))
        assert one is not None and two is not None and torch.equal(one, two)


def test_states_hang_on_content_not_on_the_id(make_model: MakeModel, make_row: MakeRow) -> None:
    session = TrainingSession((make_model(), None), KEPT, 2)
    one, two = make_row(1), make_row(2)
    alone = TrainingSession((make_model(), None), KEPT, 2)
    session.gradients([TrainingRow("same", (one,))])
    found = session.gradients([TrainingRow("same", (two,))])
    expected = alone.gradients([TrainingRow("same", (two,))])
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("changes", [{"layers": "all"}, {"noise": "neftune"}])
def test_what_cannot_be_kept_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SultanaError, match="frozen_states_bytes"):
        replace(KEPT, **changes)
