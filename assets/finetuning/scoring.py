"""What a model scores on held-out rows: the loss of reference responses, and log-probabilities.

Deterministic: the batches depend on the rows' lengths only, the model is in evaluation mode and nothing is
drawn, so the same weights give the same number every time. Products run in the dtype of the weights; sums
over tokens are float64, results float32 or better.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assets.finetuning.encoding import Encoded
from assets.finetuning.forward import Decoder
from assets.finetuning.frozen_states import FrozenStates
from assets.interpolation.alignment import align
from assets.interpolation.mixing import collate

BATCH_TOKENS = 2048
"""Places of a batch, padding included: enough to keep two cores busy, at most some 100 MB of states."""

PADDED = 0.25
"""Largest share of padding in a row's line: with it unbounded, 24 Alpaca rows of 1,854 tokens took 3,518 places
and 1.6 times the time."""


@dataclass(frozen=True, eq=False)
class Example:
    """A benchmark row: `encoded` is its prompt and reference response; `answer` is for exact match."""

    example_id: str
    task: str
    encoded: Encoded
    answer: str | None = None


@dataclass(frozen=True, eq=False)
class LossReport:
    """Held-out loss in nats a token.

    `mean` is the mean over tasks, each with equal weight, of `per_task`, the mean over a task's response
    tokens. `per_example` is float64 (n,), the mean over each example's tokens, in the order given.
    """

    mean: float
    per_task: dict[str, float]
    per_example: np.ndarray
    examples: dict[str, int]
    tokens: int


@dataclass(frozen=True, eq=False)
class SequenceScores:
    """Log-probabilities of n rows, in the order given (RAISE §3.3, eq. 3 and 4).

    `given_prompt` float32 (n,): log P(y|x), summed over the row's trained tokens, and `alone` float32
    (n,): log P(y), of the same tokens without the prompt. `tokens` int64 (n,): how many. `hidden` float32
    (n, h): the mean of the last layer's states over prompt and response.
    """

    given_prompt: np.ndarray
    alone: np.ndarray
    tokens: np.ndarray
    hidden: np.ndarray


def batches_by_length(lengths: Sequence[int], batch_tokens: int = BATCH_TOKENS) -> Iterator[list[int]]:
    """Places of rows, longest first, in batches of at most `batch_tokens` places (or of one row).

    A batch ends before the first row that would be more than `PADDED` padding.
    """
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        count = max(1, batch_tokens // longest)
        batch = [place for place in order[start : start + count] if lengths[place] >= (1 - PADDED) * longest]
        yield batch
        start += len(batch)


def response_loss(
    model: Any,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    autocast: torch.dtype | None = None,
    frozen: FrozenStates | None = None,
) -> LossReport:
    """The mean token loss of the reference responses (RAISE's P(M) = -loss, appendix A.2).

    `model` is a causal language model, for instance `TrainingSession.model`; `autocast` the dtype of
    products where its weights are float32; `frozen` has the states below its first trained layer.
    Raises ValueError where there is no example.
    """
    sums, _ = _log_probabilities(
        Decoder(model, autocast, first_trained=frozen.first if frozen else 0),
        [example.encoded for example in examples],
        batch_tokens,
        hidden=False,
        frozen=frozen,
    )
    return loss_report(examples, sums)


def response_log_probabilities(
    model: Any, rows: Sequence[Encoded], *, batch_tokens: int = BATCH_TOKENS
) -> np.ndarray:
    """log P(y|x) of each row, summed over its trained tokens, float64 (n,), in the order given."""
    return _log_probabilities(Decoder(model), rows, batch_tokens, hidden=False)[0]


def loss_report(examples: Sequence[Example], sums: np.ndarray) -> LossReport:
    """The report on examples whose responses have the log-probabilities `sums`, float64 (n,).

    Raises ValueError where there is no example.
    """
    if not examples:
        raise ValueError("There is no example to score")
    counts = np.array([example.encoded.trained_tokens for example in examples], np.int64)
    tasks = sorted({example.task for example in examples})
    per_task, numbers = {}, {}
    for task in tasks:
        mine = np.array([example.task == task for example in examples])
        per_task[task] = float(-sums[mine].sum() / counts[mine].sum())
        numbers[task] = int(mine.sum())
    mean = float(np.mean(list(per_task.values())))
    return LossReport(mean, per_task, -sums / counts, numbers, int(counts.sum()))


def sequence_log_probabilities(
    model: Any,
    rows: Sequence[Encoded],
    *,
    batch_tokens: int = BATCH_TOKENS,
    autocast: torch.dtype | None = None,
) -> SequenceScores:
    """log P(y|x), log P(y) and the mean state of each row, by two forwards.

    The response alone is preceded by one token, the last one before it: a fixed piece of the chat
    template, so no text of the prompt is seen and both sums run over the same tokens.
    """
    decoder = Decoder(model, autocast)
    given, hidden = _log_probabilities(decoder, rows, batch_tokens, hidden=True)
    alone, _ = _log_probabilities(decoder, [_response_only(row) for row in rows], batch_tokens, hidden=False)
    tokens = np.array([row.trained_tokens for row in rows], np.int64)
    return SequenceScores(given.astype(np.float32), alone.astype(np.float32), tokens, hidden)


def _response_only(row: Encoded) -> Encoded:
    start = row.response_start - 1
    return Encoded(row.row_id, row.ids[start:], row.trained[start:], 1)


def _log_probabilities(
    decoder: Decoder,
    rows: Sequence[Encoded],
    batch_tokens: int,
    *,
    hidden: bool,
    frozen: FrozenStates | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of label log-probabilities, float64 (n,), and mean states, float32 (n, h) or (n, 0)."""
    width = decoder.embedding.weight.shape[1] if hidden else 0
    sums = np.zeros(len(rows), np.float64)
    means = np.zeros((len(rows), width), np.float32)
    was_training = decoder.model.training
    decoder.model.eval()
    try:
        with torch.no_grad():
            for places in batches_by_length([len(row) for row in rows], batch_tokens):
                aligned = [align((rows[place],), 1.0) for place in places]
                batch = collate(aligned, device=decoder.device)
                if frozen is not None:
                    batch = frozen.put_into(batch, aligned)
                states = decoder.states(batch)
                found = decoder.log_probabilities(batch, states)[0].double()
                total = torch.zeros(len(places), dtype=torch.float64, device=found.device)
                sums[places] = total.index_add(0, batch.label_rows, found).cpu().numpy()
                if hidden:
                    real = torch.arange(states.shape[1], device=states.device) < batch.lengths[:, None]
                    summed = (states.float() * real[..., None]).sum(1)
                    means[places] = (summed / batch.lengths[:, None]).cpu().numpy()
    finally:
        decoder.model.train(was_training)
    return sums, means
