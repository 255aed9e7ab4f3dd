"""Whether the losses of a training are finite and of a size that a language model has."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from assets.outcome import Outcome

if TYPE_CHECKING:
    from assets.finetuning.loop import TrainingResult

Losses = Mapping[str, float | None]
"""Name -> nats a token; None where the loss is not finite, which JSON has no number for."""


def recorded_losses(result: "TrainingResult", reward: Sequence[tuple[int, float]]) -> Losses:
    """The losses that a checkpoint is judged by: the largest and last of each curve. `reward` is by steps taken."""
    curves = {
        "training": [one.loss for one in result.steps],
        "early_stopping": [loss for _, loss in result.measures],
        "reward": [loss for _, loss in reward],
    }
    found: dict[str, float | None] = {}
    for name, values in curves.items():
        if values:
            finite = all(math.isfinite(one) for one in values)
            found[f"largest_{name}_loss"] = max(values) if finite else None
            found[f"last_{name}_loss"] = values[-1] if math.isfinite(values[-1]) else None
    return found


def losses_finite(losses: Losses, maximum: float) -> Outcome:
    """Whether every loss is finite, and the last of each curve at most `maximum` nats a token."""
    broken = sorted(name for name, loss in losses.items() if loss is None)
    high = sorted(
        name
        for name, loss in losses.items()
        if loss is not None and name.startswith("last_") and loss > maximum
    )
    wrong = [f"{name.replace('_', ' ')} is not finite" for name in broken]
    wrong += [f"{name.replace('_', ' ')} is {losses[name]:.2f}" for name in high]
    shown = ", ".join(
        f"{name.replace('_', ' ')} {loss:.4f}" for name, loss in losses.items() if loss is not None
    )
    return Outcome(
        bool(losses) and not wrong,
        {
            **{name: "not finite" if loss is None else loss for name, loss in losses.items()},
            "last_loss_at_most": maximum,
        },
        ("; ".join(wrong) or shown or "No loss is recorded") + f" (nats a token; {maximum:g} is allowed)",
        "Train again with a smaller learning rate or a warm-up (training.learning_rate of checkpoint), or in float32 "
        "(language_model.dtype); materialize the checkpoint again where none is recorded",
    )
