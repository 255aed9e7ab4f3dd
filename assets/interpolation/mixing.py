"""Interpolated rows as model inputs: two token sequences and λ, mixed exactly at training time.

MDIT §3: H = λ·H_a + (1-λ)·H_b at the embedding layer and Y = λ·Y_a + (1-λ)·Y_b. The paper does not say
how sequences of different lengths meet. Here they are aligned at the border between prompt and response:
prompts are padded on the left, responses on the right, so a response token meets a response token. Where
only one side has a token, that side alone carries the position with its real embedding, and its label
keeps its own weight (λ or 1-λ). A pair so aligned has no holes, and rows of a batch are padded on the
right only: under causal attention no mask is needed.

Nothing of size tokens x vocabulary is built: see label_loss.py for the labels' side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

ALIGNMENT = "response_border"


class TokenSequence(Protocol):
    """What is mixed: int32 ids (n,), bool trained (n,), and the place of the first response token."""

    @property
    def ids(self) -> np.ndarray:
        """Token ids, int32 (n,)."""

    @property
    def trained(self) -> np.ndarray:
        """Which tokens carry loss, bool (n,)."""

    @property
    def response_start(self) -> int:
        """The border: where the first response begins."""


@dataclass(frozen=True, eq=False, slots=True)
class AlignedRow:
    """One row of width n with k sides: k is 1 for an original row and 2 for an interpolated one.

    `ids` int64 (k, n); `coefficients` float32 (k, n), the weights of the embeddings, which sum to 1 at
    each place; `label_weights` float32 (k, n), the weight of predicting `ids[k, n]`, 0 where there is no
    label. Built by `align`.
    """

    ids: np.ndarray
    coefficients: np.ndarray
    label_weights: np.ndarray

    @property
    def width(self) -> int:
        """Tokens of the row."""
        return int(self.ids.shape[1])

    @property
    def label_weight(self) -> float:
        """The sum of the live label weights: what the loss of a step is normalised by."""
        return float(self.label_weights.sum(dtype=np.float64))


def sides(
    parents: Sequence[TokenSequence], mixing: float
) -> tuple[tuple[TokenSequence, ...], tuple[float, ...]]:
    """The parents that take part and their weights, the heavier first.

    `mixing` is λ, the weight of the first parent. λ = 1 is the first parent alone and λ = 0 the second:
    they take the path of an original row. (a, b, λ) and (b, a, 1-λ) give the same result to the last bit.
    """
    if not 0.0 <= mixing <= 1.0:
        raise ValueError(f"λ must lie in [0, 1], not {mixing}")
    if len(parents) == 1:
        if mixing != 1.0:
            raise ValueError(f"A row with one parent has λ = 1, not {mixing}")
        return tuple(parents), (1.0,)
    if len(parents) != 2:
        raise ValueError(f"A row has one parent or two, not {len(parents)}")
    first, second = parents
    if mixing < 0.5:
        first, second, mixing = second, first, 1.0 - mixing
    if mixing == 1.0:
        return (first,), (1.0,)
    return (first, second), (mixing, 1.0 - mixing)


def align(parents: Sequence[TokenSequence], mixing: float) -> AlignedRow:
    """Align the parents at the border between prompt and response; `mixing` is λ of the first parent."""
    chosen, weights = sides(parents, mixing)
    border = max(parent.response_start for parent in chosen)
    width = border + max(len(parent.ids) - parent.response_start for parent in chosen)
    ids = np.zeros((len(chosen), width), np.int64)
    live = np.zeros((len(chosen), width), bool)
    label_weights = np.zeros((len(chosen), width), np.float32)
    for side, (parent, weight) in enumerate(zip(chosen, weights, strict=True)):
        start = border - parent.response_start
        place = slice(start, start + len(parent.ids))
        ids[side, place] = parent.ids
        live[side, place] = True
        label_weights[side, place] = np.where(parent.trained, np.float32(weight), np.float32(0))
        label_weights[side, start] = 0.0  # nothing precedes a row's first token
    coefficients = live * np.array(weights, np.float32)[:, None]
    coefficients = np.where(live.sum(axis=0) == 1, live.astype(np.float32), coefficients)
    return AlignedRow(ids, coefficients, label_weights)


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Rows padded on the right: k sides, b rows, n places, m label places.

    `ids` int64 (k, b, n); `coefficients` float32 (k, b, n), or None where every row is an original;
    `label_places` int64 (m,), indices into the flattened (b·n) states that predict a label;
    `labels` int64 (k, m); `label_weights` float32 (k, m); `label_rows` int64 (m,), the row of each.
    `lengths` int64 (b,).
    """

    ids: torch.Tensor
    coefficients: torch.Tensor | None
    label_places: torch.Tensor
    labels: torch.Tensor
    label_weights: torch.Tensor
    label_rows: torch.Tensor
    lengths: torch.Tensor

    @property
    def tokens(self) -> int:
        """Real tokens of the batch, without padding; a mixed position counts once."""
        return int(self.lengths.sum())


def collate(
    rows: Sequence[AlignedRow],
    row_weights: Sequence[float] | None = None,
    device: torch.device | str = "cpu",
) -> Batch:
    """Put aligned rows into one batch. `row_weights` multiply the label weights of their rows."""
    kinds = max(row.ids.shape[0] for row in rows)
    width = max(row.width for row in rows)
    shape = (kinds, len(rows), width)
    ids = np.zeros(shape, np.int64)
    coefficients = np.zeros(shape, np.float32)
    coefficients[0] = 1.0
    weights = np.zeros(shape, np.float32)
    for place, row in enumerate(rows):
        here = (slice(0, row.ids.shape[0]), place, slice(0, row.width))
        ids[here] = row.ids
        coefficients[here] = row.coefficients
        scale = 1.0 if row_weights is None else row_weights[place]
        weights[here] = row.label_weights * np.float32(scale)
    # A label's place is where it is predicted: one to the left of the token itself.
    live = np.zeros(shape[1:], bool)
    for place, row in enumerate(rows):
        live[place, : row.width] = (row.label_weights > 0).any(axis=0)
    label_rows, label_columns = np.nonzero(live)
    return Batch(
        ids=torch.from_numpy(ids).to(device),
        coefficients=torch.from_numpy(coefficients).to(device) if kinds == 2 else None,
        label_places=torch.from_numpy(label_rows * width + label_columns - 1).to(device),
        labels=torch.from_numpy(ids[:, label_rows, label_columns]).to(device),
        label_weights=torch.from_numpy(weights[:, label_rows, label_columns]).to(device),
        label_rows=torch.from_numpy(label_rows).to(device),
        lengths=torch.tensor([row.width for row in rows], device=device),
    )


def mixed_embeddings(embedding: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """λ·E[a] + (1-λ)·E[b] through the model's own embedding module: (b, n, h) in the module's dtype.

    Gradients reach the module. The sum is taken in float32.
    """
    if batch.coefficients is None:
        plain: torch.Tensor = embedding(batch.ids[0])
        return plain
    first, second = embedding(batch.ids[0]), embedding(batch.ids[1])
    weights = batch.coefficients.unsqueeze(-1)
    return (weights[0] * first.float() + weights[1] * second.float()).to(first.dtype)
