"""Ray Core actors, as `resources/compute` uses them, beside Ray Data's `map_batches` with an actor pool.

`python -m tests.benchmarks.compute_engines`, with Ray installed; a cluster of two small nodes is started in a
network namespace. Prints a line of JSON for each measure: the seconds of a first pass over 200 parts of 64 KiB,
of each of five further passes with other shared values (as k-means makes them), whether results come in the
order of the parts, and what becomes of a part that ends its worker.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from resources.compute.ray_cluster import RayCluster, connect
from resources.errors import SultanaError
from tests.compute.loopback import PROJECT, cluster, in_namespace

PARTS, NUMBERS, WORKERS, PASSES = 200, 8192, 2, 5
PATIENCE = 60
"""Seconds that are waited for what becomes of a part that ends its worker."""


def say(engine: str, **facts: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps({"engine": engine, **facts}) + "\n")
    sys.stdout.flush()


def parts() -> Iterable[np.ndarray]:
    """Arrays of 64 KiB, each of its own number."""
    return (np.full(NUMBERS, float(number)) for number in range(PARTS))


def scaling() -> Callable[[np.ndarray, float], float]:
    """The sum of a part, scaled."""
    return lambda part, shared: float(part.sum() * shared)


class Scaling:
    """The same for Ray Data: a batch is one row with the part."""

    def __init__(self, shared: float) -> None:
        self.shared = shared

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The sum of each part, scaled."""
        return {"sum": batch["data"].reshape(len(batch["data"]), -1).sum(axis=1) * self.shared}


def ending() -> Callable[[int], int]:
    """Ends its process at part 3."""

    def work(part: int) -> int:
        return os._exit(1) if part == 3 else part

    return work


class Ending:
    """The same for Ray Data."""

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ends its process at part 3."""
        if 3 in batch["id"]:
            os._exit(1)
        return batch


def core() -> None:
    """Ray Core."""
    expected = [number * NUMBERS for number in range(PARTS)]
    started = time.monotonic()
    with RayCluster(count=WORKERS).workers(scaling) as workers:
        found = list(workers.map(parts(), 1.0))
        first, started = time.monotonic() - started, time.monotonic()
        for number in range(PASSES):
            list(workers.map(parts(), float(number)))
    seconds = (time.monotonic() - started) / PASSES
    say("core", first_pass=round(first, 2), further_pass=round(seconds, 2), in_order=found == expected)
    started = time.monotonic()
    try:
        with RayCluster(count=WORKERS).workers(ending) as workers:
            list(workers.map(range(12)))
    except SultanaError as error:
        say("core", ended_worker=error.code, seconds=round(time.monotonic() - started, 1))


def data() -> None:
    """Ray Data."""
    import ray.data

    connect("")
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    expected = [number * NUMBERS for number in range(PARTS)]
    seconds = []
    for number in range(1, PASSES + 2):
        started = time.monotonic()
        made = ray.data.from_numpy([part[None] for part in parts()]).map_batches(
            Scaling,
            fn_constructor_args=(float(number),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=WORKERS),
        )
        found = [row["sum"] / number for row in made.iter_rows()]
        seconds.append(time.monotonic() - started)
    further = sum(seconds[1:]) / PASSES
    say("data", first_pass=round(seconds[0], 2), further_pass=round(further, 2), in_order=found == expected)


def data_ending() -> None:
    """Ray Data, and a part that ends its worker."""
    import ray.data
    import ray.exceptions

    connect("")
    made = ray.data.range(12, override_num_blocks=12).map_batches(
        Ending, batch_size=1, compute=ray.data.ActorPoolStrategy(size=WORKERS)
    )
    try:
        made.count()
        made.take_all()
    except ray.exceptions.RayError as error:
        say("data", ended_worker=type(error).__name__)


def main() -> None:
    """Starts the cluster and each measure in a process of its own."""
    if "inside" not in sys.argv:
        command = [sys.executable, "-m", "tests.benchmarks.compute_engines", "inside"]
        sys.exit(subprocess.run(in_namespace(command), cwd=PROJECT, check=False).returncode)
    if sys.argv[-1] in MEASURES:
        MEASURES[sys.argv[-1]]()
        return
    with cluster(WORKERS):
        for name in MEASURES:
            command = [sys.executable, "-m", "tests.benchmarks.compute_engines", "inside", name]
            limit = PATIENCE if name == "data_ending" else 300
            try:
                subprocess.run(command, cwd=PROJECT, check=True, timeout=limit)
            except subprocess.TimeoutExpired:
                say(name, unfinished_after=limit)


MEASURES = {"core": core, "data": data, "data_ending": data_ending}

if __name__ == "__main__":
    main()
