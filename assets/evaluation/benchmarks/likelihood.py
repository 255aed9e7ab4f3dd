"""Log-probabilities of continuations given contexts, for multiple choice.

Batched by length in the dtype of the weights. Prompts that are shared are computed once (`prefix_lines`),
only states that predict a token of a continuation are projected to the vocabulary, and the softmax is
float32. A model that cannot be taken apart like that (its logits are scaled, its attention takes no mask of
ours, it keeps a running state) is found out by a small trial and run whole, one sequence a row.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from assets.evaluation.benchmarks.prefix_lines import Line, lay_out
from assets.evaluation.loaded import LoadedModel, in_evaluation
from assets.finetuning.scoring import batches_by_length
from resources.errors import SultanaError

PROJECTED = 512
"""States projected to the vocabulary at once: 100 MB of float32 logits for 49,152 words."""

TOLERANCE = {torch.float32: 1e-3}
"""Largest relative difference of logits in the trial (Frobenius norm); in other dtypes 0.05."""

Score = tuple[float, bool]
"""Log-probability of a continuation in nats, and whether greedy decoding would give it."""


def log_likelihoods(
    model: LoadedModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    maximum_length: int,
    batch_tokens: int,
    on_pairs: Callable[[int], object] | None = None,
    apart: bool | None = None,
) -> list[Score]:
    """The score of each (context, continuation), token ids, in the order given.

    A pair of more than `maximum_length` + 1 tokens loses the first ones, as in the harness. `batch_tokens`
    bounds the places of a forward pass, each of which is a part; `on_pairs` gets the number of pairs done since
    the last time; `apart` is what `can_be_taken_apart` says of the model, where that is known.
    Raises SultanaError where a continuation is empty or longer than `maximum_length`, or a context empty.
    """
    for context, continuation in pairs:
        if not context or not 0 < len(continuation) <= maximum_length:
            raise SultanaError(
                f"A choice of {len(continuation)} tokens after a prompt of {len(context)} cannot be scored",
                f"Both need a token, and a choice at most {maximum_length}, the model's longest input",
                code="benchmark-question-unusable",
            )
    # What predicts the first token of a continuation is the last of its context.
    inputs = [
        tuple((*context, *continuation)[-(maximum_length + 1) :][:-1]) for context, continuation in pairs
    ]
    if apart is None:
        apart = model.ask(taken_apart)
    lines, found = lay_out(inputs, shared=apart)
    wanted: list[list[tuple[int, int, int]]] = [[] for _ in lines]
    for number, (sequence, (_, continuation)) in enumerate(zip(inputs, pairs, strict=True)):
        line, places = found[sequence]
        for place, token in zip(places[-len(continuation) :], continuation, strict=True):
            wanted[line].append((int(place), int(token), number))
    sums = np.zeros(len(pairs))
    greedy = np.ones(len(pairs), np.bool_)
    batches = [
        (
            [lines[line] for line in batch],
            [(row, *one) for row, line in enumerate(batch) for one in wanted[line]],
        )
        for batch in batches_by_length([len(line.ids) for line in lines], batch_tokens)
    ]
    parts = (_Batch(batch, rows, apart) for batch, rows in batches)
    for (_, rows), scored in zip(batches, model.map(parts), strict=True):
        for numbers, values, first in scored:
            np.add.at(sums, numbers, values)
            np.logical_and.at(greedy, numbers, first)
        if on_pairs is not None:
            on_pairs(len({number for *_, number in rows}))
    return [(float(total), bool(first)) for total, first in zip(sums, greedy, strict=True)]


@dataclass(frozen=True, eq=False)
class _Batch:
    """The scores of one forward pass."""

    lines: Sequence[Line]
    rows: Sequence[tuple[int, int, int, int]]
    apart: bool

    def __call__(self, model: Any, tokenizer: Any) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        with in_evaluation(model):
            return list(_scores(model, self.lines, self.rows, self.apart))


def taken_apart(model: Any, tokenizer: Any) -> bool:
    """`can_be_taken_apart`, as a part."""
    with in_evaluation(model):
        return can_be_taken_apart(model)


def _scores(
    model: Any, lines: Sequence[Line], rows: Sequence[tuple[int, int, int, int]], apart: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each (row, place, token, pair): pair, log-probability (float64) and whether it is the likeliest."""
    outputs = _outputs(model, lines, apart)
    width = outputs.shape[1]
    where, which = np.unique([row * width + place for row, place, _, _ in rows], return_inverse=True)
    tokens = np.array([token for _, _, token, _ in rows], np.int64)
    numbers = np.array([number for *_, number in rows], np.int64)
    flat = outputs.flatten(0, 1)
    for start in range(0, len(where), PROJECTED):
        states = flat[torch.as_tensor(where[start : start + PROJECTED], device=flat.device)]
        logits = (model.get_output_embeddings()(states) if apart else states).float()
        mine = np.flatnonzero((which >= start) & (which < start + PROJECTED))
        places = torch.as_tensor(which[mine] - start, device=flat.device)
        asked = torch.as_tensor(tokens[mine], device=flat.device)
        values = logits[places, asked] - logits.logsumexp(-1)[places]
        first = logits.argmax(-1)[places] == asked
        yield numbers[mine], values.double().cpu().numpy(), first.cpu().numpy()


def _outputs(model: Any, lines: Sequence[Line], apart: bool) -> torch.Tensor:
    """The last states of a batch of lines, (l, n, h), or its logits, (l, n, v), where not taken `apart`."""
    device = model.get_input_embeddings().weight.device
    width = max(len(line.ids) for line in lines)
    ids = np.zeros((len(lines), width), np.int64)
    positions = np.zeros_like(ids)
    real = np.zeros_like(ids)
    for row, line in enumerate(lines):
        ids[row, : len(line.ids)], positions[row, : len(line.ids)] = line.ids, line.positions
        real[row, : len(line.ids)] = 1
    given = torch.as_tensor(ids, device=device)
    if not apart:
        # Padding is on the right, where causal attention does not look; a running state passes it last.
        out = model(input_ids=given, attention_mask=torch.as_tensor(real, device=device), use_cache=False)
        return out.logits
    if not any(line.branches for line in lines):
        return model.get_decoder()(input_ids=given, use_cache=False).last_hidden_state
    mask = np.stack([line.mask(width) for line in lines])[:, None]
    return (
        model.get_decoder()(
            input_ids=given,
            position_ids=torch.as_tensor(positions, device=device),
            attention_mask=torch.as_tensor(mask, device=device),
            use_cache=False,
        )
    ).last_hidden_state


@torch.no_grad()
def can_be_taken_apart(model: Any) -> bool:
    """Whether branches on one line, and the head alone, give what the model gives for each sequence.

    Four small forward passes of a model that is not in training.
    """
    body = model.get_decoder() if hasattr(model, "get_decoder") else None
    if body is None or body is model or model.get_output_embeddings() is None:
        return False
    vocabulary = model.get_input_embeddings().weight.shape[0]
    trunk = tuple(range(5, 13))
    branches = [tuple(one % vocabulary for one in (*trunk, *tail)) for tail in ((3, 4), (2, 1), (2, 0, 7))]
    lines, found = lay_out(branches)
    try:
        states = _outputs(model, lines, apart=True)
        together = model.get_output_embeddings()(states).float()
    except (TypeError, ValueError, RuntimeError):  # the model takes no such mask or positions
        return False
    tolerance = TOLERANCE.get(states.dtype, 0.05)
    for sequence in branches:
        line, places = found[sequence]
        device = states.device
        alone = model(input_ids=torch.tensor([sequence], device=device), use_cache=False).logits[0].float()
        there = together[line, torch.as_tensor(places, device=device)]
        if (there - alone).norm() > tolerance * (alone - alone.mean()).norm():
            return False
    return True
