"""The part of RAISE's state that stays the same from step to step (RAISE eq. 3 and 4).

Four measures of difficulty, taken with an auxiliary model, and 32 semantic dimensions pooled from its
hidden states. The model passes are made elsewhere; plain arrays come in, in the order of the pool.
The paper leaves open whether log P is a sum or a mean per token: both are kept, and the state uses the
mean by default, since a sum mostly repeats the length.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.errors import SultanaError

DIFFICULTY = ("instruction_length", "response_length", "log_p_response_given_instruction", "log_p_response")
_SPREAD = 1e-6
"""A column whose deviation is below this share of the block's largest value says nothing: it becomes 0."""


@dataclass(frozen=True, eq=False)
class Features:
    """Static features of N rows.

    `static` (N, 4 + semantic dimensions) float32 is what the acquisition function sees. The log-probability
    arrays (N, 2) float64 hold log P(y|x) and log P(y), in nats, before scaling.
    """

    static: NDArray[np.float32]
    names: tuple[str, ...]
    log_probability_sums: NDArray[np.float64]
    log_probability_means: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.static)


def build_features(
    instruction_lengths: ArrayLike,
    response_lengths: ArrayLike,
    conditional: ArrayLike,
    unconditional: ArrayLike,
    hidden_states: ArrayLike,
    *,
    semantic_dimensions: int = 32,
    pooling: Literal["adaptive", "pca"] = "adaptive",
    per_token: bool = True,
    standardise: bool = True,
) -> Features:
    """Difficulty and semantic features of N rows.

    `instruction_lengths`, `response_lengths` (N,): tokens of x (0 or more) and y (1 or more).
    `conditional`, `unconditional` (N,): log P(y|x) and log P(y) summed over the tokens of y, in nats.
    `hidden_states` (N, H): mean of the last layer's hidden states over the tokens of x and y.
    `standardise`: lengths as log(1 + n), every column with mean 0 and deviation 1; otherwise the raw values
    of eq. 3, which differ in scale by a thousand.
    Raises SultanaError where shapes differ, a value is not finite, or a log-probability is above 0.
    """
    columns = {
        "instruction_lengths": np.asarray(instruction_lengths, dtype=np.float64),
        "response_lengths": np.asarray(response_lengths, dtype=np.float64),
        "conditional": np.asarray(conditional, dtype=np.float64),
        "unconditional": np.asarray(unconditional, dtype=np.float64),
    }
    rows = columns["response_lengths"].size
    for name, column in columns.items():
        if column.shape != (rows,):
            raise SultanaError(
                f"Feature {name} has shape {column.shape}; expected ({rows},)", "Give one number a row"
            )
        _check_finite(name, column)
    if rows == 0:
        raise SultanaError("Features of no rows were asked for", "Give at least one row")
    if columns["instruction_lengths"].min() < 0 or columns["response_lengths"].min() < 1:
        raise SultanaError(
            "An instruction has fewer than 0 tokens or a response fewer than 1",
            "Leave rows without a trainable token out of the pool",
        )
    sums = np.stack([columns["conditional"], columns["unconditional"]], axis=1)
    if sums.max() > 1e-3:
        row, column_index = np.unravel_index(int(sums.argmax()), sums.shape)
        raise SultanaError(
            f"Row {row} has log-probability {sums[row, column_index]:.4g}; expected 0 or less",
            "Give log P(y|x) and log P(y) in nats, not losses",
        )
    means = sums / columns["response_lengths"][:, None]
    lengths = np.stack([columns["instruction_lengths"], columns["response_lengths"]], axis=1)
    log_probabilities = means if per_token else sums
    semantic = semantic_features(hidden_states, semantic_dimensions, pooling)
    if len(semantic) != rows:
        raise SultanaError(
            f"There are {len(semantic):,} hidden states for {rows:,} rows", "Give one hidden state a row"
        )
    difficulty = np.concatenate([np.log1p(lengths) if standardise else lengths, log_probabilities], axis=1)
    if standardise:
        # A column at a time: the four measures have unlike units.
        difficulty = np.concatenate([z_scores(difficulty[:, [i]]) for i in range(4)], axis=1)
        semantic = z_scores(semantic)
    names = DIFFICULTY + tuple(f"semantic_{i}" for i in range(semantic_dimensions))
    static = np.concatenate([difficulty, semantic], axis=1).astype(np.float32)
    static.setflags(write=False)
    return Features(static, names, sums, means)


def semantic_features(
    hidden_states: ArrayLike, dimensions: int = 32, pooling: Literal["adaptive", "pca"] = "adaptive"
) -> NDArray[np.float64]:
    """Hidden states (N, H) pooled to (N, dimensions) float64 (RAISE eq. 4).

    "adaptive" averages neighbouring dimensions as adaptive average pooling does: the paper's pooling layer
    taken literally. "pca" keeps the directions of largest variance, most variance first, the sign of each
    fixed by its largest loading; directions beyond the rank of the data are 0.
    """
    states = np.asarray(hidden_states, dtype=np.float64)
    if states.ndim != 2 or states.shape[1] < 1:
        raise SultanaError(
            f"Hidden states have shape {states.shape}; expected (rows, hidden size)",
            "Give the mean hidden state of every row",
        )
    _check_finite("hidden_states", states)
    if pooling == "adaptive":
        width = states.shape[1]
        bins = np.arange(dimensions)
        starts = bins * width // dimensions
        ends = -(-(bins + 1) * width // dimensions)
        running = np.concatenate([np.zeros((len(states), 1)), np.cumsum(states, axis=1)], axis=1)
        return (running[:, ends] - running[:, starts]) / (ends - starts)
    if pooling == "pca":
        return _principal_components(states, dimensions)
    raise SultanaError(f"Semantic pooling is {pooling!r}", "Use adaptive or pca")


def z_scores(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns (N, d) with mean 0 and deviation 1; a column that is constant but for rounding becomes 0."""
    centred = columns - columns.mean(axis=0)
    deviations = centred.std(axis=0)
    constant = deviations <= _SPREAD * max(float(np.abs(columns).max()), 1e-300)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviations))


def _principal_components(states: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    if dimensions > states.shape[1]:
        raise SultanaError(
            f"Hidden states of {states.shape[1]} dimensions do not have {dimensions} principal components",
            "Lower semantic_dimensions or use adaptive pooling",
        )
    centred = states - states.mean(axis=0)
    # Of the H x H covariance: N may be large, H is at most a few thousand.
    variances, directions = np.linalg.eigh(centred.T @ centred / len(states))
    kept = directions[:, ::-1][:, :dimensions]
    largest = np.abs(kept).argmax(axis=0)
    signs = np.where(kept[largest, np.arange(dimensions)] < 0, -1.0, 1.0)
    components = centred @ (kept * signs)
    explained = variances[::-1][:dimensions] > 1e-12 * max(float(variances[-1]), 1e-300)
    return np.where(explained, components, 0.0)


def _check_finite(name: str, values: NDArray[Any]) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        raise SultanaError(
            f"Row {wrong[0][0]} of {name} is {values[tuple(wrong[0])]}; expected a finite number",
            "Find out why the auxiliary model gave no finite value for this row, or leave the row out",
        )
