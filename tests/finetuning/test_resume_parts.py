"""Each part of what a checkpoint brings back, left out in turn: without any one, the training ends elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from assets.finetuning.checkpoints import CheckpointFolder
from assets.finetuning.encoding import Encoded
from assets.finetuning.loop import train
from assets.finetuning.trainer import TrainingSession
from assets.finetuning.training_config import TrainingConfig
from assets.finetuning.training_row import TrainingRow

CONFIG = TrainingConfig(rank=4, dropout=0.2, learning_rate=1e-2, weight_decay=0.1, micro_batch=2)
KILLED, STEPS = 3, 6
MakeModel = Callable[..., Any]
MakeRow = Callable[..., Encoded]


@dataclass
class Resumed:
    """A session that has loaded a checkpoint, and the batches still to come."""

    session: TrainingSession
    batches: list[list[TrainingRow]]
    every_batch: list[list[TrainingRow]]


def without_tensors(prefix: str) -> Callable[[Resumed], None]:
    def ablate(resumed: Resumed) -> None:
        state = resumed.session.state_dict()
        for name in [name for name in state["tensors"] if name.startswith(prefix)]:
            state["tensors"][name] = torch.zeros_like(state["tensors"][name])
        resumed.session.load_state_dict(state)

    return ablate


def without_first_weights(resumed: Resumed) -> None:
    """The adapters of M_0, with all else in place."""
    state = resumed.session.state_dict()
    resumed.session.reset()
    first = resumed.session.state_dict()["tensors"]
    resumed.session.load_state_dict(state | {"tensors": state["tensors"] | first})


def without_updates_counted(resumed: Resumed) -> None:
    """AdamW divides its means by 1 - β^t: t begins at 0 again."""
    for one in resumed.session._optimizer.state.values():
        one["step"].zero_()


def without_schedule(resumed: Resumed) -> None:
    rate = resumed.session.learning_rate_at
    resumed.session.learning_rate_at = lambda step: rate(step - KILLED)  # type: ignore[method-assign]


def without_random_state(resumed: Resumed) -> None:
    resumed.session.config = replace(resumed.session.config, seed=1)


def without_cursor(resumed: Resumed) -> None:
    resumed.batches[:] = resumed.every_batch[: STEPS - KILLED]


def without_mixing(resumed: Resumed) -> None:
    resumed.batches[:] = [
        [replace(row, mixing=1.0) if len(row.parents) > 1 else row for row in batch]
        for batch in resumed.batches
    ]


def without_row_weights(resumed: Resumed) -> None:
    resumed.batches[:] = [[replace(row, weight=1.0) for row in batch] for batch in resumed.batches]


ABLATIONS: dict[str, Callable[[Resumed], None]] = {
    "weights": without_first_weights,
    "first moments": without_tensors("exp_avg/"),
    "second moments": without_tensors("exp_avg_sq/"),
    "count of updates": without_updates_counted,
    "schedule": without_schedule,
    "random state": without_random_state,
    "ledger cursor": without_cursor,
    "mixing": without_mixing,
    "row weights": without_row_weights,
}


@pytest.mark.parametrize("part", [None, *ABLATIONS])
def test_each_part_matters(
    make_model: MakeModel, make_row: MakeRow, tmp_path: Path, part: str | None
) -> None:
    batches = []
    for step in range(STEPS):
        rows = [make_row(step * 10 + n) for n in range(4)]
        batch = [TrainingRow(row.row_id, (row,)) for row in rows[:3]]
        batches.append([*batch, TrainingRow("mix", (rows[0], rows[3]), 0.4, 0.5)])
    whole = TrainingSession((make_model(), None), CONFIG, STEPS)
    train(whole, batches, tmp_path, every=KILLED)

    checkpoints = CheckpointFolder(tmp_path)
    middle = next(one for one in checkpoints.all() if one.step == KILLED)
    resumed = Resumed(
        TrainingSession((make_model(), None), CONFIG, STEPS), [list(b) for b in batches[KILLED:]], batches
    )
    resumed.session.load_state_dict(checkpoints.load(middle))
    if part is not None:
        ABLATIONS[part](resumed)
    for batch in resumed.batches:
        resumed.session.step(batch)
    found, expected = (one.state_dict()["tensors"] for one in (resumed.session, whole))
    is_same = all(torch.equal(found[name], expected[name]) for name in expected)
    assert is_same == (part is None)
