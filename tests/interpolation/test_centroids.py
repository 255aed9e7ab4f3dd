"""k-means: bit by bit the same, as close as scikit-learn's, and never all rows in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from assets.interpolation import centroids
from assets.interpolation.centroids import fit_centroids, fit_rows, in_blocks, nearest


def mixture(rows: int, gaussians: int = 40, dimension: int = 24, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(gaussians, dimension))
    points = centres[random.integers(0, gaussians, rows)] + 0.4 * random.normal(size=(rows, dimension))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def inertia(points: np.ndarray, found: np.ndarray) -> float:
    return float((nearest(points, found)[1].astype(np.float64) ** 2).mean())


class Counted:
    """Rows that say how many of them were asked for at once."""

    def __init__(self, points: np.ndarray) -> None:
        self.points = points
        self.most = 0

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        found = self.points[rows]
        self.most = max(self.most, len(found))
        return found


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    points = mixture(9000)
    found = fit_centroids(points, 30, seed=5)
    assert found.dtype == np.float32 and found.shape == (30, 24)
    distances = nearest(points, found)[1]
    for threads in (1, 2, 3):
        with threadpool_limits(limits=threads):
            np.testing.assert_array_equal(fit_centroids(points, 30, seed=5), found)
            np.testing.assert_array_equal(nearest(points, found)[1], distances)
    assert (fit_centroids(points, 30, seed=6) != found).any()


def test_as_close_as_scikit_learn() -> None:
    points = mixture(6000)
    theirs = [KMeans(40, random_state=seed).fit(points).inertia_ / len(points) for seed in range(5)]
    ours = [inertia(points, fit_centroids(points, 40, seed)) for seed in range(5)]
    assert np.mean(ours) <= np.mean(theirs) * 1.01


def test_nearest_is_the_nearest() -> None:
    points, found = mixture(5000), mixture(50, seed=1)
    labels, distances = nearest(points, found)
    all_distances = np.linalg.norm(points[:, None].astype(np.float64) - found, axis=2)
    np.testing.assert_array_equal(labels, all_distances.argmin(axis=1))
    np.testing.assert_allclose(distances, all_distances.min(axis=1), atol=1e-6)
    assert labels.dtype == np.int32 and distances.dtype == np.float32


def test_fitted_on_a_sample_then_moved_by_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    points = mixture(20_000)
    monkeypatch.setattr(centroids, "FIT_ROWS", 3000)
    counted = Counted(points)
    found = fit_centroids(counted, 40, seed=0)
    assert counted.most == 3000  # the sample; everything else comes in smaller blocks
    np.testing.assert_array_equal(fit_centroids(points, 40, seed=0), found)
    sample = np.arange(0, 20_000, 7)
    moved = fit_centroids(points, 40, seed=0, sample=sample)
    assert inertia(points, moved) < inertia(points, fit_centroids(points[sample], 40, seed=0))
    assert fit_rows(20_000, 40) == 3000 and fit_rows(20_000, 200) == 6400 and fit_rows(100, 40) == 100


def test_every_row_is_found_where_there_are_as_many_clusters() -> None:
    points = mixture(50)
    assert inertia(points, fit_centroids(points, 50, seed=0)) == pytest.approx(0, abs=1e-9)
    assert len(fit_centroids(points, 80, seed=0)) == 50
    assert fit_centroids(points[:0], 3, seed=0).shape == (0, 24)
    assert len(nearest(points[:0], points[:2])[0]) == 0


def test_equal_rows_make_one_cluster_and_repeated_ones_as_many_as_differ() -> None:
    points = mixture(5)
    assert len(fit_centroids(np.repeat(points[:1], 30, axis=0), 4, seed=0)) == 1
    repeated = fit_centroids(np.repeat(points, 30, axis=0), 20, seed=0)
    assert len(repeated) == 5 and inertia(points, repeated) < 1e-9


@pytest.mark.parametrize("clusters", [3, 40])
def test_no_centroid_is_left_without_rows(clusters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Begun from equal rows: all but one centroid are empty, and go to rows that are far away.
    monkeypatch.setattr(centroids, "_begin", lambda rows, number, _: np.repeat(rows[:1], number, axis=0))
    points = mixture(2000)
    found = fit_centroids(points, clusters, seed=0)
    assert len(np.unique(nearest(points, found)[0])) == clusters


def test_more_clusters_than_are_seeded_begin_from_rows_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(centroids, "SEEDED_CLUSTERS", 20)
    points = mixture(3000)
    assert inertia(points, fit_centroids(points, 40, 0)) < 1.2 * inertia(points, mixture(40, seed=9))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 500), st.integers(1, 70), st.integers(1, 4))
def test_blocks_come_in_order_and_cover_all_rows(count: int, size: int, threads: int) -> None:
    with threadpool_limits(limits=threads):
        blocks = list(in_blocks(count, lambda part: range(part.start, part.stop), size))
    assert [row for block in blocks for row in block] == list(range(count))


def test_an_error_in_a_block_is_raised() -> None:
    def work(part: slice) -> None:
        raise RuntimeError(f"block {part.start}")

    with threadpool_limits(limits=2), pytest.raises(RuntimeError, match="block 0"):
        list(in_blocks(100, work, 10))
