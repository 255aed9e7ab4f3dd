"""One way to do k-means, run as a process: `python -m tests.benchmarks.kmeans_sides SIDE POINTS CLUSTERS OUT`.

Prints a line of JSON and writes the centroids to OUT. Imports nothing of Sultana at the top: the peers'
environment does not have it. Importing a library and reading the points are not measured.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

SEED = 0
ITERATIONS = 25
"""Most iterations of ours, faiss and Lance; scikit-learn's defaults have their own limits and tolerances."""

REPEATED_ROWS = 20_000
"""Rows that are fitted twice to see whether the bits are the same."""

Points = npt.NDArray[np.float32]
Fitted = tuple[Points, Callable[[Points], Any]]
"""Centroids, and the function that assigns points to them."""


def ours() -> Callable[[Points, int], Fitted]:
    from assets.interpolation import centroids

    assert centroids.ITERATIONS == ITERATIONS

    def fit(points: Points, clusters: int) -> Fitted:
        found = centroids.fit_centroids(points, clusters, SEED)
        return found, lambda rows: centroids.nearest(rows, found)

    return fit


def scikit_learn() -> Callable[[Points, int], Fitted]:
    """KMeans with its defaults: k-means++ once, 300 iterations at most."""
    from sklearn.cluster import KMeans

    def fit(points: Points, clusters: int) -> Fitted:
        model = KMeans(clusters, random_state=SEED).fit(points)
        return model.cluster_centers_, model.predict

    return fit


def scikit_learn_mini_batch() -> Callable[[Points, int], Fitted]:
    """MiniBatchKMeans with its defaults: batches of 1,024, 100 passes at most."""
    from sklearn.cluster import MiniBatchKMeans

    def fit(points: Points, clusters: int) -> Fitted:
        model = MiniBatchKMeans(clusters, random_state=SEED).fit(points)
        return model.cluster_centers_, model.predict

    return fit


def faiss_all() -> Callable[[Points, int], Fitted]:
    """faiss on all points: its sub-sampling is off."""
    return _faiss(1 << 30)


def faiss_sampled() -> Callable[[Points, int], Fitted]:
    """faiss with its default: at most 256 points for each centroid."""
    return _faiss(256)


def _faiss(most_points: int) -> Callable[[Points, int], Fitted]:
    import faiss

    faiss.omp_set_num_threads(1)

    def fit(points: Points, clusters: int) -> Fitted:
        model = faiss.Kmeans(
            points.shape[1], clusters, niter=ITERATIONS, seed=SEED, max_points_per_centroid=most_points
        )
        model.train(points)
        return model.centroids, lambda rows: model.index.search(rows, 1)

    return fit


def lance() -> Callable[[Points, int], Fitted]:
    """Lance's own, which its vector indices are trained with; it takes no seed."""
    import pyarrow as pa
    from lance.util import KMeans

    def rows_of(points: Points) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(points.reshape(-1)), points.shape[1])

    def fit(points: Points, clusters: int) -> Fitted:
        model = KMeans(clusters, max_iters=ITERATIONS)
        model.fit(rows_of(points))
        return model.centroids.to_numpy_ndarray(), lambda rows: model.predict(rows_of(rows))

    return fit


SIDES: dict[str, tuple[Callable[[], Callable[[Points, int], Fitted]], str]] = {
    "ours": (ours, "numpy"),
    "scikit-learn KMeans": (scikit_learn, "scikit-learn"),
    "scikit-learn MiniBatchKMeans": (scikit_learn_mini_batch, "scikit-learn"),
    "faiss, all points": (faiss_all, "faiss-cpu"),
    "faiss, its sampling": (faiss_sampled, "faiss-cpu"),
    "Lance": (lance, "pylance"),
}


def main() -> None:
    make, package = SIDES[sys.argv[1]]
    points, clusters = np.load(sys.argv[2]), int(sys.argv[3])
    fit = make()
    fit(points[:256], 2)  # what is imported or compiled at the first call
    cpu, wall = time.process_time(), time.perf_counter()
    centroids, assign = fit(points, clusters)
    fitted_cpu, fitted_wall = time.process_time(), time.perf_counter()
    assign(points)
    result = {
        "fit_seconds": fitted_cpu - cpu,
        "fit_wall_seconds": fitted_wall - wall,
        "assign_seconds": time.process_time() - fitted_cpu,
        "version": f"{package} {version(package)}",
    }
    few = np.ascontiguousarray(points[:REPEATED_ROWS])
    twice = [np.asarray(fit(few, min(clusters, 64))[0]).tobytes() for _ in range(2)]
    np.save(sys.argv[4], np.asarray(centroids, dtype=np.float32))
    sys.stdout.write("\n" + json.dumps(result | {"reproducible": twice[0] == twice[1]}) + "\n")


if __name__ == "__main__":
    main()
