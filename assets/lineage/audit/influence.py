"""Influence: how far the loss on the reward split fell in the steps that trained on a row.

A step's gain belongs to all its rows, and each row gets the part that its weight has in the step. This says in
which steps a row took part, not what would have happened without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.ledger_columns import LedgerColumns
from assets.selection.realised import FACT, gains_of_steps

REALISED, PROMISED = "realised", "promised"
_PROMISING_METHODS = frozenset({"gradient_alignment"})
"""Methods whose score is a fall of the loss, in nats a token, that a row's gradient promises."""


@dataclass(frozen=True, eq=False)
class Gains:
    """What is known of the gain of steps. `measure` is REALISED, PROMISED or None; `told` says it in words."""

    measure: str | None
    told: str
    reward_losses: Mapping[str, Any] | None = None

    def of_entries(self, ledger: LedgerColumns) -> NDArray[np.float64] | None:
        """The gain of each entry (n,), in nats a token; None where none is recorded.

        Raises ValueError where the record is of another number of steps than the ledger.
        """
        if self.measure == PROMISED:
            return np.asarray(ledger.numbers("score"), dtype=np.float64)
        if self.reward_losses is None:
            return None
        step, weight = ledger.numbers("step"), ledger.numbers("weight")
        gain = gains_of_steps(self.reward_losses, ledger.steps)
        return weight / np.bincount(step, weight)[step] * gain[step]


NO_GAINS = Gains(None, "none recorded: the strategy measured no loss on the reward split while it chose")


def gains_of(facts: Mapping[str, Any]) -> Gains:
    """The gains that the facts of a curriculum's lineage record hold."""
    if facts.get(FACT):
        return Gains(
            REALISED,
            "fall of the loss on the reward split in the steps that trained on it, by its part of their weight, "
            "nats a token",
            facts[FACT],
        )
    if facts.get("method") in _PROMISING_METHODS:
        return Gains(
            PROMISED,
            "promised, not realised: the fall of the loss on the reward split that its gradient promised when it "
            "was chosen, nats a token; no loss was measured",
        )
    return NO_GAINS
