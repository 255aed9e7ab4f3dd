"""The stages of `growth` that choose rows: recipes, clusters, RAISE and the strategies.

Each opens its inputs and gives what is measured; see `growth_stages`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from resources.large_arrays import zeros
from tests.benchmarks import growth_inputs as inputs
from tests.benchmarks.growth_rows import Found, Work
from tests.benchmarks.kmeans import mixture

CLUSTERS = 256
BUDGET_SHARE = 0.01
"""Rows of a curriculum, of the pool's: one per cent, as the experiments have it."""

STEP_ROWS = 32
STATES_AT_ONCE = 65_536


def recipes(folder: Path, out: Path, rows: int) -> Work:
    """As many recipes drawn as there are instructions, and written."""
    from assets.interpolation.recipes import draw_recipes
    from assets.records import INTERPOLATED_INSTRUCTIONS

    ids = inputs.row_ids(rows)
    tasks = [f"task {number % 200}" for number in range(rows)]
    return lambda: {
        "rows": inputs.written(out, INTERPOLATED_INSTRUCTIONS, draw_recipes(ids, tasks, count=rows, seed=0))
    }


def clusters(folder: Path, out: Path, rows: int) -> Work:
    """The asset `diversity_clusters`: vectors read, k-means over originals and a tenth as many mixes, written."""
    from assets.diversity.clusters import cluster
    from assets.diversity.merged import merge
    from assets.embeddings.vectors import vectors_of
    from assets.records import DIVERSITY_CLUSTERS

    tables, embeddings, mixes = inputs.embedded_tables(folder, rows)
    ids = inputs.row_ids(rows)

    def work() -> Found:
        columns = tables.read(mixes, columns=["recipe_id", "parent_a", "parent_b", "lambda"])
        names = [columns[one].combine_chunks() for one in ("recipe_id", "parent_a", "parent_b")]
        merged = merge(
            pa.array(ids), vectors_of(tables, embeddings, ids), *names, columns["lambda"].to_numpy()
        )
        found = cluster(merged, clusters=CLUSTERS)
        return {"rows": inputs.written(out, DIVERSITY_CLUSTERS, found)}

    return work


def raise_features(folder: Path, out: Path, rows: int) -> Work:
    """RAISE's static features from lengths, log-probabilities and mean states of a model of width 576."""
    from assets.selection.raise_policy.features import build_features

    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 256, rows).astype(np.float64)
    alone = -draw.uniform(1, 4, rows) * lengths
    states = zeros((rows, 576))
    for start in range(0, rows, STATES_AT_ONCE):
        part = states[start : start + STATES_AT_ONCE]
        part[:] = draw.standard_normal(part.shape, dtype=np.float32)
    return lambda: {"columns": build_features(lengths, lengths, 0.9 * alone, alone, states).static.shape[1]}


def raise_step(folder: Path, out: Path, rows: int) -> Work:
    """RAISE's acquisition function over every row of a pool, and the choice of one batch."""
    from tests.benchmarks.raise_selection import choose

    features = np.load(inputs.features(folder, rows), mmap_mode="r")
    choose(features[:1000])

    def work() -> Found:
        choose(features)
        return {"rows": len(features)}

    return work


def static(folder: Path, out: Path, rows: int) -> Work:
    """The pool, the strategies random, longest and kmeans_quality for one per cent of it, and their ledgers."""
    from assets.selection.coverage import kmeans_quality
    from assets.selection.static import longest, random

    def work() -> Found:
        pool, budget = _pool(rows), _budget(rows)
        found = {
            "random": random(pool, budget, 0),
            "longest": longest(pool, budget, 0),
            "kmeans_quality": kmeans_quality(pool, budget, 0, pool.response_lengths, stand_in=True),
        }
        return {name: _ledger(out / name, name, chosen) for name, chosen in found.items()}

    return work


def dsir(folder: Path, out: Path, rows: int) -> Work:
    """Importance weights by hashed n-grams, and one per cent drawn by them."""
    from assets.selection.dsir import dsir

    pool, budget, texts = _pool(rows), _budget(rows), inputs.texts(folder, rows)
    reward = inputs.examples()
    return lambda: {"rows": _ledger(out, "dsir", dsir(pool, budget, 0, texts, reward))}


def k_center(folder: Path, out: Path, rows: int) -> Work:
    """Each row the farthest from those before it, one per cent of the pool."""
    from assets.selection.coverage import k_center

    pool, budget, vectors = _pool(rows), _budget(rows), mixture(rows)
    return lambda: {"rows": _ledger(out, "k_center", k_center(pool, budget, 0, vectors))}


def deita(folder: Path, out: Path, rows: int) -> Work:
    """The longest rows that are not near one already kept, one per cent of the pool."""
    from assets.selection.deita import deita

    pool, budget, vectors = _pool(rows), _budget(rows), mixture(rows)
    return lambda: {"rows": _ledger(out, "deita", deita(pool, budget, 0, vectors, None, None, stand_in=True))}


def _pool(rows: int) -> Any:
    from assets.selection.pool import Pool

    labels = np.arange(rows) % CLUSTERS
    return Pool.build(inputs.row_ids(rows), ["original"] * rows, labels, inputs.response_lengths(rows))


def _budget(rows: int) -> Any:
    from assets.selection.pool import Budget

    return Budget(max(1, int(rows * BUDGET_SHARE) // STEP_ROWS), STEP_ROWS)


def _ledger(out: Path, strategy: str, selections: Any) -> int:
    from assets.ledger import curriculum_table
    from assets.records import CURRICULUM

    return inputs.written(out, CURRICULUM, curriculum_table(strategy.ljust(32, "0"), strategy, 0, selections))
