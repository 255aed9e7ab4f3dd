"""MDIT recipes: which two instructions are interpolated, and with what λ.

A recipe stands for the interpolated sample of MDIT (arXiv 2504.07288, section 3),

    H_cr = λ H_i + (1 - λ) H_j,    Y_cr = λ Y_i + (1 - λ) Y_j,    λ ~ Beta(α, α),

with H the states at the embedding layer and Y the one-hot labels; λ is drawn for each pair of samples. Task
interpolation for meta-learning (MLTI, Yao, Zhang and Finn, ICLR 2022), which the notation follows, draws one
λ for each pair of tasks: an option here. The paper's α could not be read. 0.1, mostly close to a pure sample,
is the default because of 0.1, 0.4, 1 and 2 it had the lowest held-out loss (`make experiment`; the intervals
overlap).

A recipe takes some 50 bytes on disk beside its id, since what repeats (seed, layer, alignment, tasks) is
stored once; a mixed row's embeddings alone would take thousands of times as much.

Randomness comes from counters: recipe r is a function of (seed, r) and the table of tasks, as with
counter-based generators (Salmon et al., 2011). How many recipes are drawn at once, or before, changes
nothing, and neither does the order of the rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.identity import recipe_id
from assets.instructions.shingles import mix
from assets.interpolation.alignment import ALIGNMENTS, RESPONSE_BORDER
from assets.records import INTERPOLATED_INSTRUCTIONS
from resources.errors import SultanaError

EMBEDDING_LAYER = 0
LAMBDA_DIGITS = 6
"""λ is rounded, so that the last bits of a mathematics library do not change a recipe's identity."""

BLOCK = 1 << 20

Numbers = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


def draw_recipes(
    ids: Sequence[str],
    tasks: Sequence[str],
    *,
    count: int,
    alpha: float = 0.1,
    pairing: str = "cross_task",
    sampling: str = "proportional",
    lambda_per: str = "pair",
    layer: int = EMBEDDING_LAYER,
    alignment: str = RESPONSE_BORDER,
    seed: int = 0,
    first: int = 0,
) -> pa.Table:
    """Recipes `first` to `first + count - 1`, a table of INTERPOLATED_INSTRUCTIONS in that order.

    `tasks` are the rows' tasks, in the order of `ids`. `pairing`: the parents come from two tasks
    (cross_task), from any, or from one (same_task); they are never the same row. `sampling`: a task is
    drawn by its size (proportional; every row is equally likely) or evenly (uniform). `lambda_per`: λ is
    drawn for each pair of rows (pair) or once for each pair of tasks (task_pair), as the weight of the task
    whose name comes first. λ is in [1e-6, 1 - 1e-6]. `layer` is that of mixing (0: embeddings), `alignment`
    one of `alignment.ALIGNMENTS`. A recipe that is drawn twice is kept once, which happens with few rows
    only; then there are fewer than `count`.

    Raises SultanaError where there are too few tasks or rows for such pairs.
    """
    if len(ids) != len(tasks) or len(set(ids)) != len(ids) or not all(tasks):
        raise ValueError("every id is given once and has a task")
    if pairing not in ("cross_task", "any", "same_task") or sampling not in ("proportional", "uniform"):
        raise ValueError(f"no such pairing or sampling: {pairing!r}, {sampling!r}")
    if lambda_per not in ("pair", "task_pair") or alignment not in ALIGNMENTS:
        raise ValueError(f"no such lambda_per or alignment: {lambda_per!r}, {alignment!r}")
    if count < 0 or first < 0 or layer < 0 or alpha <= 0 or not 0 <= seed < 2**63:
        raise ValueError("count, first, layer and seed are at least 0, alpha is above 0")
    if count == 0:
        return INTERPOLATED_INSTRUCTIONS.schema.empty_table()
    table = _Tasks.sorted(ids, tasks)
    if pairing == "same_task":
        table = table.of_two_rows_or_more()
    _refuse(table, pairing)
    pairs = _proportional if sampling == "proportional" else _even
    parts = []
    for start in range(first, first + count, BLOCK):
        rows = np.arange(start, min(start + BLOCK, first + count))
        place_a, place_b = pairs(table, pairing, *(_uniform(seed, rows, stream) for stream in range(4)))
        task_a, task_b = table.task_of(place_a), table.task_of(place_b)
        number = _uniform(seed, rows, 4)
        if lambda_per == "task_pair":
            number = _of_task_pairs(table, task_a, task_b, seed)
        weights = _beta(number, alpha)
        parts.append(_table(table, place_a, place_b, task_a, task_b, weights, seed, layer, alignment))
    drawn = pa.concat_tables(parts)
    names = drawn["recipe_id"].to_pylist()
    if len(set(names)) == len(names):
        return drawn
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    return drawn.take(sorted(places.values()))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one interpolated row is mixed: λ (`weight`) of `parent_a` and 1 - λ of `parent_b`."""

    parent_a: str
    parent_b: str
    weight: float
    layer: int = EMBEDDING_LAYER
    alignment: str = RESPONSE_BORDER


@dataclass(frozen=True)
class _Tasks:
    """Rows sorted by task and id: those of task t are rows `starts[t]` to `starts[t + 1] - 1`."""

    ids: list[str]
    names: list[str]
    starts: Places  # (tasks + 1,)

    @classmethod
    def sorted(cls, ids: Sequence[str], tasks: Sequence[str]) -> "_Tasks":
        rows = sorted(zip(tasks, ids, strict=True))
        names, sizes = np.unique(np.array([task for task, _ in rows], dtype=object), return_counts=True)
        return cls([row for _, row in rows], names.tolist(), np.concatenate(([0], np.cumsum(sizes))))

    @property
    def sizes(self) -> Places:
        """Rows of each task."""
        return np.diff(self.starts)

    @cached_property
    def id_array(self) -> pa.StringArray:
        """The ids for Arrow: made once, as each block of recipes takes some of them."""
        return pa.array(self.ids, pa.string())

    def task_of(self, places: Places) -> Places:
        """The task of each row."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def of_two_rows_or_more(self) -> "_Tasks":
        """The tasks that can pair with themselves."""
        sizes = self.sizes
        keep = np.flatnonzero(sizes > 1)
        ids = [one for task in keep for one in self.ids[self.starts[task] : self.starts[task + 1]]]
        return _Tasks(ids, [self.names[task] for task in keep], np.concatenate(([0], np.cumsum(sizes[keep]))))


def _refuse(table: _Tasks, pairing: str) -> None:
    if pairing == "cross_task" and len(table.names) < 2:
        raise SultanaError(
            f"Recipes across tasks need two tasks; the {len(table.ids)} instructions have {len(table.names)}",
            "Set the interpolation's task_by to clusters, its pairing to any, or its count to 0",
            code="recipes-impossible",
        )
    if len(table.ids) < 2:
        raise SultanaError(
            f"Recipes with pairing {pairing} need two instructions to pair, and there are {len(table.ids)}",
            "Give more instructions, choose another pairing, or set the interpolation's count to 0",
            code="recipes-impossible",
        )


def _table(
    table: _Tasks,
    place_a: Places,
    place_b: Places,
    task_a: Places,
    task_b: Places,
    weights: Numbers,
    seed: int,
    layer: int,
    alignment: str,
) -> pa.Table:
    names = pa.array(table.names, pa.string())
    parents_a, parents_b = table.id_array.take(pa.array(place_a)), table.id_array.take(pa.array(place_b))
    recipes = [
        recipe_id(a, b, weight, seed, layer, alignment)
        for a, b, weight in zip(parents_a.to_pylist(), parents_b.to_pylist(), weights.tolist(), strict=True)
    ]
    return pa.table(
        [
            pa.array(recipes, pa.string()),
            parents_a,
            parents_b,
            pa.array(weights),
            pa.repeat(pa.scalar(seed, pa.int64()), len(recipes)),
            pa.repeat(pa.scalar(layer, pa.int32()), len(recipes)),
            pa.repeat(pa.scalar(alignment, pa.string()), len(recipes)),
            names.take(pa.array(task_a)),
            names.take(pa.array(task_b)),
        ],
        schema=INTERPOLATED_INSTRUCTIONS.schema,
    )


def _of_task_pairs(table: _Tasks, task_a: Places, task_b: Places, seed: int) -> Numbers:
    """A number in (0, 1) for each pair of tasks, by their names; turned round, it is one minus that."""
    keys = np.array(
        [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in table.names], dtype=np.uint64
    )
    first, second = np.minimum(task_a, task_b), np.maximum(task_a, task_b)  # names are sorted
    number = _uniform(seed, mix(keys[first]) + keys[second], 4)
    return np.where(task_a <= task_b, number, 1 - number)


def _uniform(seed: int, rows: npt.NDArray[Any], stream: int) -> Numbers:
    """A number in (0, 1) for each row: 53 bits of a hash of seed, stream and row number."""
    key = mix(mix(np.array([seed], dtype=np.uint64)) + np.uint64(stream + 1))
    bits = mix(mix(key + rows.astype(np.uint64)) ^ key) >> np.uint64(11)
    return (bits.astype(np.float64) + 0.5) * 2.0**-53


def _pick(number: Numbers, sizes: Places | int) -> Places:
    """A place in [0, size) for each number in (0, 1)."""
    return np.minimum((number * sizes).astype(np.int64), np.asarray(sizes) - 1)


def _other_row(table: _Tasks, task: Places, place_a: Places, number: Numbers) -> Places:
    """A row of each task, but not `place_a`."""
    start, size = table.starts[task], table.sizes[task]
    inside = (place_a >= start) & (place_a < start + size)
    place = start + _pick(number, size - inside)
    return place + (inside & (place >= place_a))


def _proportional(
    table: _Tasks, pairing: str, _: Numbers, row_a: Numbers, __: Numbers, row_b: Numbers
) -> tuple[Places, Places]:
    """Parents with every row equally likely: the second of all rows that the pairing allows."""
    total = len(table.ids)
    place_a = _pick(row_a, total)
    task = table.task_of(place_a)
    if pairing == "same_task":
        return place_a, _other_row(table, task, place_a, row_b)
    # Skip the first parent's task, or the first parent alone.
    if pairing == "cross_task":
        start, size = table.starts[task], table.sizes[task]
    else:
        start, size = place_a, np.ones_like(place_a)
    place_b = _pick(row_b, total - size)
    return place_a, place_b + np.where(place_b >= start, size, 0)


def _even(
    table: _Tasks, pairing: str, task_a: Numbers, row_a: Numbers, task_b: Numbers, row_b: Numbers
) -> tuple[Places, Places]:
    """Parents with every task equally likely, then every row of it."""
    count = len(table.names)
    first = _pick(task_a, count)
    place_a = table.starts[first] + _pick(row_a, table.sizes[first])
    if pairing == "same_task":
        return place_a, _other_row(table, first, place_a, row_b)
    # A task of one row has no second parent for that row.
    skipped = np.ones_like(first) if pairing == "cross_task" else (table.sizes[first] == 1).astype(np.int64)
    second = _pick(task_b, count - skipped)
    second += skipped * (second >= first)
    return place_a, _other_row(table, second, place_a, row_b)


def _beta(number: Numbers, alpha: float) -> Numbers:
    """λ ~ Beta(alpha, alpha) by the inverse of its distribution function, rounded."""
    from scipy.special import betaincinv

    # The half below 1/2 and its mirror image: close to 1 a float has no digits left for 1 - λ.
    lower = np.asarray(betaincinv(alpha, alpha, np.minimum(number, 1 - number)))
    weights = np.round(np.where(number < 0.5, lower, 1 - lower), LAMBDA_DIGITS)
    least = 10.0**-LAMBDA_DIGITS
    # Both parents take part.
    return np.asarray(np.round(np.clip(weights, least, 1 - least), LAMBDA_DIGITS), dtype=np.float64)
