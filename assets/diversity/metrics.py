"""How diverse the rows and their representatives are, in a few numbers and a picture."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assets.interpolation.centroids import Vectors

SILHOUETTE_ROWS = 2000


def diversity_metrics(clusters: pa.Table, vectors: Vectors, row_ids: Sequence[str]) -> dict[str, float | int]:
    """Numbers of a table of DIVERSITY_CLUSTERS; `vectors` are those of `row_ids`, of unit length.

    clusters, smallest_cluster, largest_cluster: counts of rows. inertia: sum of squared distances to
    the centroids. silhouette: mean over a sample, in [-1, 1] (Rousseeuw, 1987). For all rows and for the
    representatives: mean_cosine_distance of two rows, and vendi_score, the effective number of different
    rows under the cosine kernel (Friedman and Dieng, 2023), between 1 and the dimension.
    representatives: their number; share_interpolated: of them.
    """
    if not clusters.num_rows:
        return {"clusters": 0, "representatives": 0}
    place = {name: number for number, name in enumerate(row_ids)}
    points = vectors[[place[name] for name in clusters["row_id"].to_pylist()]]
    labels = clusters["cluster"].to_numpy()
    chosen = clusters["representative"].to_numpy(zero_copy_only=False).astype(np.bool_)
    mixed = np.array(clusters["kind"].to_pylist()) == "interpolated"
    sizes = np.unique(labels, return_counts=True)[1]
    return {
        "clusters": len(sizes),
        "smallest_cluster": int(sizes.min()),
        "largest_cluster": int(sizes.max()),
        "inertia": float((clusters["distance"].to_numpy().astype(np.float64) ** 2).sum()),
        "silhouette": _silhouette(points, labels),
        "mean_cosine_distance": mean_cosine_distance(points),
        "mean_cosine_distance_of_representatives": mean_cosine_distance(points[chosen]),
        "vendi_score": vendi_score(points),
        "vendi_score_of_representatives": vendi_score(points[chosen]),
        "representatives": int(chosen.sum()),
        "share_interpolated": float(mixed[chosen].mean()) if chosen.any() else 0.0,
    }


def mean_cosine_distance(points: Vectors) -> float:
    """Mean of 1 - cosine over all pairs of different rows, from the sum of unit vectors; 0 for one row."""
    count = len(points)
    if count < 2:
        return 0.0
    total = points.sum(axis=0, dtype=np.float64)
    squares = float((points.astype(np.float64) ** 2).sum())
    return 1.0 - (float(total @ total) - squares) / (count * (count - 1))


def vendi_score(points: Vectors) -> float:
    """exp of the entropy of the eigenvalues of X X^T / n, here from the smaller X^T X / n; 0 for no row."""
    if not len(points):
        return 0.0
    values = np.linalg.eigvalsh(points.T.astype(np.float64) @ points / len(points))
    values = values[values > 1e-12]
    values /= values.sum()
    return float(np.exp(-(values * np.log(values)).sum()))


def projection(points: Vectors) -> npt.NDArray[np.float32]:
    """The rows on their first two principal components, (rows, 2) float32, for a scatter plot.

    The sign of a component is fixed: its largest loading is positive.
    """
    flat = np.zeros((len(points), 2), dtype=np.float32)
    if len(points) < 2:
        return flat
    centred = points - points.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    flat[:, : axes.shape[1]] = centred @ axes
    return flat


def _silhouette(points: Vectors, labels: npt.NDArray[np.int32]) -> float:
    """Mean silhouette of a sample of evenly spaced rows (sorted by id, which is a hash)."""
    from sklearn.metrics import silhouette_score

    step = -(-len(points) // SILHOUETTE_ROWS)
    points, labels = points[::step], labels[::step]
    if not 2 <= len(np.unique(labels)) < len(labels):
        return 0.0
    return float(silhouette_score(points, labels))
