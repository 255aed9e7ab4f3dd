"""Originals and mixes as one matrix: vectors of mixes computed when asked for, draws by hash."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.diversity.merged import FIT, RANDOM, MergedRows, merge


def place(rows: MergedRows, row_id: str) -> int:
    return rows.row_ids.to_pylist().index(row_id)


def test_a_mix_is_the_mix_of_its_parents_scaled_to_unit_length(
    unit: Callable[..., np.ndarray], make_rows: Callable[..., MergedRows]
) -> None:
    vectors = unit(3, 8)
    rows = make_rows(["a", "b", "c"], vectors, [("m", "a", "c", 0.25), ("n", "b", "a", 0.999999)])
    assert rows.row_ids.to_pylist() == ["a", "b", "c", "m", "n"]
    assert rows.mixed.tolist() == [False, False, False, True, True]
    found = rows.vectors[:]
    np.testing.assert_allclose(found[:3], vectors, atol=1e-6)
    expected = 0.25 * vectors[0] + 0.75 * vectors[2]
    np.testing.assert_allclose(found[3], expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(found[4], vectors[1], atol=1e-5)
    np.testing.assert_allclose(rows.vectors.unscaled(np.array([3]))[0], expected, atol=1e-6)
    lengths = rows.vectors.relative_lengths(np.arange(5))
    np.testing.assert_allclose(lengths[:3], 1, atol=1e-6)
    assert lengths[3] == pytest.approx(np.linalg.norm(expected), abs=1e-6) and lengths[3] < 1


def test_vectors_of_any_length_are_mixed_before_they_are_scaled(make_rows: Callable[..., MergedRows]) -> None:
    vectors = np.array([[4, 0], [0, 1]], dtype=np.float32)
    found = make_rows(["a", "b"], vectors, [("m", "a", "b", 0.5)]).vectors[:]
    np.testing.assert_allclose(found, [[1, 0], [0, 1], np.array([4, 1]) / np.sqrt(17)], atol=1e-6)


def test_opposite_parents_in_halves_stay_at_the_origin(make_rows: Callable[..., MergedRows]) -> None:
    vectors = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    assert make_rows(["a", "b"], vectors, [("m", "a", "b", 0.5)]).vectors[2:].tolist() == [[0, 0]]


def test_slices_and_places_give_the_same_bits_whatever_the_block(
    six_clusters: MergedRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = six_clusters.vectors
    whole = vectors[:]
    assert whole.shape == (900, 32) and vectors[:0].shape == (0, 32)
    places = np.random.default_rng(0).permutation(900)
    monkeypatch.setattr("assets.diversity.merged.BLOCK", 7)
    np.testing.assert_array_equal(vectors[places], whole[places])
    np.testing.assert_array_equal(vectors[100:450], whole[100:450])


def test_unknown_parents_and_repeated_ids_are_refused(unit: Callable[..., np.ndarray]) -> None:
    ids = pa.array(["a", "b"])
    mix = (pa.array(["m"]), pa.array(["a"]), pa.array(["nobody"]), np.array([0.5]))
    with pytest.raises(ValueError, match="parent nobody"):
        merge(ids, unit(2, 4), *mix)
    with pytest.raises(ValueError, match="id of its own"):
        merge(pa.array(["a", "a"]), unit(2, 4))
    with pytest.raises(ValueError, match="2 originals have 3 vectors"):
        merge(ids, unit(3, 4))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.permutations(range(8)))
def test_the_order_that_rows_came_in_is_forgotten(originals: list[int], recipes: list[int]) -> None:
    from tests.diversity.conftest import merged_rows, unit_points

    ids = [f"{number * 7 % 12:02}" for number in range(12)]
    mixes = [(f"m{number}", ids[number], ids[number + 2], 0.1 * number + 0.1) for number in range(8)]
    one = merged_rows(ids, unit_points(12, 5), mixes)
    other = merged_rows(ids, unit_points(12, 5), [mixes[place] for place in recipes], originals)
    assert one.row_ids == other.row_ids
    np.testing.assert_array_equal(one.mixed, other.mixed)
    np.testing.assert_array_equal(one.vectors[:], other.vectors[:])
    np.testing.assert_array_equal(one.sample(7, 3, FIT), other.sample(7, 3, FIT))


def test_samples_are_stratified_seeded_and_in_order(six_clusters: MergedRows) -> None:
    sample = six_clusters.sample(90, 0, FIT)
    assert len(sample) == 90 and (np.diff(sample) > 0).all()
    assert six_clusters.mixed[sample].sum() == 30
    np.testing.assert_array_equal(six_clusters.sample(90, 0, FIT), sample)
    assert (six_clusters.sample(90, 1, FIT) != sample).any()
    assert (six_clusters.sample(90, 0, RANDOM) != sample).any()
    np.testing.assert_array_equal(six_clusters.sample(900, 0, FIT), np.arange(900))
    among = np.arange(100, 200)
    assert set(six_clusters.sample(10, 0, FIT, among=among)) <= set(among.tolist())


def test_a_smaller_sample_is_part_of_a_larger_one_of_the_same_kind(six_clusters: MergedRows) -> None:
    small, large = (set(six_clusters.sample(count, 0, FIT).tolist()) for count in (90, 300))
    assert small < large


def test_random_numbers_are_even(six_clusters: MergedRows) -> None:
    shares = six_clusters.random_numbers(0, RANDOM).astype(np.float64) / 2.0**64
    assert abs(shares.mean() - 0.5) < 0.05 and len(set(shares)) == len(six_clusters)
