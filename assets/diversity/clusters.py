"""Clusters of original and interpolated rows, and the dense representatives of each (MDIT, section 3).

MDIT runs k-means over the merged data and keeps dense, representative samples; how density is measured,
how many a cluster gives and on which vector k-means runs could not be read. Here:

- vector: the row's sentence embedding; an interpolated row's is the mix of its parents', scaled to unit
  length. The paper's is a mean of states at the embedding layer of the language model, for which the
  vector of a mix is the mix of the vectors as well. A sentence embedding separates tasks better and is
  made once, whatever model is trained. Unlike there, scaling undoes the pull of a mix to the centre of
  the cloud, which would make mixes look more central than any real row;
- density: mean cosine to the nearest neighbours in the cluster, so that a dense spot away from the
  centroid counts;
- quota: an equal number, one by size, or one by the square root of size, with a cap on the share of
  interpolated rows.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.interpolation.centroids import Vectors, fit_centroids, nearest
from assets.records import DIVERSITY_CLUSTERS

NEIGHBOURS = 10
"""Nearest neighbours whose mean cosine is a row's density."""

NEIGHBOURS_AMONG = 16_384
"""Rows of a cluster among which neighbours are looked for: bounds the work in very large clusters."""

BLOCK = 1024
QUOTAS = {"equal": 0.0, "sqrt": 0.5, "proportional": 1.0}
"""Power of a cluster's size that its quota goes by."""

Counts = npt.NDArray[np.int64]


def interpolated_vectors(
    parents_a: Sequence[str],
    parents_b: Sequence[str],
    weights: npt.NDArray[np.float64],
    ids: Sequence[str],
    vectors: Vectors,
) -> Vectors:
    """Vectors of recipes: λ e_a + (1 - λ) e_b scaled to unit length, (recipes, dimension) float32.

    `weights` are λ, the weight of the first parent; `vectors` are those of `ids`, of unit length.
    Raises ValueError where a parent is not among `ids`.
    """
    place = {name: number for number, name in enumerate(ids)}
    unknown = next((name for name in (*parents_a, *parents_b) if name not in place), None)
    if unknown is not None:
        raise ValueError(f"the parent {unknown} of a recipe has no vector")
    rows_a = np.fromiter((place[name] for name in parents_a), np.int64, count=len(parents_a))
    rows_b = np.fromiter((place[name] for name in parents_b), np.int64, count=len(parents_b))
    mixed = np.empty((len(rows_a), vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(rows_a), 65_536):
        part = slice(start, start + 65_536)
        share = weights[part, None].astype(np.float32)
        mix = share * vectors[rows_a[part]] + (1 - share) * vectors[rows_b[part]]
        # Opposite parents mixed half and half have no direction; they stay at the origin.
        mixed[part] = mix / np.maximum(np.linalg.norm(mix, axis=1, keepdims=True), 1e-12)
    return mixed


def cluster(
    row_ids: Sequence[str],
    kinds: Sequence[str],
    vectors: Vectors,
    *,
    clusters: int,
    representatives: float = 0.5,
    quota: str = "sqrt",
    maximum_share_interpolated: float = 0.5,
    seed: int = 0,
) -> pa.Table:
    """Cluster the rows and choose representatives: a table of DIVERSITY_CLUSTERS sorted by row id.

    `kinds` are "original" or "interpolated"; `vectors` (rows, dimension) float32 of unit length.
    `representatives` is the share of all rows to choose, `maximum_share_interpolated` that of
    interpolated rows among the chosen, kept in every cluster; where it cannot be met by enough original
    rows, fewer are chosen. Within a cluster the densest rows are chosen first. The order of the rows
    changes nothing.
    """
    if not len(row_ids) == len(kinds) == len(vectors) or len(set(row_ids)) != len(row_ids):
        raise ValueError("every row has an id of its own, a kind and a vector")
    if clusters < 1 or quota not in QUOTAS or not set(kinds) <= {"original", "interpolated"}:
        raise ValueError("clusters is at least 1, quota and kinds are among the known ones")
    if not row_ids:
        return DIVERSITY_CLUSTERS.schema.empty_table()
    order = sorted(range(len(row_ids)), key=row_ids.__getitem__)
    points = np.ascontiguousarray(vectors[order], dtype=np.float32)
    mixed = np.array([kinds[place] == "interpolated" for place in order])
    labels, distances = nearest(points, fit_centroids(points, clusters, seed))
    count = int(labels.max()) + 1

    densities = np.zeros(len(points), dtype=np.float32)
    ranks = np.empty(len(points), dtype=np.int32)
    members = [np.flatnonzero(labels == number) for number in range(count)]
    for rows in members:
        densities[rows] = _density(points[rows])
        # Rows are in the order of their ids, which a stable sort keeps among equals.
        ranked = rows[np.argsort(-densities[rows], kind="stable")]
        ranks[ranked] = np.arange(len(rows))

    most = [_most(int((~mixed[rows]).sum()), len(rows), maximum_share_interpolated) for rows in members]
    sizes = np.array([len(rows) for rows in members], dtype=np.int64)
    weights = np.where(sizes > 0, sizes.astype(np.float64) ** QUOTAS[quota], 0.0)
    quotas = share_out(weights, np.array(most, dtype=np.int64), max(1, round(representatives * len(points))))
    chosen = np.zeros(len(points), dtype=np.bool_)
    for rows, number in zip(members, quotas.tolist(), strict=True):
        ranked = rows[np.argsort(ranks[rows])]
        mixes = mixed[ranked]
        allowed = ranked[~mixes | (np.cumsum(mixes) <= int(maximum_share_interpolated * number + 1e-9))]
        chosen[allowed[:number]] = True
    return pa.table(
        [
            pa.array([row_ids[place] for place in order], pa.string()),
            pa.array([kinds[place] for place in order], pa.string()),
            pa.array(labels, pa.int32()),
            pa.array(distances, pa.float32()),
            pa.array(densities, pa.float32()),
            pa.array(ranks, pa.int32()),
            pa.array(chosen, pa.bool_()),
        ],
        schema=DIVERSITY_CLUSTERS.schema,
    )


def share_out(weights: npt.NDArray[np.float64], most: Counts, total: int) -> Counts:
    """Share `total` out by weight, at most `most` each: whole numbers by largest remainders.

    What a full one cannot take goes to the others; the sum is min(total, sum of `most`).
    """
    given = np.zeros(len(weights), dtype=np.int64)
    left = min(total, int(most[weights > 0].sum()))
    while left:
        open_ = (given < most) & (weights > 0)
        ideal = np.where(open_, weights, 0.0) / weights[open_].sum() * left
        step = np.minimum(np.floor(ideal).astype(np.int64), most - given)
        if not step.any():
            step[np.argsort(-np.where(open_, ideal, -1.0), kind="stable")[: min(left, int(open_.sum()))]] = 1
        given += step
        left -= int(step.sum())
    return given


def _most(originals: int, rows: int, share: float) -> int:
    """The most representatives a cluster can give with at most `share` of them interpolated."""
    if share >= 1:
        return rows
    return min(rows, originals + int(share / (1 - share) * originals + 1e-9))


def _density(points: Vectors) -> Vectors:
    """Mean cosine of each row to its nearest neighbours among the rows; 0 for a row alone."""
    step = -(-len(points) // NEIGHBOURS_AMONG)
    among = points[::step]
    density = np.zeros(len(points), dtype=np.float32)
    for start in range(0, len(points), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(points)))
        cosine = points[rows] @ among.T
        itself = rows % step == 0
        cosine[np.flatnonzero(itself), rows[itself] // step] = -np.inf
        number = min(NEIGHBOURS, cosine.shape[1] - (1 if itself.any() else 0))
        if number > 0:
            nearest_ = np.partition(cosine, cosine.shape[1] - number, axis=1)[:, -number:]
            density[rows] = np.sort(nearest_, axis=1).mean(axis=1)
    return density
