"""The loss of reference responses by a model that is asked in parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.evaluation.loaded import LoadedModel
from assets.finetuning.encoding import Encoded
from assets.finetuning.scoring import (
    BATCH_TOKENS,
    Example,
    LossReport,
    batches_by_length,
    loss_report,
    response_log_probabilities,
)


def response_losses(
    model: LoadedModel,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    on_examples: Callable[[int], object] | None = None,
) -> LossReport:
    """What `scoring.response_loss` reports, of the same batches, each of them a part.

    `on_examples` gets the number of examples done since the last time. Raises ValueError where there is no
    example.
    """
    sums = np.zeros(len(examples), np.float64)
    batches = list(batches_by_length([len(example.encoded) for example in examples], batch_tokens))
    parts = (_OfResponses([examples[place].encoded for place in places], batch_tokens) for places in batches)
    for places, found in zip(batches, model.map(parts), strict=True):
        sums[places] = found
        if on_examples is not None:
            on_examples(len(places))
    return loss_report(examples, sums)


@dataclass(frozen=True, eq=False)
class _OfResponses:
    """log P of the responses of one batch, (l,) float64."""

    rows: Sequence[Encoded]
    batch_tokens: int

    def __call__(self, model: Any, tokenizer: Any) -> NDArray[np.float64]:
        return response_log_probabilities(model, self.rows, batch_tokens=self.batch_tokens)
