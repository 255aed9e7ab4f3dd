"""A figure of what runs chose, and when: from which source and cluster, and how long the responses are."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets.selection.plots import COLOURS, GREY, draw_quartiles, draw_shares
from resources.files import write_atomically

PALETTE = (COLOURS[0], GREY, COLOURS[1], "#2a7f62")


@dataclass(frozen=True)
class Chosen:
    """A run's line of results, its ledger, and of each entry in its order: the source, the response's tokens."""

    line: Mapping[str, Any]
    ledger: pa.Table
    groups: Sequence[str]
    lengths: Sequence[int]


def draw(runs: Sequence[Chosen], path: Path) -> None:
    """Writes an SVG. The first run's sources and clusters are drawn, where there are several; all runs' lengths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    first = runs[0]
    matplotlib.rcParams["svg.hashsalt"] = str(first.line["run"])  # the same run gives the same file
    steps, clusters = first.ledger["step"].to_numpy(), first.ledger["cluster"].to_pylist()
    shares = {name: of for name, of in (("source", first.groups), ("cluster", clusters)) if _vary(steps, of)}
    heights = [max(4, len(set(of))) for of in shares.values()] + [9]
    figure = Figure(figsize=(8, 1.6 + 0.22 * sum(heights)), layout="constrained")
    every = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (name, of) in zip(every, shares.items(), strict=False):
        draw_shares(axes, steps, of)
        axes.set_ylabel(name)
    lengths = every[-1]
    lengths.set_prop_cycle(color=PALETTE)
    for one in runs:
        draw_quartiles(lengths, one.ledger["step"].to_numpy(), np.array(one.lengths), one.line["arm"])
    lengths.set_yscale("log")
    lengths.set_ylabel("tokens of a response\nmedian and quartiles")
    lengths.spines[["top", "right"]].set_visible(False)
    lengths.set_xlabel("optimizer step")
    rewarded = f", rewarded on {first.line['reward']}" if first.line["reward"] else ""
    every[0].set_title(
        f"{first.line['arm']}, pool {first.line['pool']}{rewarded}, seed {first.line['seed']}",
        loc="left",
        fontsize=11,
    )
    figure.legend(frameon=False, fontsize=9, ncols=len(runs), loc="outside lower center")
    data = io.BytesIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    write_atomically(path, data.getvalue())


def _vary(steps: np.ndarray, groups: Sequence[Any]) -> bool:
    """Whether the groups' shares are not the same at every step."""
    return (
        len({tuple(sorted(str(groups[at]) for at in np.flatnonzero(steps == one))) for one in set(steps)}) > 1
    )


def read_ledger(folder: Path, run: str) -> pa.Table:
    """The ledger of a run."""
    return pq.read_table(folder / "ledgers" / f"{run}.parquet")
