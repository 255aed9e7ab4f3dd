"""Rows small enough that each rule can be checked against its definition."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from assets.diversity.merged import MergedRows, merge


def unit_points(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(rows, dimension))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def merged_rows(
    ids: Sequence[str],
    vectors: np.ndarray,
    recipes: Sequence[tuple[str, str, str, float]] = (),
    order: Sequence[int] | None = None,
) -> MergedRows:
    """`recipes` are (recipe id, parent, other parent, λ); `order` shuffles the originals."""
    order = range(len(ids)) if order is None else order
    names, first, second, weights = zip(*recipes, strict=True) if recipes else ((), (), (), ())
    return merge(
        pa.array([ids[place] for place in order], pa.string()),
        vectors[list(order)],
        *(pa.array(column, pa.string()) for column in (names, first, second)),
        np.array(weights, dtype=np.float64),
    )


@pytest.fixture
def unit() -> Callable[..., np.ndarray]:
    return unit_points


@pytest.fixture
def make_rows() -> Callable[..., MergedRows]:
    return merged_rows


@pytest.fixture(scope="session")
def six_clusters() -> MergedRows:
    """600 originals around 6 centres and 300 mixes of rows that lie beside each other in the list."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(6, 32))
    points = centres[np.repeat(np.arange(6), [200, 150, 100, 80, 50, 20])] + 0.3 * random.normal(
        size=(600, 32)
    )
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    ids = [f"{number * 2654435761 % 2**32:08x}" for number in range(600)]
    weights = random.beta(0.4, 0.4, 300).clip(0.01, 0.99)
    recipes = [
        (f"r{number * 2246822519 % 2**32:08x}", ids[2 * number], ids[2 * number + 1], float(weights[number]))
        for number in range(300)
    ]
    return merged_rows(ids, points, recipes)
