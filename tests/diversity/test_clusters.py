"""Clusters: reproducible, whatever the order; quotas and the cap on interpolated rows hold."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.diversity.clusters import _density, cluster, interpolated_vectors, share_out
from assets.records import DIVERSITY_CLUSTERS

ROWS = 600


def unit(points: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 32))
    return unit(
        centres[np.repeat(np.arange(6), [200, 150, 100, 80, 50, 20])] + 0.3 * rng.normal(size=(ROWS, 32))
    )


IDS = [f"{number * 2654435761 % 2**32:08x}" for number in range(ROWS)]
KINDS = ["interpolated" if number % 2 else "original" for number in range(ROWS)]


def test_clusters_are_reproducible_whatever_the_order(points: np.ndarray) -> None:
    table = cluster(IDS, KINDS, points, clusters=6, seed=4)
    assert table.schema == DIVERSITY_CLUSTERS.schema
    assert table["row_id"].to_pylist() == sorted(IDS)
    assert cluster(IDS, KINDS, points, clusters=6, seed=4) == table
    order = np.random.default_rng(1).permutation(ROWS)
    shuffled = cluster([IDS[n] for n in order], [KINDS[n] for n in order], points[order], clusters=6, seed=4)
    assert shuffled == table


def test_ranks_go_by_density_and_representatives_by_rank(points: np.ndarray) -> None:
    table = cluster(IDS, ["original"] * ROWS, points, clusters=6, representatives=0.25).to_pylist()
    assert sum(row["representative"] for row in table) == ROWS // 4
    for number in {row["cluster"] for row in table}:
        members = sorted((row for row in table if row["cluster"] == number), key=lambda row: row["rank"])
        assert [row["rank"] for row in members] == list(range(len(members)))
        densities = [row["density"] for row in members]
        assert densities == sorted(densities, reverse=True)
        chosen = [row["representative"] for row in members]
        assert chosen == sorted(chosen, reverse=True)


def test_distance_is_to_the_centroid(points: np.ndarray) -> None:
    table = cluster(IDS, KINDS, points, clusters=1).to_pylist()
    mean = points.mean(axis=0)
    by_id = dict(zip(IDS, points, strict=True))
    for row in table[::50]:
        assert row["distance"] == pytest.approx(np.linalg.norm(by_id[row["row_id"]] - mean), abs=1e-5)


def test_density_is_the_mean_cosine_to_the_nearest_neighbours() -> None:
    points = unit(np.random.default_rng(2).normal(size=(40, 8)))
    cosine = points @ points.T
    np.fill_diagonal(cosine, -1)
    np.testing.assert_allclose(_density(points), np.sort(cosine, axis=1)[:, -10:].mean(axis=1), atol=1e-6)
    assert _density(points[:1]).tolist() == [0.0]
    np.testing.assert_allclose(_density(points[:2]), points[0] @ points[1], atol=1e-6)


def test_density_among_a_sample_leaves_a_row_itself_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assets.diversity.clusters.NEIGHBOURS_AMONG", 10)
    monkeypatch.setattr("assets.diversity.clusters.BLOCK", 7)
    points = unit(np.random.default_rng(3).normal(size=(45, 8)))
    density = _density(points)
    assert density.max() < 0.9
    among = points[::5]
    cosine = np.sort(points[1] @ among.T)[::-1]
    assert density[1] == pytest.approx(cosine[:8].mean(), abs=0.2)


@pytest.mark.parametrize("quota", ["equal", "proportional", "sqrt"])
@pytest.mark.parametrize("cap", [0.0, 0.2, 0.5, 1.0])
def test_interpolated_rows_keep_to_their_share(points: np.ndarray, quota: str, cap: float) -> None:
    table = cluster(
        IDS, KINDS, points, clusters=6, representatives=0.4, quota=quota, maximum_share_interpolated=cap
    )
    for number in range(6):
        chosen = [
            row["kind"] for row in table.to_pylist() if row["cluster"] == number and row["representative"]
        ]
        assert chosen.count("interpolated") <= cap * len(chosen) + 1e-9
    assert sum(table["representative"].to_pylist()) == 240


def test_quotas_differ_as_named(points: np.ndarray) -> None:
    def counts(quota: str) -> np.ndarray:
        table = cluster(IDS, ["original"] * ROWS, points, clusters=6, representatives=0.1, quota=quota)
        return np.sort(np.bincount(table["cluster"].to_numpy()[table["representative"].to_numpy(False)]))

    assert counts("equal").tolist() == [10] * 6
    assert counts("proportional").tolist() == [2, 5, 8, 10, 15, 20]
    assert counts("sqrt")[0] > 2


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=9), st.integers(1, 300)
)
def test_shares_sum_up(rows: list[tuple[int, int]], total: int) -> None:
    most = np.array([number for number, _ in rows])
    weights = np.array([float(weight) for _, weight in rows])
    given_ = share_out(weights, most, total)
    assert (given_ <= most).all() and (given_[weights == 0] == 0).all()
    assert given_.sum() == min(total, most[weights > 0].sum())


def test_fewer_rows_than_clusters_and_no_rows() -> None:
    points = unit(np.random.default_rng(0).normal(size=(3, 4)))
    table = cluster(["a", "b", "c"], ["original"] * 3, points, clusters=32)
    assert len(set(table["cluster"].to_pylist())) == 3
    assert table["density"].to_pylist() == [0, 0, 0]
    empty = cluster([], [], np.zeros((0, 4), np.float32), clusters=3)
    assert empty == DIVERSITY_CLUSTERS.schema.empty_table()


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_equal_points_fall_into_one_cluster() -> None:
    points = np.tile(unit(np.ones((1, 4))), (20, 1))
    table = cluster(
        [f"{n:02}" for n in range(20)], ["original"] * 20, points, clusters=4, representatives=0.5
    )
    assert isinstance(table, pa.Table) and sum(table["representative"].to_pylist()) == 10


def test_interpolated_vectors_are_normalised_mixes() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(3, 8)))
    mixed = interpolated_vectors(["a", "b"], ["c", "a"], np.array([0.25, 0.999999]), ["a", "b", "c"], vectors)
    expected = 0.25 * vectors[0] + 0.75 * vectors[2]
    np.testing.assert_allclose(mixed[0], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(mixed[1], vectors[1], atol=1e-5)
    opposite = interpolated_vectors(
        ["a"], ["b"], np.array([0.5]), ["a", "b"], np.stack([vectors[0], -vectors[0]])
    )
    assert np.isfinite(opposite).all()
    with pytest.raises(ValueError, match="unknown"):
        interpolated_vectors(["unknown"], ["a"], np.array([0.5]), ["a"], vectors)
