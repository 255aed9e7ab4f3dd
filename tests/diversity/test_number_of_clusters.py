"""The number of clusters that is there to be found is found."""

from collections.abc import Callable

import numpy as np
import pytest

from assets.diversity.merged import MergedRows
from assets.diversity.number_of_clusters import Candidate, best, candidates, series, silhouette


def test_the_series_is_geometric() -> None:
    assert series(100) == [4, 6, 8, 11, 16, 23, 32, 45, 64, 91]
    assert series(4) == [4] and series(3) == []


@pytest.mark.parametrize("gaussians", [8, 16, 32])
def test_the_number_of_well_separated_groups_is_chosen(
    gaussians: int, make_rows: Callable[..., MergedRows]
) -> None:
    random = np.random.default_rng(gaussians)
    centres = random.normal(size=(gaussians, 40))
    points = (centres[np.arange(4000) % gaussians] + 0.3 * random.normal(size=(4000, 40))).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    rows = make_rows([f"{number * 2654435761 % 2**32:08x}" for number in range(4000)], points)
    tried = candidates(rows, seed=0)
    chosen = best(tried, otherwise=0)
    assert 2**-0.6 <= chosen / gaussians <= 2**0.6
    assert [one.clusters for one in tried] == series(75)
    again = candidates(rows, seed=0)
    assert [(one.silhouette, one.mean_squared_distance) for one in again] == [
        (one.silhouette, one.mean_squared_distance) for one in tried
    ]


def test_ties_go_to_the_smaller_number_and_too_few_rows_to_the_default(
    unit: Callable[..., np.ndarray], make_rows: Callable[..., MergedRows]
) -> None:
    assert best([Candidate(4, 0.1, 1.0, 0.0), Candidate(8, 0.1, 1.0, 0.0)], otherwise=32) == 4
    few = make_rows([f"{number:02}" for number in range(60)], unit(60, 5))
    assert candidates(few, seed=0) == [] and best([], otherwise=32) == 32


def test_silhouette_is_zero_where_it_is_not_defined(unit: Callable[..., np.ndarray]) -> None:
    points = unit(10, 3)
    assert silhouette(points, np.zeros(10, np.int32)) == 0
    assert silhouette(points, np.arange(10, dtype=np.int32)) == 0
    assert -1 <= silhouette(points, (np.arange(10) % 2).astype(np.int32)) <= 1
