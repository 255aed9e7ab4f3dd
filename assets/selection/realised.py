"""The realised gain of a step: how far the loss on the reward split fell while the strategy trained on its rows.

Only a strategy that trains on the way and measures that split has one. What it measured is recorded with the
curriculum, at the steps at which it was measured, so that an audit invents nothing in between.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FACT = "reward_losses"
"""The name of the record among the curriculum's facts; null where nothing was measured."""


def measured_losses(losses: Sequence[float], measured_every: int) -> dict[str, Any]:
    """The record of a run: losses (T + 1,) after 0 to T steps, in nats a token, measured at every
    `measured_every`-th step and the last one, as JSON values without what stood still in between."""
    last = len(losses) - 1
    after = sorted({*range(0, last + 1, measured_every), last})
    return {"after_steps": after, "losses": [float(losses[step]) for step in after]}


def gains_of_steps(record: Mapping[str, Any], steps: int) -> NDArray[np.float64]:
    """The gain of each step (T,), in nats a token: above 0 where the loss fell.

    What was gained between two measurements is shared evenly by the steps between them. The sum is the fall of
    the loss from the first measurement to the last. Raises ValueError where the record is not of `steps` steps.
    """
    after = np.asarray(record["after_steps"], dtype=np.int64)
    losses = np.asarray(record["losses"], dtype=np.float64)
    if len(after) != len(losses) or after[0] != 0 or after[-1] != steps or (np.diff(after) <= 0).any():
        raise ValueError(f"losses measured after {after.tolist()} steps are not those of {steps} steps")
    length = np.diff(after)
    return np.repeat(-np.diff(losses) / length, length)
