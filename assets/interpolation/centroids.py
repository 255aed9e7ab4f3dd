"""k-means on unit vectors, equal bit by bit from run to run."""

import numpy as np
import numpy.typing as npt

FULL_BATCH_ROWS = 50_000
"""Rows up to which Lloyd's algorithm sees all rows in every iteration; above, mini-batches of 8,192."""

BLOCK = 8192

Vectors = npt.NDArray[np.float32]


def fit_centroids(points: Vectors, clusters: int, seed: int) -> Vectors:
    """Centroids of k-means++ and Lloyd's iterations, (at most `clusters`, dimension) float32.

    `points` are (rows, dimension) float32. There are never more centroids than rows. One thread does
    the sums: with several, their order, and so the last digits, would change from run to run.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    count = min(clusters, len(points))
    with threadpool_limits(limits=1):
        if len(points) <= FULL_BATCH_ROWS:
            model = KMeans(count, n_init=1, max_iter=100, random_state=seed)
        else:
            model = MiniBatchKMeans(count, n_init=3, batch_size=8192, max_iter=30, random_state=seed)
        centroids: Vectors = np.asarray(model.fit(points).cluster_centers_, dtype=np.float32)
    return centroids


def nearest(points: Vectors, centroids: Vectors) -> tuple[npt.NDArray[np.int32], Vectors]:
    """Each row's nearest centroid, (rows,) int32, and the Euclidean distance to it, (rows,) float32."""
    norms = (centroids**2).sum(axis=1)
    labels = np.empty(len(points), dtype=np.int32)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        labels[start : start + BLOCK] = np.argmin(norms - 2 * (block @ centroids.T), axis=1)
    # From differences: |x|^2 + |c|^2 - 2xc would lose half the digits close to a centroid.
    distances = np.empty(len(points), dtype=np.float32)
    for start in range(0, len(points), BLOCK):
        part = slice(start, start + BLOCK)
        distances[part] = np.linalg.norm(points[part] - centroids[labels[part]], axis=1)
    return labels, distances
