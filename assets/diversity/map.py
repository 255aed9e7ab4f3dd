"""A map of the clusters: rows on two principal components, and the sizes of the clusters, drawn."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from assets.diversity.merged import PLOTTED, MergedRows
from assets.interpolation.centroids import Vectors, one_thread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOTTED_ROWS = 3000
NUMBERED_CLUSTERS = 40
"""Clusters up to which each one's number is written at its middle."""


def draw_map(
    axes: "Axes", rows: MergedRows, labels: npt.NDArray[np.int32], chosen: npt.NDArray[np.bool_], seed: int
) -> None:
    """A sample of the rows: colour by cluster, marker by kind, representatives in full colour."""
    from matplotlib.patheffects import withStroke

    places = rows.sample(PLOTTED_ROWS, seed, PLOTTED)
    flat = projection(rows.vectors[places])
    labels, mixed, chosen = labels[places], rows.mixed[places], chosen[places]
    palette = _colours(int(labels.max(initial=0)) + 1)
    colours = palette[labels]
    for marked, opacity in ((~chosen, 0.16), (chosen, 0.9)):
        for kind, marker, size, width in ((~mixed, "o", 13, 0.0), (mixed, "x", 15, 0.9)):
            x, y = flat[marked & kind].T
            colour = colours[marked & kind]
            axes.scatter(x, y, c=colour, s=size, marker=marker, linewidths=width, alpha=opacity)
    found = np.unique(labels)
    for number in found if len(found) <= NUMBERED_CLUSTERS else ():
        x, y = np.median(flat[labels == number], axis=0)
        text = axes.text(x, y, str(number), fontsize=9, weight="bold", ha="center", va="center")
        text.set_color(tuple(palette[number]))
        text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    for marker, size, opacity, name in (
        ("o", 24, 0.9, "original, representative"),
        ("o", 24, 0.25, "original, not chosen"),
        ("x", 26, 0.9, "mix, representative"),
        ("x", 26, 0.3, "mix, not chosen"),
    ):
        axes.scatter([], [], c="black", s=size, marker=marker, alpha=opacity, label=name)
    axes.set_xticks([])
    axes.set_yticks([])
    # Room on the right for the legend, which is put where there are no points.
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.24 * (high - low))


def _colours(count: int) -> npt.NDArray[np.float64]:
    """A colour for each of `count` clusters, (count, 3): hues by the golden ratio, none of them pale."""
    from matplotlib.colors import hsv_to_rgb

    number = np.arange(count)
    hues = number * 0.618034 % 1
    return np.asarray(hsv_to_rgb(np.stack([hues, np.full(count, 0.9), 0.85 - 0.3 * (number % 2)], axis=1)))


def draw_sizes(
    axes: "Axes",
    labels: npt.NDArray[np.int32],
    mixed: npt.NDArray[np.bool_],
    chosen: npt.NDArray[np.bool_],
    colours: tuple[str, str, str],
) -> None:
    """Rows of each cluster, the largest first, and among them representatives, originals below mixes."""
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    originals = np.bincount(labels[chosen & ~mixed], minlength=len(sizes))[order]
    mixes = np.bincount(labels[chosen & mixed], minlength=len(sizes))[order]
    places = np.arange(len(sizes))
    axes.bar(places, sizes[order], color=colours[0], label="not chosen")
    axes.bar(places, originals, color=colours[1], label="representatives: originals")
    axes.bar(places, mixes, bottom=originals, color=colours[2], label="representatives: mixes")


def projection(points: Vectors) -> npt.NDArray[np.float32]:
    """The rows on their first two principal components, (rows, 2) float32, for a scatter plot.

    The sign of a component is fixed: its largest loading is positive.
    """
    flat = np.zeros((len(points), 2), dtype=np.float32)
    if len(points) < 2:
        return flat
    with one_thread():
        centred = points - points.mean(axis=0)
        _, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
        axes = axes[:, ::-1][:, :2]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        flat[:, : axes.shape[1]] = centred @ axes
    return flat
