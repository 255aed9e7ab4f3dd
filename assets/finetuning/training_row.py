"""What a training step is given, and what it tells."""

from dataclasses import dataclass

from assets.finetuning.encoding import Encoded
from assets.interpolation.alignment import ALIGNMENTS, RESPONSE_BORDER
from resources.errors import SultanaError


@dataclass(frozen=True, eq=False, slots=True)
class TrainingRow:
    """One slot of a batch: an original row (one parent) or an interpolated one (two).

    `mixing` is λ, the weight of `parents[0]`: 1.0 for originals. `weight` multiplies the row's loss.
    `alignment` and `layer` say how and where two parents are mixed (interpolation/alignment.py).
    """

    row_id: str
    parents: tuple[Encoded, ...]
    mixing: float = 1.0
    weight: float = 1.0
    alignment: str = RESPONSE_BORDER
    layer: int = 0  # 0: the embedding layer; k: the states that enter decoder layer k

    def __post_init__(self) -> None:
        if self.alignment not in ALIGNMENTS or self.layer < 0:
            raise SultanaError(
                f"Row {self.row_id} cannot be mixed at layer {self.layer}, aligned as {self.alignment!r}",
                f"Choose a layer from 0 on, and an alignment among {', '.join(ALIGNMENTS)}",
                code="setting-out-of-bounds",
            )


@dataclass(frozen=True)
class StepMetrics:
    """What one optimizer step reports. `step` counts from 0."""

    step: int
    loss: float  # weighted mean over live labels, before the update, nats
    tokens: int  # real tokens; a mixed position counts once
    seconds: float
    gradient_norm: float  # before clipping
    learning_rate: float
