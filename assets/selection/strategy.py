"""What a strategy is, and what it gives back: a curriculum and what is to be said about it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from assets.ledger import Selection
    from assets.selection.config import CurriculumConfig
    from assets.selection.inputs import Inputs

Need = Literal["vectors", "texts", "features", "auxiliary", "reward", "training", "scores"]
"""What a strategy asks of its `Inputs`: `features` are the language model's own, `auxiliary` those of the
auxiliary model, `training` sessions of the language model, `scores` columns that a setting names."""


@dataclass(frozen=True)
class Curve:
    """Losses on the reward split over one training run: `losses[t]` after t steps, nats a token.

    Measured at every `measured_every`-th step and the last one; in between they stand still.
    """

    label: str
    losses: tuple[float, ...]
    measured_every: int = 1


def by_label(curves: Sequence[Curve]) -> dict[str, list[tuple[float, ...]]]:
    """Losses of curves by their label, in order."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for curve in curves:
        found.setdefault(curve.label, []).append(curve.losses)
    return found


@dataclass(frozen=True, eq=False)
class Chosen:
    """A curriculum and what is to be said about it.

    `facts` are JSON values for the lineage record; `excluded` counts rows that the strategy left out, by
    reason. `curves` are training runs on the way, `deployed` the one that belongs to the ledger.
    """

    selections: tuple["Selection", ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    excluded: Counter[str] = field(default_factory=Counter)
    curves: tuple[Curve, ...] = ()
    deployed: Curve | None = None


@dataclass(frozen=True)
class Strategy:
    """One way to choose what is trained on. `source` cites its paper, "" where there is none."""

    name: str
    title: str
    source: str
    dynamic: bool
    needs: frozenset[Need]
    settings: frozenset[str]  # fields of CurriculumConfig that it reads, beside those that all do
    select: Callable[["Inputs", "CurriculumConfig"], Chosen] = field(repr=False)
    columns: Callable[["CurriculumConfig"], tuple[str, ...]] = field(repr=False, default=lambda config: ())
    """Score columns that the settings name; "" among them is none."""

    def score_columns(self, config: "CurriculumConfig") -> tuple[str, ...]:
        """The score columns that this strategy will read."""
        return tuple(name for name in self.columns(config) if name)
