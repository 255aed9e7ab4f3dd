"""How many clusters: the number whose clusters are best told apart, among a geometric series.

k-means is fitted to a sample with each number, and rows that it has not seen are assigned; the mean
silhouette of those (Rousseeuw, 1987) compares each row's mean distance to its own cluster with that to
the next. It finds a number that is there to be found: on 50 Gaussians it chooses 45 of 4 to 362. On
sentence embeddings of real instructions it is small and flat, as there is no such number: on 76,542
rows of ten sets it was between 0.02 and 0.04 for every one of 14 numbers. So a set number is the default.
"""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assets.diversity.merged import CANDIDATES, MergedRows
from assets.interpolation.centroids import Vectors, fit_centroids, nearest, one_thread

FIRST = 4
FACTOR = 2**0.5
FITTED_ROWS = 20_000
ROWS_OF_A_CLUSTER = 40
"""Fitted rows that a cluster has on average at least: the largest candidate follows from it."""

SILHOUETTE_ROWS = 3000
"""Rows whose silhouettes are taken; the work is quadratic in them."""


@dataclass(frozen=True)
class Candidate:
    """A number of clusters tried: mean silhouette in [-1, 1], mean squared distance to the centroids."""

    clusters: int
    silhouette: float
    mean_squared_distance: float
    seconds: float


def candidates(rows: MergedRows, seed: int) -> list[Candidate]:
    """The numbers of clusters tried, ascending; none where there are too few rows for two of them."""
    sample = rows.sample(FITTED_ROWS + SILHOUETTE_ROWS, seed, CANDIDATES)
    held_out = rows.sample(min(SILHOUETTE_ROWS, len(sample) // 4), seed + 1, CANDIDATES, among=sample)
    fitted = rows.vectors[np.setdiff1d(sample, held_out)]
    measured = rows.vectors[held_out]
    found = []
    for clusters in series(len(fitted) // ROWS_OF_A_CLUSTER):
        started = time.perf_counter()
        centroids = fit_centroids(fitted, clusters, seed)
        labels, distances = nearest(measured, centroids)
        found.append(
            Candidate(
                clusters,
                silhouette(measured, labels),
                float((distances.astype(np.float64) ** 2).mean()),
                time.perf_counter() - started,
            )
        )
    return found


def best(tried: list[Candidate], otherwise: int) -> int:
    """The candidate with the largest silhouette, the smaller of two equal ones."""
    return max(tried, key=lambda one: (one.silhouette, -one.clusters)).clusters if tried else otherwise


def series(most: int) -> list[int]:
    """4, 6, 8, 11, 16, ... up to `most`: each √2 times the one before."""
    numbers = []
    value = float(FIRST)
    while round(value) <= most:
        numbers.append(round(value))
        value *= FACTOR
    return numbers


def silhouette(points: Vectors, labels: npt.NDArray[np.int32]) -> float:
    """Mean silhouette of all rows, in Euclidean distance; 0 where it is not defined (a single cluster)."""
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(labels)) < len(labels):
        return 0.0
    with one_thread():
        return float(silhouette_score(points, labels))
