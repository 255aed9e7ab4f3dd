"""The map: the largest spread, and kinds and representatives that can be told apart."""

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from assets.diversity.clusters import cluster
from assets.diversity.map import draw_map, draw_sizes, projection
from assets.diversity.merged import MergedRows


def test_projection_keeps_the_largest_spread() -> None:
    random = np.random.default_rng(0)
    points = (random.normal(size=(200, 5)) * [0.1, 4, 0.1, 2, 0.1]).astype(np.float32)
    flat = projection(points)
    assert flat.shape == (200, 2) and flat.dtype == np.float32
    np.testing.assert_allclose(np.abs(np.corrcoef(flat[:, 0], points[:, 1])[0, 1]), 1, atol=1e-2)
    np.testing.assert_array_equal(projection(points), flat)
    assert projection(points[:1]).tolist() == [[0, 0]]
    assert projection(points[:, :1]).shape == (200, 2)


def test_every_row_is_on_the_map_and_the_legend_says_what_is_what(six_clusters: MergedRows) -> None:
    table = cluster(six_clusters, clusters=6)
    labels, chosen = table["cluster"].to_numpy(), table["representative"].to_numpy()
    axes = Figure().subplots()
    draw_map(axes, six_clusters, labels, chosen, seed=0)
    assert sum(len(one.get_offsets()) for one in axes.collections) == 900
    assert axes.get_legend_handles_labels()[1] == [
        "original, representative",
        "original, not chosen",
        "mix, representative",
        "mix, not chosen",
    ]
    assert {text.get_text() for text in axes.texts} == {str(number) for number in range(6)}
    sizes = Figure().subplots()
    draw_sizes(sizes, labels, six_clusters.mixed, chosen, ("grey", "black", "red"))
    heights = [bar.get_height() for container in sizes.containers[1:] for bar in container]
    assert sum(heights) == chosen.sum()


def test_a_map_of_one_row(unit: Callable[..., np.ndarray], make_rows: Callable[..., MergedRows]) -> None:
    draw_map(Figure().subplots(), make_rows(["a"], unit(1, 4)), np.zeros(1, np.int32), np.ones(1, bool), 0)
