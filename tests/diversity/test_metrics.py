"""Diversity in numbers: each against its definition."""

import numpy as np
import pytest

from assets.diversity.clusters import cluster
from assets.diversity.metrics import diversity_metrics, mean_cosine_distance, projection, vendi_score


def unit(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(rows, dimension))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_mean_cosine_distance_is_that_of_all_pairs() -> None:
    points = unit(50, 12)
    cosine = points @ points.T
    pairs = cosine[~np.eye(50, dtype=bool)]
    assert mean_cosine_distance(points) == pytest.approx(1 - pairs.mean(), abs=1e-6)
    assert mean_cosine_distance(points[:1]) == 0


def test_vendi_score_counts_different_rows() -> None:
    assert vendi_score(np.eye(8, dtype=np.float32)) == pytest.approx(8)
    assert vendi_score(np.tile(unit(1, 8), (20, 1))) == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(8, dtype=np.float32)[:3], 5, axis=0)) == pytest.approx(3)
    points = unit(30, 6)
    values = np.linalg.eigvalsh(points @ points.T / 30)
    values = values[values > 1e-9]
    assert vendi_score(points) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-4)


def test_metrics_of_a_clustering() -> None:
    points = unit(300, 16)
    ids = [f"{number * 7 % 300:03}" for number in range(300)]
    kinds = ["interpolated" if number % 3 == 0 else "original" for number in range(300)]
    table = cluster(ids, kinds, points, clusters=5, representatives=0.2, maximum_share_interpolated=1.0)
    metrics = diversity_metrics(table, points, ids)
    sizes = np.bincount(table["cluster"].to_numpy())
    assert (metrics["clusters"], metrics["smallest_cluster"], metrics["largest_cluster"]) == (
        5,
        sizes.min(),
        sizes.max(),
    )
    assert metrics["inertia"] == pytest.approx((table["distance"].to_numpy() ** 2).sum(), rel=1e-5)
    assert metrics["representatives"] == 60
    chosen = [row["kind"] for row in table.to_pylist() if row["representative"]]
    assert metrics["share_interpolated"] == chosen.count("interpolated") / 60
    assert -1 <= metrics["silhouette"] <= 1
    assert metrics["vendi_score"] <= 16
    assert diversity_metrics(table.slice(0, 0), points, ids) == {"clusters": 0, "representatives": 0}


def test_projection_keeps_the_largest_spread() -> None:
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(200, 5)) * [0.1, 4, 0.1, 2, 0.1]).astype(np.float32)
    flat = projection(points)
    assert flat.shape == (200, 2) and flat.dtype == np.float32
    np.testing.assert_allclose(np.abs(np.corrcoef(flat[:, 0], points[:, 1])[0, 1]), 1, atol=1e-2)
    np.testing.assert_array_equal(projection(points), flat)
    assert projection(points[:1]).tolist() == [[0, 0]]
    assert projection(points[:, :1]).shape == (200, 2)
