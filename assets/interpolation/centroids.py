"""k-means on the rows of a matrix, equal bit by bit from run to run and whatever the number of threads.

Lloyd's iterations from greedy k-means++ (Arthur and Vassilvitskii, 2007), on at most `FIT_ROWS` rows;
where there are more, one pass over all of them then moves each centroid to the mean of its rows. Rows
come in blocks, so that they need not be in memory at once, or stored at all.

Written here and not taken from a library for these rows, and since none of those measured is better:
`python -m tests.benchmarks kmeans` runs scikit-learn, faiss and Lance beside it. On 50,000 x 384 it takes
0.85 to 1 times the CPU time of faiss at the same distance or a 2 % smaller one; scikit-learn's KMeans runs
until nothing moves, for 8 to 9 times the time and a distance 0.2 to 1.3 % smaller; its MiniBatchKMeans
is a quarter quicker and 2 to 4 % farther; Lance's takes no seed.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from resources.compute.boundary import Compute, Workers, in_order
from resources.compute.this_machine import THIS_MACHINE

FIT_ROWS = 100_000
"""Rows that Lloyd's iterations see, and no fewer than `FIT_ROWS_OF_A_CLUSTER` for each cluster."""

FIT_ROWS_OF_A_CLUSTER = 32
ITERATIONS = 25
TOLERANCE = 3e-4
"""Lloyd's iterations end when the mean squared distance falls by less than this share of itself."""

SEEDING_ROWS = 4096
"""Rows among which k-means++ chooses where to begin, and no fewer than 8 for each cluster."""

SEEDED_CLUSTERS = 4096
"""Above, the work of k-means++ (quadratic in the clusters) would pass that of all iterations: rows to
begin from are then drawn evenly."""

BLOCK = 2048
"""Rows of a block: its scores against 256 centroids stay in the processor's cache."""

PART = 16 * BLOCK
"""Rows that one worker adds up before sums are added to each other: the order of additions, and so the last
bit, is the same for any number of workers."""

Vectors = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Result = TypeVar("Result")


class Rows(Protocol):
    """A matrix (rows, dimension) float32 that may be computed as it is read: an array is one."""

    def __len__(self) -> int:
        """The number of rows."""

    def __getitem__(self, rows: slice | Places, /) -> Vectors:
        """The rows of a slice, or at the given places."""


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """One thread for each call of BLAS; gives the number it had, which OMP_NUM_THREADS sets."""
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    controller = ThreadpoolController().select(user_api="blas")
    threads = max((one["num_threads"] for one in controller.info()), default=os.cpu_count() or 1)
    with controller.limit(limits=1):
        yield threads


def in_blocks(count: int, work: Callable[[slice], Result], size: int = BLOCK) -> Iterator[Result]:
    """What `work` gives for each block of `count` rows, in the order of the blocks.

    Blocks run side by side on as many threads as BLAS would use; within one, BLAS uses a single thread.
    So sums have one order, and results are equal for any number of threads.
    """
    blocks = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    with one_thread() as threads:
        if threads == 1 or len(blocks) < 2:
            yield from map(work, blocks)
            return
        with ThreadPoolExecutor(threads) as pool:
            # A window at a time: results that nobody has taken yet do not pile up.
            for first in range(0, len(blocks), 4 * threads):
                yield from pool.map(work, blocks[first : first + 4 * threads])


def fit_centroids(
    points: Rows,
    clusters: int,
    seed: int,
    sample: Places | None = None,
    compute: Compute = THIS_MACHINE,
) -> Vectors:
    """Centroids of k-means, (at most `clusters`, dimension) float32; fewer where fewer rows differ.

    `points` are (rows, dimension). `sample` are the places of the rows that Lloyd's iterations see; by
    default drawn from `seed`, see `fit_rows`.
    """
    count = len(points)
    random = np.random.default_rng(seed)
    if sample is None:
        most = fit_rows(count, clusters)
        sample = np.sort(random.permutation(count)[:most]) if most < count else np.arange(count)
    seen = points[:] if len(sample) == count else points[sample]
    centroids = _begin(seen, min(clusters, len(seen)), random)
    before = np.inf
    with compute.workers(_Sums(seen)) as workers:
        for _ in range(ITERATIONS):
            centroids, inertia = _lloyd(seen, centroids, workers, relocate=True)
            if inertia >= (1 - TOLERANCE) * before:
                break
            before = inertia
    if len(seen) == count:
        return centroids
    with compute.workers(_Sums(points)) as workers:
        return _lloyd(points, centroids, workers, relocate=False)[0]


def fit_rows(count: int, clusters: int) -> int:
    """How many of `count` rows k-means is fitted on."""
    return min(count, max(FIT_ROWS, FIT_ROWS_OF_A_CLUSTER * clusters))


def nearest(
    points: Rows, centroids: Vectors, compute: Compute = THIS_MACHINE
) -> tuple[npt.NDArray[np.int32], Vectors]:
    """Each row's nearest centroid, (rows,) int32, and the Euclidean distance to it, (rows,) float32."""
    labels = np.empty(len(points), dtype=np.int32)
    distances = np.empty(len(points), dtype=np.float32)
    parts = _parts(len(points))
    for part, found in zip(parts, in_order(compute, _Nearest(points, centroids), parts), strict=True):
        labels[part], distances[part] = found
    return labels, distances


def _parts(count: int) -> list[slice]:
    return [slice(start, min(start + PART, count)) for start in range(0, count, PART)]


@dataclass(frozen=True, eq=False)
class _Nearest:
    """Builds what finds the nearest centroids of a slice of rows."""

    points: Rows
    centroids: Vectors

    def __call__(self) -> Callable[[slice], tuple[npt.NDArray[np.int32], Vectors]]:
        points, centroids = self.points, self.centroids
        transposed, half_norms = _prepared(centroids)

        def nearest_of(rows: slice) -> tuple[npt.NDArray[np.int32], Vectors]:
            labels = np.empty(rows.stop - rows.start, dtype=np.int32)
            distances = np.empty(len(labels), dtype=np.float32)

            def work(part: slice) -> None:
                block = points[rows.start + part.start : rows.start + part.stop]
                scores = block @ transposed
                scores -= half_norms
                labels[part] = scores.argmax(axis=1)
                # From differences: |x|² + |c|² - 2xc would lose half the digits close to a centroid.
                difference = block - centroids[labels[part]]
                distances[part] = np.sqrt(np.einsum("ij,ij->i", difference, difference))

            for _ in in_blocks(len(labels), work):
                pass
            return labels, distances

        return nearest_of


def _begin(points: Vectors, clusters: int, random: np.random.Generator) -> Vectors:
    """Rows to begin from: greedy k-means++ with 2 + ln k trials, as in scikit-learn."""
    few = clusters <= SEEDED_CLUSTERS
    size = min(len(points), max(SEEDING_ROWS, 8 * clusters)) if few else clusters
    rows = np.ascontiguousarray(points[np.sort(random.permutation(len(points))[:size])])
    if not few or not clusters:
        return rows
    with one_thread():
        return _plus_plus(rows, clusters, random)


def _plus_plus(rows: Vectors, clusters: int, random: np.random.Generator) -> Vectors:
    trials = 2 + int(np.log(clusters))
    chosen = [int(random.integers(len(rows)))]
    norms = np.einsum("ij,ij->i", rows, rows)

    def squared(places: Places) -> Vectors:
        found: Vectors = norms[:, None] + norms[places] - 2 * (rows @ rows[places].T)
        return np.maximum(found, 0, out=found)

    distances = squared(np.array(chosen))[:, 0]
    distances[chosen] = 0
    while len(chosen) < clusters:
        cumulative = np.cumsum(distances, dtype=np.float64)
        drawn = np.searchsorted(cumulative, random.random(trials) * cumulative[-1], side="right")
        candidates = np.minimum(drawn, len(rows) - 1)
        after = np.minimum(squared(candidates), distances[:, None])
        after[candidates, np.arange(trials)] = 0
        best = int(after.sum(axis=0, dtype=np.float64).argmin())
        if distances[candidates[best]] <= 1e-6 * norms[candidates[best]]:
            break  # every row equals one that is chosen already, but for rounding
        chosen.append(int(candidates[best]))
        distances = np.ascontiguousarray(after[:, best])
    return rows[chosen]


@dataclass(frozen=True)
class _Sum:
    """Of a slice of rows: `sums` float64 (clusters, dimension) and `sizes` int64 (clusters,) of the rows nearest
    to each centroid, and `squared` float32 (rows,), the squared distances."""

    sums: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.int64]
    squared: Vectors


@dataclass(frozen=True, eq=False)
class _Sums:
    """Builds what adds up a slice of rows by their nearest centroids."""

    points: Rows

    def __call__(self) -> Callable[[slice, Vectors], _Sum]:
        return self._sum

    def _sum(self, rows: slice, centroids: Vectors) -> _Sum:
        from scipy.sparse import csr_array

        transposed, half_norms = _prepared(centroids)

        def work(part: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Vectors, Vectors]:
            block = self.points[rows.start + part.start : rows.start + part.stop]
            scores = block @ transposed
            scores -= half_norms
            labels = scores.argmax(axis=1)
            squared = np.einsum("ij,ij->i", block, block)
            squared -= 2 * scores[np.arange(len(block)), labels]
            found, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
            ones = np.ones(len(block), dtype=np.float32)
            membership = csr_array((ones, own, np.arange(len(block) + 1)), shape=(len(block), len(found)))
            return found, counts, membership.T @ block, squared

        sums = np.zeros(centroids.shape, dtype=np.float64)
        sizes = np.zeros(len(centroids), dtype=np.int64)
        distances = np.empty(rows.stop - rows.start, dtype=np.float32)
        start = 0
        for found, counts, part, squared in in_blocks(len(distances), work):
            sums[found] += part
            sizes[found] += counts
            distances[start : start + len(squared)] = squared
            start += len(squared)
        return _Sum(sums, sizes, distances)


def _lloyd(
    points: Rows, centroids: Vectors, workers: Workers[_Sum], *, relocate: bool
) -> tuple[Vectors, float]:
    """The means of the rows nearest to each centroid, and the mean squared distance before they moved.

    A centroid without rows stays where it is, or with `relocate` goes to a row that is farthest from its
    own centroid.
    """
    sums = np.zeros(centroids.shape, dtype=np.float64)
    sizes = np.zeros(len(centroids), dtype=np.int64)
    distances = np.empty(len(points), dtype=np.float32)
    parts = _parts(len(points))
    for part, found in zip(parts, workers.map(parts, centroids), strict=True):
        sums += found.sums
        sizes += found.sizes
        distances[part] = found.squared
    empty = np.flatnonzero(sizes == 0)
    moved = (sums / np.maximum(sizes, 1)[:, None]).astype(np.float32)
    moved[empty] = centroids[empty]
    if relocate and len(empty):
        far = np.argsort(-distances, kind="stable")[: len(empty)]
        moved[empty] = points[np.sort(far)]
    return moved, float(distances.mean(dtype=np.float64)) if len(points) else 0.0


def _prepared(centroids: Vectors) -> tuple[Vectors, Vectors]:
    """The centroids' transpose and half their squared lengths: x·c - |c|²/2 is largest for the nearest."""
    return np.ascontiguousarray(centroids.T), np.einsum("ij,ij->i", centroids, centroids) / 2
