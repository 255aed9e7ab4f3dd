"""How two token sequences of different lengths meet in one interpolated row.

MDIT §3 adds sequences and labels of one shape; the paper does not say how sequences of different lengths
come to have one. `ALIGNMENTS` are five ways:

- response_border (default): aligned at the border between prompt and response, so that a response token
  meets a response token; prompts are padded on the left, responses on the right. Where only one side has
  a token, that side alone carries the place with its real embedding.
- response_border_scaled: as that, but a lone side's embedding is multiplied by its own weight too.
- shorter: aligned at the border, prompts cut on the left and responses on the right to the shorter of the
  two; every place has both sides.
- start: both begin at place 0; the longer goes on alone.
- start_scaled: as that, with a lone side's embedding multiplied by its own weight.

A label always keeps its own weight, λ or 1-λ. λ = 1 and λ = 0 are one parent alone, whole, whatever the
alignment. A pair so aligned has no holes, and rows of a batch are padded on the right only: under causal
attention no mask is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

RESPONSE_BORDER = "response_border"
SHORTER = "shorter"
ALIGNMENTS = (RESPONSE_BORDER, "response_border_scaled", SHORTER, "start", "start_scaled")


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
    each place, but for lone sides of a scaled alignment; `label_weights` float32 (k, n), the weight of
    predicting `ids[k, n]`, 0 where there is no label. Side k holds tokens from `starts[k]` to
    `ends[k] - 1`. `layer` is the decoder layer at whose entry the sides are mixed; 0 is the embedding
    layer. Built by `align`.
    """

    ids: np.ndarray
    coefficients: np.ndarray
    label_weights: np.ndarray
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    layer: int = 0

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


def align(
    parents: Sequence[TokenSequence], mixing: float, alignment: str = RESPONSE_BORDER, layer: int = 0
) -> AlignedRow:
    """Lay the parents over each other; `mixing` is λ of the first parent.

    Raises ValueError where λ lies outside [0, 1], and for an unknown alignment or a negative layer.
    """
    if alignment not in ALIGNMENTS:
        raise ValueError(f"alignment is one of {', '.join(ALIGNMENTS)}, not {alignment!r}")
    if layer < 0:
        raise ValueError(f"A layer is 0 or more, not {layer}")
    chosen, weights = sides(parents, mixing)
    parts = [(0, len(parent.ids)) for parent in chosen]  # of each parent, the tokens that take part
    borders = [parent.response_start for parent in chosen]
    if alignment == SHORTER:
        prompt = min(borders)
        response = min(end - border for (_, end), border in zip(parts, borders, strict=True))
        parts = [(border - prompt, border + response) for border in borders]
        borders = [prompt] * len(chosen)
    if alignment in ("start", "start_scaled"):
        starts = tuple(0 for _ in chosen)
    else:
        starts = tuple(max(borders) - border for border in borders)
    ends = tuple(start + last - first for start, (first, last) in zip(starts, parts, strict=True))
    shape = (len(chosen), max(ends))
    ids = np.zeros(shape, np.int64)
    live = np.zeros(shape, bool)
    label_weights = np.zeros(shape, np.float32)
    for side, (parent, weight) in enumerate(zip(chosen, weights, strict=True)):
        start, place, part = starts[side], slice(starts[side], ends[side]), slice(*parts[side])
        ids[side, place] = parent.ids[part]
        live[side, place] = True
        label_weights[side, place] = np.where(parent.trained[part], np.float32(weight), np.float32(0))
        label_weights[side, start] = 0.0  # nothing precedes a row's first token
    coefficients = live * np.array(weights, np.float32)[:, None]
    if not alignment.endswith("_scaled"):
        coefficients = np.where(live.sum(axis=0) == 1, live.astype(np.float32), coefficients)
    return AlignedRow(ids, coefficients, label_weights, starts, ends, layer=layer if len(chosen) == 2 else 0)
