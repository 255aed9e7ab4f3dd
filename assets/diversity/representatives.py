"""Which rows stand for a cluster: their order within it, what each cluster gives, and how many are mixes."""

import numpy as np
import numpy.typing as npt

from assets.diversity.merged import RANDOM, MergedRows
from assets.interpolation.centroids import Places, Rows, Vectors, in_blocks

NEIGHBOURS = 10
"""Nearest neighbours whose mean cosine is a row's density."""

NEIGHBOURS_AMONG = 8192
"""Rows of a cluster among which neighbours are looked for: bounds work and memory in large clusters."""

BLOCK = 512
QUOTAS = {"equal": 0.0, "sqrt": 0.5, "proportional": 1.0}
"""Power of a cluster's size that its quota goes by."""

Counts = npt.NDArray[np.int64]
Chosen = npt.NDArray[np.bool_]


def members(labels: npt.NDArray[np.int32]) -> list[Places]:
    """The rows of each cluster, in order; a cluster without rows has none."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=int(labels.max(initial=-1)) + 1))
    return np.split(order, ends[:-1]) if len(ends) else []


def ranking(
    rows: MergedRows,
    labels: npt.NDArray[np.int32],
    distances: Vectors,
    densities: Vectors,
    representative_by: str,
    seed: int,
) -> npt.NDArray[np.int32]:
    """The place of each row in its cluster, 0 the most representative, (rows,) int32.

    `density`: the densest first; `centroid`: the closest to the centroid; `random`: in the order of a hash
    of row id and seed; `farthest`: the farthest from the centroid. Equal rows come in the order of their
    ids.
    """
    keys: dict[str, npt.NDArray[np.generic]] = {
        "density": -densities,
        "centroid": distances,
        "random": rows.random_numbers(seed, RANDOM),
        "farthest": -distances,
    }
    key = keys[representative_by]
    ranks = np.empty(len(labels), dtype=np.int32)
    for cluster in members(labels):
        ranks[cluster[np.argsort(key[cluster], kind="stable")]] = np.arange(len(cluster))
    return ranks


def choose(
    labels: npt.NDArray[np.int32],
    ranks: npt.NDArray[np.int32],
    mixed: Chosen,
    *,
    representatives: float,
    quota: str,
    minimum_share_of_originals: float,
) -> Chosen:
    """Which rows are representatives, (rows,) bool: the first of each cluster, up to its quota.

    `representatives` is their share of all rows, at least one row. In every cluster at least
    `minimum_share_of_originals` of the chosen are originals: a mix whose turn comes too early is passed
    over. Where there are too few originals for that, a cluster gives fewer rows and others more; where
    that does not do either, fewer rows are chosen.
    """
    clusters = members(labels)
    share = 1 - minimum_share_of_originals
    most = [_most(int((~mixed[rows]).sum()), len(rows), share) for rows in clusters]
    sizes = np.array([len(rows) for rows in clusters], dtype=np.int64)
    weights = np.where(sizes > 0, sizes.astype(np.float64) ** QUOTAS[quota], 0.0)
    total = max(1, round(representatives * len(labels)))
    quotas = share_out(weights, np.array(most, dtype=np.int64), total)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for rows, number in zip(clusters, quotas.tolist(), strict=True):
        ranked = rows[np.argsort(ranks[rows])]
        mixes = mixed[ranked]
        allowed = ranked[~mixes | (np.cumsum(mixes) <= int(share * number + 1e-9))]
        chosen[allowed[:number]] = True
    return chosen


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


def density(points: Rows, rows: Places) -> Vectors:
    """Mean cosine of each of `rows` to its nearest neighbours among them; 0 for a row alone.

    `points` have unit length. In a large cluster neighbours are looked for among evenly spaced rows,
    which are a random sample where rows are in the order of hashes; a row is never its own neighbour.
    """
    step = -(-len(rows) // NEIGHBOURS_AMONG)
    among = np.ascontiguousarray(points[rows[::step]].T)
    found = np.zeros(len(rows), dtype=np.float32)

    def work(part: slice) -> None:
        cosine = points[rows[part]] @ among
        places = np.arange(part.start, part.stop)
        itself = places % step == 0
        cosine[np.flatnonzero(itself), places[itself] // step] = -np.inf
        number = min(NEIGHBOURS, cosine.shape[1] - (1 if itself.any() else 0))
        if number > 0:
            cosine.partition(cosine.shape[1] - number, axis=1)
            found[part] = np.sort(cosine[:, -number:], axis=1).mean(axis=1)

    for _ in in_blocks(len(rows), work, BLOCK):
        pass
    return found


def _most(originals: int, rows: int, share: float) -> int:
    """The most representatives a cluster can give with at most `share` of them interpolated."""
    if share >= 1:
        return rows
    return min(rows, originals + int(share / (1 - share) * originals + 1e-9))
