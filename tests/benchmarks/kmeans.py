"""k-means beside scikit-learn, faiss and Lance's own: time and quality in one run, one thread each.

Points are a mixture of 2,000 Gaussians in 384 dimensions, their axes' spread falling as that of sentence
embeddings does, scaled to unit length. The mean squared distance is computed from each side's centroids
in the same way, in float64.
"""

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resources.large_arrays import zeros
from tests.benchmarks.kmeans_sides import ITERATIONS, SIDES
from tests.benchmarks.runner import SkippedError, peer_python, run_side, say

CASES = ((50_000, 256), (50_000, 1024), (500_000, 256))
DIMENSION = 384
GAUSSIANS = 2000
SPREAD_INSIDE = 0.7
BLOCK = 8192


def kmeans(folder: Path, runs: int, rows: int) -> dict[str, Any]:
    """The line for data/bench.jsonl: medians of `runs` of each side, in turn. `rows` overrides the cases'."""
    cases = ((rows, 256),) if rows else CASES
    results, skipped = [], []
    for count, clusters in cases:
        points = mixture(count)
        np.save(folder / "points.npy", points)
        found: dict[str, list[dict[str, Any]]] = {}
        for run in range(runs):
            for side in SIDES:
                if run and side not in found:
                    continue  # skipped in the first run of this case
                try:
                    one = _side(side, folder, clusters)
                except SkippedError as reason:
                    say(
                        f"kmeans {run + 1}/{runs}, {count:,} rows, {clusters} clusters: {side} SKIPPED, {reason}"
                    )
                    skipped.append(f"{side}, {count} rows, {clusters} clusters: {reason}")
                    continue
                one["mean_squared_distance"] = mean_squared_distance(
                    points, np.load(folder / "centroids.npy")
                )
                found.setdefault(side, []).append(one)
                say(f"kmeans {run + 1}/{runs}, {count:,} rows, {clusters} clusters: {side}, {_words(one)}")
        results.append({"rows": count, "clusters": clusters, "sides": _medians(found)})
    _show(results)
    return {
        "name": "kmeans",
        "unit": "CPU-seconds of fit and of assigning all points, one thread; mean squared distance",
        "dimension": DIMENSION,
        "corpus": f"normalised mixture of {GAUSSIANS} Gaussians",
        "most_iterations": {"ours, faiss, Lance": ITERATIONS, "scikit-learn": "its defaults"},
        "cases": results,
        "skipped": skipped,
        "runs": runs,
    }


def mixture(count: int) -> npt.NDArray[np.float32]:
    """The points, (count, DIMENSION) float32 of unit length, always the same."""
    points = zeros((count, DIMENSION))
    for start, block in mixture_blocks(count):
        points[start : start + len(block)] = block
    return points


def mixture_blocks(count: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """The points block by block: the place of the first, and (at most BLOCK, DIMENSION) float32."""
    random = np.random.default_rng(0)
    spread = (np.arange(1, DIMENSION + 1) ** -0.5).astype(np.float32)
    centres = random.standard_normal((GAUSSIANS, DIMENSION), dtype=np.float32) * spread
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        noise = random.standard_normal((size, DIMENSION), dtype=np.float32) * spread
        block = centres[random.integers(0, GAUSSIANS, size)] + SPREAD_INSIDE * noise
        yield start, block / np.linalg.norm(block, axis=1, keepdims=True)


def mean_squared_distance(points: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32]) -> float:
    """Of each point to the nearest centroid, in float64."""
    wide = centroids.astype(np.float64)
    norms = (wide**2).sum(axis=1)
    total = 0.0
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK].astype(np.float64)
        total += float(((block**2).sum(axis=1) + (norms - 2 * block @ wide.T).min(axis=1)).sum())
    return total / len(points)


def _side(side: str, folder: Path, clusters: int) -> dict[str, Any]:
    # Only faiss is not among the packages that Sultana needs itself.
    python = peer_python() if side.startswith("faiss") else sys.executable
    files = (folder / "points.npy", clusters, folder / "centroids.npy")
    return run_side("kmeans_sides", side, *files, python=python, is_peer=side != "ours")


def _medians(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    measures = ("fit_seconds", "fit_wall_seconds", "assign_seconds", "mean_squared_distance")
    return {
        side: {name: round(statistics.median(one[name] for one in runs), 5) for name in measures}
        | {"reproducible": all(one["reproducible"] for one in runs), "version": runs[0]["version"]}
        for side, runs in found.items()
    }


def _words(one: dict[str, Any]) -> str:
    return (
        f"fit {one['fit_seconds']:.2f} s, assign {one['assign_seconds']:.2f} s, "
        f"mean squared distance {one['mean_squared_distance']:.4f}, "
        f"{'the same bits again' if one['reproducible'] else 'other bits again'}"
    )


def _show(results: list[dict[str, Any]]) -> None:
    for case in results:
        say(f"kmeans, {case['rows']:,} x {DIMENSION}, {case['clusters']} clusters:")
        own = case["sides"]["ours"]
        for side, one in case["sides"].items():
            say(
                f"  {side:<29} {_words(one)}; fit {one['fit_seconds'] / own['fit_seconds']:.2f} and distance "
                f"{one['mean_squared_distance'] / own['mean_squared_distance']:.4f} of ours"
            )
