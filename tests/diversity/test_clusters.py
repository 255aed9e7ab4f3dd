"""Clusters: reproducible whatever the order, ranked as asked, with enough originals."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from assets.diversity.clusters import REPRESENTATIVE_BY, cluster
from assets.diversity.config import Quota, RepresentativeBy
from assets.diversity.merged import MergedRows
from assets.diversity.representatives import QUOTAS
from assets.records import DIVERSITY_CLUSTERS


def of_clusters(table: pa.Table) -> list[list[dict[str, object]]]:
    """The rows of each cluster in the order of their ranks."""
    rows = table.to_pylist()
    return [
        sorted((row for row in rows if row["cluster"] == number), key=lambda row: row["rank"])
        for number in sorted({row["cluster"] for row in rows})
    ]


def test_clusters_are_reproducible_whatever_the_number_of_threads(six_clusters: MergedRows) -> None:
    table = cluster(six_clusters, clusters=6, seed=4)
    assert table.schema == DIVERSITY_CLUSTERS.schema
    assert table["row_id"].to_pylist() == sorted(six_clusters.row_ids.to_pylist())
    assert set(table["kind"].to_pylist()) == {"original", "interpolated"}
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            assert cluster(six_clusters, clusters=6, seed=4) == table


@settings(max_examples=25, deadline=None)
@given(
    st.permutations(range(60)),
    st.permutations(range(30)),
    st.sampled_from(REPRESENTATIVE_BY),
    st.sampled_from(list(QUOTAS)),
)
def test_the_order_of_the_rows_changes_nothing(
    originals: list[int], recipes: list[int], representative_by: str, quota: str
) -> None:
    from tests.diversity.conftest import merged_rows, unit_points

    ids = [f"{number * 37 % 60:02}" for number in range(60)]
    points = unit_points(60, 8)
    mixes = [(f"m{number:02}", ids[number], ids[number + 9], 0.03 * number + 0.05) for number in range(30)]
    tables = [
        cluster(rows, clusters=5, representative_by=representative_by, quota=quota, seed=2)
        for rows in (
            merged_rows(ids, points, mixes),
            merged_rows(ids, points, [mixes[place] for place in recipes], originals),
        )
    ]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("representative_by", REPRESENTATIVE_BY)
def test_ranks_go_by_what_is_asked_and_representatives_by_rank(
    six_clusters: MergedRows, representative_by: str
) -> None:
    table = cluster(
        six_clusters,
        clusters=6,
        representatives=0.25,
        representative_by=representative_by,
        minimum_share_of_originals=0,
    )
    assert sum(table["representative"].to_pylist()) == 225
    for rows in of_clusters(table):
        assert [row["rank"] for row in rows] == list(range(len(rows)))
        keys = {
            "density": [-row["density"] for row in rows],  # type: ignore[operator]
            "centroid": [row["distance"] for row in rows],
            "farthest": [-row["distance"] for row in rows],  # type: ignore[operator]
            "random": [],
        }[representative_by]
        assert keys == sorted(keys)
        chosen = [row["representative"] for row in rows]
        assert chosen == sorted(chosen, reverse=True)


def test_a_random_order_depends_on_id_and_seed_alone(six_clusters: MergedRows) -> None:
    def ranks(seed: int) -> list[list[object]]:
        table = cluster(six_clusters, clusters=1, representative_by="random", seed=seed)
        return [[row["row_id"] for row in rows] for rows in of_clusters(table)]

    assert ranks(0) == ranks(0) != ranks(1)
    names = ranks(0)[0]
    assert abs(np.corrcoef(np.argsort(names), np.arange(900))[0, 1]) < 0.1


def test_distance_is_to_the_centroid(six_clusters: MergedRows) -> None:
    table = cluster(six_clusters, clusters=1)
    points = six_clusters.vectors[:]
    expected = np.linalg.norm(points - points.mean(axis=0), axis=1)
    np.testing.assert_allclose(table["distance"].to_numpy(), expected, atol=1e-5)


def test_the_clusters_are_those_that_were_made(six_clusters: MergedRows) -> None:
    from sklearn.metrics import adjusted_rand_score

    found = {row["row_id"]: row["cluster"] for row in cluster(six_clusters, clusters=6).to_pylist()}
    made = np.repeat(np.arange(6), [200, 150, 100, 80, 50, 20])
    labels = [found[f"{number * 2654435761 % 2**32:08x}"] for number in range(600)]
    assert adjusted_rand_score(made, labels) > 0.8


@pytest.mark.parametrize("representative_by", REPRESENTATIVE_BY)
@pytest.mark.parametrize("quota", list(QUOTAS))
@pytest.mark.parametrize("minimum", [0.0, 0.5, 0.8, 1.0])
def test_enough_of_what_a_cluster_gives_are_originals(
    six_clusters: MergedRows, representative_by: str, quota: str, minimum: float
) -> None:
    table = cluster(
        six_clusters,
        clusters=6,
        representatives=0.4,
        representative_by=representative_by,
        quota=quota,
        minimum_share_of_originals=minimum,
    )
    for rows in of_clusters(table):
        kinds = [row["kind"] for row in rows if row["representative"]]
        assert kinds.count("original") >= minimum * len(kinds) - 1e-9
    assert sum(table["representative"].to_pylist()) == 360


def test_too_few_originals_for_their_share_choose_fewer_rows(
    unit: Callable[..., np.ndarray], make_rows: Callable[..., MergedRows]
) -> None:
    mixes = [(f"m{number}", "a", "b", 0.1 * number + 0.1) for number in range(8)]
    table = cluster(make_rows(["a", "b"], unit(2, 4), mixes), clusters=1, representatives=1.0)
    chosen = [row["kind"] for row in table.to_pylist() if row["representative"]]
    assert sorted(chosen) == ["interpolated"] * 2 + ["original"] * 2


def test_fewer_rows_than_clusters_and_no_rows(
    unit: Callable[..., np.ndarray], make_rows: Callable[..., MergedRows]
) -> None:
    table = cluster(make_rows(["a", "b", "c"], unit(3, 4)), clusters=32)
    assert len(set(table["cluster"].to_pylist())) == 3
    assert table["density"].to_pylist() == [0, 0, 0]
    empty = cluster(make_rows([], np.zeros((0, 4), np.float32)), clusters=3)
    assert empty == DIVERSITY_CLUSTERS.schema.empty_table()


def test_equal_points_fall_into_one_cluster(
    unit: Callable[..., np.ndarray], make_rows: Callable[..., MergedRows]
) -> None:
    points = np.tile(unit(1, 4), (20, 1))
    table = cluster(make_rows([f"{n:02}" for n in range(20)], points), clusters=4)
    assert set(table["cluster"].to_pylist()) == {0}
    assert sum(table["representative"].to_pylist()) == 10


def test_a_fit_on_a_sample_clusters_all_rows(
    six_clusters: MergedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.interpolation.centroids.FIT_ROWS", 200)
    table = cluster(six_clusters, clusters=4)
    assert table.num_rows == 900 and len(set(table["cluster"].to_pylist())) == 4
    assert cluster(six_clusters, clusters=4) == table


def test_settings_are_checked_and_named_as_configured(six_clusters: MergedRows) -> None:
    assert tuple(one.value for one in RepresentativeBy) == REPRESENTATIVE_BY
    assert {one.value for one in Quota} == set(QUOTAS)
    for wrong in ({"clusters": 0}, {"clusters": 2, "quota": "?"}, {"clusters": 2, "representative_by": "?"}):
        with pytest.raises(ValueError):
            cluster(six_clusters, **wrong)  # type: ignore[arg-type]


def test_vectors_of_mixes_are_never_all_in_memory(
    unit: Callable[..., np.ndarray], make_rows: Callable[..., MergedRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"{number:04}" for number in range(400)]
    recipes = [
        (f"m{number}", ids[number % 400], ids[(number * 7 + 1) % 400], 0.3) for number in range(20_000)
    ]
    rows = make_rows(ids, unit(400, 256), recipes)
    monkeypatch.setattr("assets.interpolation.centroids.FIT_ROWS", 2000)
    cluster(rows, clusters=40, representatives=0.1)  # what is imported or compiled at the first call
    tracemalloc.start()
    with threadpool_limits(limits=1):
        cluster(rows, clusters=40, representatives=0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(rows) * 256 * 4 / 2
