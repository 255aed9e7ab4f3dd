"""How diverse rows are, in numbers: all rows, originals, representatives, and as many rows at random.

Representatives are fewer than the rows that they are chosen from, which alone moves most of these numbers
(fewer rows have farther neighbours). So they stand beside as many originals and mixes drawn at random: what
differs between these two is the selection's doing.
"""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from assets.diversity.merged import MEASURED, MergedRows
from assets.interpolation.centroids import Places, Rows, Vectors, in_blocks

NEIGHBOUR_ROWS = 1000
"""Rows whose nearest neighbour is looked for, among all rows of their group."""

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Diversity:
    """Numbers of one group of rows.

    `vendi_score`: the effective number of different rows under the cosine kernel (Friedman and Dieng,
    2023), between 1 and the dimension. `mean_cosine_distance` of two different rows.
    `nearest_neighbour_mean`, `nearest_neighbour_median`: cosine distance of a row to the nearest other
    one. `cluster_entropy` of the shares of the clusters, in nats, and over its largest value
    (`cluster_entropy_normalised`, 1: all clusters equal). `task_coverage`: share of the tasks of all
    rows that have a row here, an original of that task or a mix with one parent of it.
    `effective_tasks`: exp of the entropy of the tasks' shares, half a mix counted for each parent's task.
    """

    rows: int
    share_of_mixes: float
    vendi_score: float
    mean_cosine_distance: float
    nearest_neighbour_mean: float
    nearest_neighbour_median: float
    cluster_entropy: float
    cluster_entropy_normalised: float
    task_coverage: float
    effective_tasks: float


def groups(rows: MergedRows, chosen: npt.NDArray[np.bool_], seed: int) -> dict[str, Places]:
    """The groups of rows that are compared: places in `rows`."""
    originals, mixes = np.flatnonzero(~rows.mixed), np.flatnonzero(rows.mixed)
    drawn = [
        rows.sample(int((chosen & (rows.mixed == kind)).sum()), seed, MEASURED, among=places)
        for kind, places in ((False, originals), (True, mixes))
    ]
    return {
        "all rows": np.arange(len(rows)),
        "originals": originals,
        "representatives": np.flatnonzero(chosen),
        "as many at random": np.sort(np.concatenate(drawn)),
    }


def diversity(
    rows: MergedRows, places: Places, labels: npt.NDArray[np.int32], tasks: Codes, seed: int
) -> Diversity:
    """The numbers of the rows at `places`.

    `labels` (rows,) are the clusters of all rows; `tasks` (originals,) are the tasks of the originals, as
    codes from 0, in the order of the originals' vectors.
    """
    gram, total = moments(rows.vectors, places)
    queries = rows.sample(NEIGHBOUR_ROWS, seed, MEASURED, among=places)
    nearest_distances = nearest_neighbour_distances(rows.vectors, places, queries)
    clusters = np.bincount(labels)
    entropy = _entropy(np.bincount(labels[places], minlength=len(clusters)))
    most = float(np.log(max(2, int((clusters > 0).sum()))))
    parents = rows.vectors.parents
    halves = np.bincount(tasks[parents[places]].reshape(-1), minlength=int(tasks.max(initial=-1)) + 1)
    return Diversity(
        rows=len(places),
        share_of_mixes=float(rows.mixed[places].mean()) if len(places) else 0.0,
        vendi_score=vendi_score(gram),
        mean_cosine_distance=mean_cosine_distance(gram, total, len(places)),
        nearest_neighbour_mean=float(nearest_distances.mean()) if len(nearest_distances) else 0.0,
        nearest_neighbour_median=float(np.median(nearest_distances)) if len(nearest_distances) else 0.0,
        cluster_entropy=entropy,
        cluster_entropy_normalised=entropy / most,
        task_coverage=float((halves > 0).mean()) if len(halves) else 0.0,
        effective_tasks=float(np.exp(_entropy(halves))) if len(places) else 0.0,
    )


def as_table(measured: dict[str, Diversity]) -> list[dict[str, str | float | int]]:
    """One row for each number, one column for each group."""
    columns = {name: asdict(one) for name, one in measured.items()}
    measures = list(next(iter(columns.values())))
    return [
        {"measure": measure.replace("_", " "), **{name: one[measure] for name, one in columns.items()}}
        for measure in measures
    ]


def balance(rows: MergedRows, places: Places) -> float:
    """Mean of min(λ, 1 - λ) over the mixes among the rows at `places`, 0 for none: 1/2 is the middle."""
    weights = rows.vectors.weights[places[rows.mixed[places]]].astype(np.float64)
    return float(np.minimum(weights, 1 - weights).mean()) if len(weights) else 0.0


def moments(points: Rows, places: Places) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """X^T X (dimension, dimension) and the sum of the rows (dimension,) at `places`, float64."""

    def work(part: slice) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        block = points[places[part]].astype(np.float64)
        return block.T @ block, block.sum(axis=0)

    dimension = points[:0].shape[1]
    gram, total = np.zeros((dimension, dimension)), np.zeros(dimension)
    for one, added in in_blocks(len(places), work):
        gram += one
        total += added
    return gram, total


def mean_cosine_distance(gram: npt.NDArray[np.float64], total: npt.NDArray[np.float64], count: int) -> float:
    """Mean of 1 - cosine over all pairs of different rows of unit length; 0 for one row. See `moments`."""
    if count < 2:
        return 0.0
    return 1.0 - float(total @ total - np.trace(gram)) / (count * (count - 1))


def vendi_score(gram: npt.NDArray[np.float64]) -> float:
    """exp of the entropy of the eigenvalues of X X^T / n, from the smaller X^T X; 0 for no row."""
    values = np.linalg.eigvalsh(gram)
    total = values.sum()
    if total <= 0:
        return 0.0
    values = values[values > 1e-12 * total] / total
    values /= values.sum()
    return float(np.exp(-(values * np.log(values)).sum()))


def nearest_neighbour_distances(points: Rows, places: Places, queries: Places) -> Vectors:
    """1 - cosine of each of `queries` to the nearest other row at `places` (ascending), float32."""
    if len(places) < 2:
        return np.zeros(0, dtype=np.float32)
    asked = points[queries]

    def work(part: slice) -> Vectors:
        among = places[part]
        cosine = points[among] @ asked.T
        at = np.searchsorted(among, queries)
        itself = np.flatnonzero((at < len(among)) & (among[np.minimum(at, len(among) - 1)] == queries))
        cosine[at[itself], itself] = -np.inf
        return np.asarray(cosine.max(axis=0))

    closest = np.full(len(queries), -np.inf, dtype=np.float32)
    for one in in_blocks(len(places), work):
        np.maximum(closest, one, out=closest)
    return np.maximum(1 - closest, 0)


def _entropy(counts: npt.NDArray[np.int64]) -> float:
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum())
