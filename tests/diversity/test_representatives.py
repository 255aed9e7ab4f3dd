"""Density, quotas and shares, each against its definition."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.diversity.representatives import choose, density, members, share_out


def test_density_is_the_mean_cosine_to_the_nearest_neighbours(unit: Callable[..., np.ndarray]) -> None:
    points = unit(60, 8, seed=2)
    rows = np.arange(5, 45)
    cosine = points[rows] @ points[rows].T
    np.fill_diagonal(cosine, -1)
    np.testing.assert_allclose(
        density(points, rows), np.sort(cosine, axis=1)[:, -10:].mean(axis=1), atol=1e-6
    )
    assert density(points, rows[:1]).tolist() == [0.0]
    np.testing.assert_allclose(density(points, rows[:2]), points[5] @ points[6], atol=1e-6)


def test_density_among_a_sample_leaves_a_row_itself_out(
    unit: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assets.diversity.representatives.NEIGHBOURS_AMONG", 20)
    monkeypatch.setattr("assets.diversity.representatives.BLOCK", 7)
    points = unit(45, 8, seed=3)
    found = density(points, np.arange(45))
    for row in range(45):
        cosine = np.sort([points[row] @ points[other] for other in range(0, 45, 3) if other != row])
        # A block that holds a row of the sample looks for one neighbour less among it where it must.
        assert found[row] == pytest.approx(cosine[-10:].mean(), abs=1e-6)


def test_members_are_the_rows_of_each_cluster_in_order() -> None:
    found = members(np.array([2, 0, 2, 2, 0], dtype=np.int32))
    assert [rows.tolist() for rows in found] == [[1, 4], [], [0, 2, 3]]
    assert members(np.zeros(0, dtype=np.int32)) == []


def test_quotas_differ_as_named() -> None:
    labels = np.repeat(np.arange(6), [200, 150, 100, 80, 50, 20]).astype(np.int32)
    ranks = np.concatenate([np.arange(size) for size in np.bincount(labels)]).astype(np.int32)

    def counts(quota: str) -> list[int]:
        chosen = choose(
            labels,
            ranks,
            np.zeros(600, bool),
            representatives=0.1,
            quota=quota,
            minimum_share_of_originals=0.5,
        )
        return np.bincount(labels[chosen]).tolist()

    assert counts("equal") == [10] * 6
    assert counts("proportional") == [20, 15, 10, 8, 5, 2]
    assert counts("sqrt") == [15, 13, 11, 10, 7, 4]


def test_a_mix_that_comes_too_early_is_passed_over() -> None:
    mixed = np.array([True, True, True, False, False, True])
    chosen = choose(
        np.zeros(6, np.int32),
        np.arange(6, dtype=np.int32),
        mixed,
        representatives=4 / 6,
        quota="equal",
        minimum_share_of_originals=0.5,
    )
    assert chosen.tolist() == [True, True, False, True, True, False]


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


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=60),
    st.floats(0.01, 1),
    st.sampled_from(["equal", "sqrt", "proportional"]),
    st.floats(0, 1),
)
def test_the_share_of_originals_holds_in_every_cluster(
    rows: list[tuple[int, bool]], share: float, quota: str, minimum: float
) -> None:
    labels = np.array([label for label, _ in rows], dtype=np.int32)
    mixed = np.array([mix for _, mix in rows])
    ranks = np.empty(len(rows), dtype=np.int32)
    for cluster in members(labels):
        ranks[cluster] = np.arange(len(cluster))
    chosen = choose(
        labels, ranks, mixed, representatives=share, quota=quota, minimum_share_of_originals=minimum
    )
    assert chosen.sum() <= max(1, round(share * len(rows)))
    for cluster in members(labels):
        picked = cluster[chosen[cluster]]
        assert (~mixed[picked]).sum() >= minimum * len(picked) - 1e-6
    if not mixed.any():
        assert chosen.sum() == max(1, round(share * len(rows)))
