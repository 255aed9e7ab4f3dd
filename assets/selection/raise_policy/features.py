"""The part of RAISE's state that stays the same from step to step (RAISE eq. 3 and 4).

Four measures of difficulty, taken with an auxiliary model, and 32 semantic dimensions pooled from its
hidden states. The model passes are made elsewhere; plain arrays come in, in the order of the pool.
The paper leaves open whether log P is a sum or a mean per token: both are kept, and the state uses the
mean by default, since a sum mostly repeats the length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.errors import SultanaError

DIFFICULTY = ("instruction_length", "response_length", "log_p_response_given_instruction", "log_p_response")
_ROWS_AT_ONCE = 16_384
_SPREAD = 1e-6
"""A column whose deviation is below this share of the block's largest value says nothing: it becomes 0."""


@dataclass(frozen=True)
class FeatureLayout:
    """What the columns of features mean: two pools' rows are alike to a policy where this is the same."""

    names: tuple[str, ...]
    pooling: str  # of the hidden states
    per_token: bool
    standardise: bool


@dataclass(frozen=True, eq=False)
class Scaling:
    """How columns were scaled: (value - mean) / deviation, float64 (columns,); a column of deviation 0 is 0."""

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Features:
    """Static features of N rows.

    `static` (N, 4 + semantic dimensions + extra ones) float32 is what the acquisition function sees. The
    log-probability arrays (N, 2) float64 hold log P(y|x) and log P(y), in nats, before scaling.
    """

    static: NDArray[np.float32]
    log_probability_sums: NDArray[np.float64]
    log_probability_means: NDArray[np.float64]
    layout: FeatureLayout
    scaling: Scaling

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.layout.names

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
    extra: ArrayLike | None = None,
    extra_names: Sequence[str] = (),
    scaling: Scaling | None = None,
) -> Features:
    """Difficulty and semantic features of N rows.

    `instruction_lengths`, `response_lengths` (N,): tokens of x (0 or more) and y (1 or more).
    `conditional`, `unconditional` (N,): log P(y|x) and log P(y) summed over the tokens of y, in nats.
    `hidden_states` (N, H): mean of the last layer's hidden states over the tokens of x and y.
    `standardise`: lengths as log(1 + n), every column with mean 0 and deviation 1 over these rows, or scaled as
    another pool's were (`scaling`); otherwise the raw values of eq. 3, which differ in scale by a thousand.
    `extra` (N, k), named `extra_names`: columns beyond the paper's 39 that the policy is to see as well (the
    value of another scorer, say); they come after the others and are standardised as they are.
    Raises SultanaError where shapes differ, a value is not finite, or a log-probability is above 0.
    """
    lengths, sums = _difficulty(instruction_lengths, response_lengths, conditional, unconditional)
    rows = len(sums)
    means = sums / lengths[:, [1]]
    semantic = semantic_features(hidden_states, semantic_dimensions, pooling)
    if len(semantic) != rows:
        raise SultanaError(
            f"There are {len(semantic):,} hidden states for {rows:,} rows",
            "Give one hidden state a row",
            code="shapes-differ",
        )
    names = (*DIFFICULTY, *(f"semantic_{i}" for i in range(semantic_dimensions)), *extra_names)
    others = _extra_columns(extra, names, rows, len(extra_names))
    if standardise:
        lengths = np.log1p(lengths)
    # Each measure of difficulty and each extra column has a unit of its own; the semantic ones share theirs.
    single = [*lengths.T, *(means if per_token else sums).T]
    blocks = [column[:, None] for column in single] + [semantic] + [column[:, None] for column in others.T]
    if not standardise:
        scaling = Scaling(np.zeros(len(names)), np.ones(len(names)))
    if scaling is None:
        parts = [scaling_of(block) for block in blocks]
        scaling = Scaling(
            np.concatenate([part.means for part in parts]),
            np.concatenate([part.deviations for part in parts]),
        )
    elif len(scaling.means) != len(names):
        raise SultanaError(
            f"The scaling given is of {len(scaling.means)} columns; there are {len(names)}",
            "Give the scaling of features with the same columns, or none",
            code="shapes-differ",
        )
    static = np.empty((rows, len(names)), dtype=np.float32)
    columns = (block[:, i] for block in blocks for i in range(block.shape[1]))
    for place, column in enumerate(columns):
        deviation = scaling.deviations[place]
        static[:, place] = (column - scaling.means[place]) / deviation if deviation else 0.0
    static.setflags(write=False)
    return Features(static, sums, means, FeatureLayout(names, pooling, per_token, standardise), scaling)


def scaling_of(columns: NDArray[np.float64]) -> Scaling:
    """Means and deviations of columns (N, d) of one unit; a column that is constant but for rounding has 0."""
    means, deviations = columns.mean(axis=0), columns.std(axis=0)
    largest = max(float(np.abs(columns).max(initial=0.0)), 1e-300)
    return Scaling(means, np.where(deviations <= _SPREAD * largest, 0.0, deviations))


def _difficulty(
    instruction_lengths: ArrayLike,
    response_lengths: ArrayLike,
    conditional: ArrayLike,
    unconditional: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lengths (N, 2) and sums of log-probabilities (N, 2), checked."""
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
                f"Feature {name} has shape {column.shape}; expected ({rows},)",
                "Give one number a row",
                code="shapes-differ",
            )
        _check_finite(name, column)
    if rows == 0:
        raise SultanaError("Features of no rows were asked for", "Give at least one row", code="pool-empty")
    if columns["instruction_lengths"].min() < 0 or columns["response_lengths"].min() < 1:
        raise SultanaError(
            "An instruction has fewer than 0 tokens or a response fewer than 1",
            "Leave rows without a trainable token out of the pool",
            code="row-value-invalid",
        )
    sums = np.stack([columns["conditional"], columns["unconditional"]], axis=1)
    if sums.max() > 1e-3:
        row, column_index = np.unravel_index(int(sums.argmax()), sums.shape)
        raise SultanaError(
            f"Row {row} has log-probability {sums[row, column_index]:.4g}; expected 0 or less",
            "Give log P(y|x) and log P(y) in nats, not losses",
            code="row-value-invalid",
        )
    return np.stack([columns["instruction_lengths"], columns["response_lengths"]], axis=1), sums


def _extra_columns(
    extra: ArrayLike | None, names: tuple[str, ...], rows: int, count: int
) -> NDArray[np.float64]:
    columns = np.zeros((rows, 0)) if extra is None else np.asarray(extra, dtype=np.float64)
    if columns.shape != (rows, count):
        raise SultanaError(
            f"Extra features have shape {columns.shape}; expected ({rows}, {count}) for {count} names",
            "Give one column for each name and one row for each row of the pool",
            code="shapes-differ",
        )
    if len(set(names)) != len(names):
        raise SultanaError(
            f"Two features have the same name among {', '.join(names)}",
            "Rename the extra feature",
            code="name-twice",
        )
    _check_finite("the extra features", columns)
    return columns


def semantic_features(
    hidden_states: ArrayLike, dimensions: int = 32, pooling: Literal["adaptive", "pca"] = "adaptive"
) -> NDArray[np.float64]:
    """Hidden states (N, H) pooled to (N, dimensions) float64 (RAISE eq. 4).

    "adaptive" averages neighbouring dimensions as adaptive average pooling does: the paper's pooling layer
    taken literally. "pca" keeps the directions of largest variance, most variance first, the sign of each
    fixed by its largest loading; directions beyond the rank of the data are 0.
    """
    states = np.asarray(hidden_states)
    if states.ndim != 2 or states.shape[1] < 1:
        raise SultanaError(
            f"Hidden states have shape {states.shape}; expected (rows, hidden size)",
            "Give the mean hidden state of every row",
            code="shapes-differ",
        )
    for start in range(0, len(states), _ROWS_AT_ONCE):
        _check_finite("hidden_states", states[start : start + _ROWS_AT_ONCE], start)
    if pooling == "adaptive":
        width = states.shape[1]
        bins = np.arange(dimensions)
        starts = bins * width // dimensions
        ends = -(-(bins + 1) * width // dimensions)
        pooled = np.empty((len(states), dimensions))
        for start in range(0, len(states), _ROWS_AT_ONCE):
            block = states[start : start + _ROWS_AT_ONCE].astype(np.float64)
            running = np.concatenate([np.zeros((len(block), 1)), np.cumsum(block, axis=1)], axis=1)
            pooled[start : start + len(block)] = (running[:, ends] - running[:, starts]) / (ends - starts)
        return pooled
    if pooling == "pca":
        return _principal_components(states, dimensions)
    raise SultanaError(f"Semantic pooling is {pooling!r}", "Use adaptive or pca", code="choice-unknown")


def _principal_components(states: NDArray[Any], dimensions: int) -> NDArray[np.float64]:
    if dimensions > states.shape[1]:
        raise SultanaError(
            f"Hidden states of {states.shape[1]} dimensions do not have {dimensions} principal components",
            "Lower semantic_dimensions or use adaptive pooling",
            code="setting-out-of-bounds",
        )
    mean = states.mean(axis=0, dtype=np.float64)
    # Of the H x H covariance: N may be large, H is at most a few thousand.
    covariance = np.zeros((states.shape[1], states.shape[1]))
    for start in range(0, len(states), _ROWS_AT_ONCE):
        centred = states[start : start + _ROWS_AT_ONCE] - mean
        covariance += centred.T @ centred
    variances, directions = np.linalg.eigh(covariance / len(states))
    kept = directions[:, ::-1][:, :dimensions]
    largest = np.abs(kept).argmax(axis=0)
    signs = np.where(kept[largest, np.arange(dimensions)] < 0, -1.0, 1.0)
    components = np.empty((len(states), dimensions))
    for start in range(0, len(states), _ROWS_AT_ONCE):
        components[start : start + _ROWS_AT_ONCE] = (states[start : start + _ROWS_AT_ONCE] - mean) @ (
            kept * signs
        )
    explained = variances[::-1][:dimensions] > 1e-12 * max(float(variances[-1]), 1e-300)
    return np.where(explained, components, 0.0)


def _check_finite(name: str, values: NDArray[Any], first: int = 0) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        raise SultanaError(
            f"Row {first + wrong[0][0]} of {name} is {values[tuple(wrong[0])]}; expected a finite number",
            "Find out why the auxiliary model gave no finite value for this row, or leave the row out",
            code="row-value-invalid",
        )
