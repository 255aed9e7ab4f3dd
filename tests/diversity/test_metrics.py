"""Diversity in numbers: each against its definition."""

from collections.abc import Callable

import numpy as np
import pytest

from assets.diversity.clusters import cluster
from assets.diversity.merged import MergedRows
from assets.diversity.metrics import (
    as_table,
    balance,
    diversity,
    groups,
    mean_cosine_distance,
    moments,
    nearest_neighbour_distances,
    vendi_score,
)


def vendi_of(points: np.ndarray) -> float:
    return vendi_score(moments(points, np.arange(len(points)))[0])


def test_mean_cosine_distance_is_that_of_all_pairs(unit: Callable[..., np.ndarray]) -> None:
    points = unit(50, 12)
    cosine = points @ points.T
    pairs = cosine[~np.eye(50, dtype=bool)]
    found = mean_cosine_distance(*moments(points, np.arange(50)), 50)
    assert found == pytest.approx(1 - pairs.mean(), abs=1e-6)
    assert mean_cosine_distance(*moments(points, np.arange(1)), 1) == 0


def test_vendi_score_counts_different_rows(unit: Callable[..., np.ndarray]) -> None:
    identity = np.eye(8, dtype=np.float32)
    assert vendi_of(identity) == pytest.approx(8)
    assert vendi_of(np.tile(unit(1, 8), (20, 1))) == pytest.approx(1)
    assert vendi_of(np.repeat(identity[:3], 5, axis=0)) == pytest.approx(3)
    assert vendi_of(identity[:0]) == 0
    points = unit(30, 6)
    values = np.linalg.eigvalsh(points @ points.T / 30)
    values = values[values > 1e-9]
    assert vendi_of(points) == pytest.approx(np.exp(-(values * np.log(values)).sum()), rel=1e-4)


def test_moments_are_those_of_the_rows_whatever_the_block(unit: Callable[..., np.ndarray]) -> None:
    points = unit(5000, 6)
    places = np.arange(0, 5000, 2)
    gram, total = moments(points, places)
    np.testing.assert_allclose(gram, points[places].T.astype(float) @ points[places], atol=1e-6)
    np.testing.assert_allclose(total, points[places].sum(axis=0, dtype=float), atol=1e-9)


def test_nearest_neighbours_are_other_rows_of_the_group(unit: Callable[..., np.ndarray]) -> None:
    points = unit(5000, 6)
    places = np.arange(1, 5000, 2)
    queries = places[::100]
    found = nearest_neighbour_distances(points, places, queries)
    cosine = points[queries] @ points[places].T
    cosine[np.arange(len(queries)), np.searchsorted(places, queries)] = -1
    np.testing.assert_allclose(found, 1 - cosine.max(axis=1), atol=1e-6)
    assert nearest_neighbour_distances(points, places[:1], places[:1]).tolist() == []
    twins = np.repeat(points[:3], 2, axis=0)
    np.testing.assert_allclose(nearest_neighbour_distances(twins, np.arange(6), np.arange(6)), 0, atol=1e-6)


def test_clusters_and_tasks_are_counted(make_rows: Callable[..., MergedRows]) -> None:
    # Sorted: a, b, c, d are originals of the tasks 0, 0, 1, 2; m mixes a and c, n mixes b and d.
    rows = make_rows(
        ["a", "b", "c", "d"], np.eye(4, dtype=np.float32), [("m", "a", "c", 0.9), ("n", "b", "d", 0.2)]
    )
    tasks = np.array([0, 0, 1, 2], dtype=np.int32)
    labels = np.array([0, 0, 1, 2, 0, 1], dtype=np.int32)

    def of(*places: int) -> object:
        return diversity(rows, np.array(places, dtype=np.int64), labels, tasks, seed=0)

    everything = of(0, 1, 2, 3, 4, 5)
    shares = np.array([3, 2, 1]) / 6
    entropy = -(shares * np.log(shares)).sum()
    assert everything.cluster_entropy == pytest.approx(entropy)  # type: ignore[attr-defined]
    assert everything.cluster_entropy_normalised == pytest.approx(entropy / np.log(3))  # type: ignore[attr-defined]
    assert everything.task_coverage == 1 and everything.share_of_mixes == pytest.approx(1 / 3)  # type: ignore[attr-defined]
    halves = np.array([3.0, 1.5, 1.5]) / 6
    assert everything.effective_tasks == pytest.approx(np.exp(-(halves * np.log(halves)).sum()))  # type: ignore[attr-defined]
    # A mix counts for the tasks of both its parents.
    assert of(4).task_coverage == pytest.approx(2 / 3) and of(4).effective_tasks == pytest.approx(2)  # type: ignore[attr-defined]
    assert of(0, 1).task_coverage == pytest.approx(1 / 3) and of(0, 1).effective_tasks == 1  # type: ignore[attr-defined]
    assert of(0, 1).cluster_entropy_normalised == 0  # type: ignore[attr-defined]
    assert of().rows == 0 and of().effective_tasks == 0  # type: ignore[attr-defined]


def test_balance_is_one_half_in_the_middle(make_rows: Callable[..., MergedRows]) -> None:
    rows = make_rows(["a", "b"], np.eye(2, dtype=np.float32), [("m", "a", "b", 0.9), ("n", "a", "b", 0.5)])
    assert balance(rows, np.arange(4)) == pytest.approx(0.3)
    assert balance(rows, np.array([3])) == pytest.approx(0.5)
    assert balance(rows, np.arange(2)) == 0


def test_representatives_stand_beside_as_many_rows_of_each_kind(six_clusters: MergedRows) -> None:
    table = cluster(six_clusters, clusters=6, representatives=0.2)
    chosen = table["representative"].to_numpy()
    found = groups(six_clusters, chosen, seed=0)
    drawn = found["as many at random"]
    assert len(drawn) == len(found["representatives"]) == chosen.sum() == len(set(drawn))
    assert six_clusters.mixed[drawn].sum() == (chosen & six_clusters.mixed).sum()
    assert not six_clusters.mixed[found["originals"]].any() and len(found["originals"]) == 600
    tasks = np.zeros(600, dtype=np.int32)
    labels = table["cluster"].to_numpy()
    shown = as_table(
        {name: diversity(six_clusters, places, labels, tasks, 0) for name, places in found.items()}
    )
    assert list(shown[0]) == ["measure", *found]
    by_name = {row["measure"]: row for row in shown}
    assert by_name["rows"]["all rows"] == 900
    assert 1 <= by_name["vendi score"]["representatives"] <= 32  # type: ignore[operator]
