"""What a curriculum chose and when, drawn on matplotlib axes.

Steps lie on the x axis; where there are more than `COLUMNS`, neighbouring ones share a column. All functions
take plain arrays with one element an entry of the ledger, in any order.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from resources.text import escape_terminal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 60
"""Columns of steps at most: narrower ones cannot be told apart."""

GROUPS = 24
"""Lines of a heat map at most, the last one for the least frequent groups."""

LABEL = 28
"""Characters of a group's name that are shown."""

COLOURS, GREY = ("#5b3a8c", "#d98e04"), "#8a8a8a"


def columns_of(steps: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The column of each entry (n,), and the borders of the columns in steps (columns + 1,)."""
    total = int(steps.max()) + 1
    count = min(total, COLUMNS)
    return steps.astype(np.int64) * count // total, np.linspace(0, total, count + 1)


def draw_shares(
    axes: "Axes",
    steps: NDArray[Any],
    groups: Sequence[Any],
    weights: NDArray[np.float64] | None = None,
    most: int = GROUPS,
) -> None:
    """A heat map: which share of a step's rows comes from which group, groups that came early on top.

    `groups` names each entry's group, shown as text; `weights` counts an entry as less than a row. Of more
    than `most` groups the most frequent are drawn; of the others their share of all rows is said.
    """
    labels, place = np.unique([str(group) for group in groups], return_inverse=True)
    amount = np.ones(len(place)) if weights is None else weights
    totals = np.bincount(place, amount, len(labels))
    order = np.lexsort((labels, -totals))
    shown = order if len(order) <= most else order[: most - 1]
    means = np.bincount(place, amount * steps, len(labels)) / np.maximum(totals, 1e-12)
    shown = shown[np.argsort(means[shown], kind="stable")]
    line = np.full(len(labels), len(shown))
    line[shown] = np.arange(len(shown))
    names = [escape_terminal(str(labels[one]), LABEL) for one in shown]
    if len(shown) < len(labels):
        rest = 100 * (1 - totals[shown].sum() / totals.sum())
        names.append(f"{len(labels) - len(shown)} others: {rest:.0f} %")
    column, borders = columns_of(steps)
    counts = np.zeros((len(names), len(borders) - 1))
    np.add.at(counts, (line[place], column), amount)
    shares = counts / np.maximum(counts.sum(axis=0), 1e-12)
    shares[len(shown) :] = np.nan
    image = axes.imshow(
        100 * shares,
        aspect="auto",
        cmap="Purples",
        vmin=0,
        interpolation="nearest",
        extent=(0.5, borders[-1] + 0.5, len(names) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.set_label("% of the step's rows", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


def draw_quartiles(axes: "Axes", steps: NDArray[Any], values: NDArray[Any], label: str) -> None:
    """The median of a measure of rows over steps, and the band between its quartiles."""
    column, borders = columns_of(steps)
    found = np.array([np.percentile(values[column == one], (25, 50, 75)) for one in range(len(borders) - 1)])
    middles = (borders[:-1] + borders[1:] + 1) / 2
    line = axes.plot(middles, found[:, 1], label=label)[0]
    axes.fill_between(middles, found[:, 0], found[:, 2], color=line.get_color(), alpha=0.2, linewidth=0)
    axes.set_xlim(0.5, borders[-1] + 0.5)


def draw_repeats(axes: "Axes", steps: NDArray[Any], row_ids: Sequence[str]) -> None:
    """How many distinct rows had been selected after each step, beside all rows selected."""
    order = np.argsort(steps, kind="stable")
    _, first = np.unique(np.asarray(row_ids)[order], return_index=True)
    total = int(steps.max()) + 1
    new = np.bincount(steps[order][first].astype(np.int64), minlength=total)
    axes.plot(np.arange(1, total + 1), np.cumsum(new), label="distinct rows")
    selected = np.cumsum(np.bincount(steps.astype(np.int64), minlength=total))
    axes.plot(np.arange(1, total + 1), selected, linestyle=":", label="rows, repeats counted")
    axes.set_ylim(0, None)
    axes.set_xlim(0.5, total + 0.5)


def draw_gains(
    axes: "Axes", steps: NDArray[Any], scores: NDArray[np.float64], losses: Sequence[float]
) -> None:
    """Each step's mean score against the fall of the loss that the step brought, later steps darker.

    `losses` (T + 1,) are those of the run that the ledger belongs to, before the first step and after each.
    """
    gains = -np.diff(np.asarray(losses, dtype=np.float64))
    means = np.bincount(steps.astype(np.int64), scores) / np.bincount(steps.astype(np.int64))
    number = np.arange(1, len(gains) + 1)
    image = axes.scatter(
        means, gains, c=number, cmap="Purples", vmin=1 - len(gains) / 2, s=24
    )  # the palest are unseen
    axes.axhline(0, color=GREY, linewidth=0.8)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03)
    bar.ax.set_ylim(1, max(2, len(gains)))
    bar.set_label("step", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    if len(gains) > 2 and means.std() > 0 and gains.std() > 0:
        correlation = np.corrcoef(means, gains)[0, 1]
        axes.plot([], [], " ", label=f"correlation {correlation:+.2f} over {len(gains)} steps")


def draw_curves(
    axes: "Axes", curves: Mapping[str, Sequence[Sequence[float]]], deployed: Sequence[float] | None
) -> None:
    """Losses over the steps of training runs, one colour a label (`random` dotted), the deployed in black."""
    for label, runs in curves.items():
        style: dict[str, Any] = {"color": GREY, "linestyle": ":", "linewidth": 2} if label == "random" else {}
        for number, losses in enumerate(runs):
            line = axes.plot(losses, **{"linewidth": 1, "label": None if number else label, **style})[0]
            style["color"] = line.get_color()
    if deployed is not None:
        axes.plot(deployed, color="black", linewidth=2, label="deployed")


def draw_curriculum(
    figure: "Figure",
    ledger: pa.Table,
    *,
    title: str,
    tasks: Mapping[str, str] | None = None,
    lengths: Mapping[str, float] | None = None,
    losses: Mapping[str, float] | None = None,
) -> None:
    """One figure of a curriculum: clusters and tasks over the steps, then lengths, difficulty, repeats.

    `ledger` has rows of `records.CURRICULUM`. `tasks`, `lengths` (response, tokens) and `losses` (nats a
    token under the model before training) are by row id; a part whose mapping is left out is not drawn.
    """
    steps, row_ids = ledger["step"].to_numpy(), ledger["row_id"].to_pylist()
    parts: list[str] = ["clusters"]
    parts += ["tasks"] if tasks else []
    parts += ["lengths"] if lengths else []
    parts += ["losses"] if losses else []
    parts += ["repeats"]
    heights = [2.2 if part in ("clusters", "tasks") else 1.0 for part in parts]
    every = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, part in zip(every, parts, strict=True):
        axes.set_prop_cycle(color=COLOURS)
        if part == "clusters":
            draw_shares(axes, steps, ledger["cluster"].to_pylist(), most=16)
        elif part == "tasks" and tasks:
            draw_shares(axes, steps, [tasks[one] for one in row_ids], most=16)
        elif part == "lengths" and lengths:
            draw_quartiles(axes, steps, np.array([lengths[one] for one in row_ids]), "response length")
            axes.set_ylabel("tokens")
        elif part == "losses" and losses:
            draw_quartiles(axes, steps, np.array([losses[one] for one in row_ids]), "loss before training")
            axes.set_ylabel("nats a token")
        else:
            draw_repeats(axes, steps, row_ids)
            axes.set_ylabel("rows")
        if part in ("clusters", "tasks"):
            axes.set_title(part, loc="left", fontsize=9)
        else:
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    every[-1].set_xlabel("optimizer step")
    every[-1].locator_params(axis="x", integer=True)
