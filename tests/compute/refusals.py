"""What a pool of Ray workers refuses, gives up and holds back: `python -m tests.compute.refusals`.

Runs in a namespace of its own (see loopback.py). Prints a line of JSON for each case.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from resources.compute import ray_workers
from resources.compute.boundary import in_order
from resources.compute.ray_cluster import RayCluster
from resources.errors import SultanaError
from tests.compute.loopback import cluster


def squaring() -> Callable[[int], int]:
    """Squares a part."""
    return lambda part: part * part


def slow_at_first() -> Callable[[int], int]:
    """Takes its time over part 0."""

    def work(part: int) -> int:
        time.sleep(4 if part == 0 else 0)
        return part

    return work


def refusing() -> Callable[[int], int]:
    """Refuses part 5."""

    def work(part: int) -> int:
        if part == 5:
            raise SultanaError("Row 5 is wrong", "Leave it out", code="row-refused")
        return part

    return work


def ending() -> Callable[[int], int]:
    """Ends its process at part 3."""

    def work(part: int) -> int:
        if part == 3:
            os._exit(1)
        return part

    return work


def say(case: str, **facts: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps({"case": case, **facts}) + "\n")
    sys.stdout.flush()


def refused(case: str, engine: RayCluster, factory: Callable[[], Callable[[int], int]]) -> None:
    """Says with what error a pass over 12 parts ends."""
    try:
        list(in_order(engine, factory, range(12)))
    except SultanaError as error:
        say(case, code=error.code, problem=error.problem, remedy=error.remedy)


def main() -> None:
    """Prints the lines."""
    with cluster(2):
        engine = RayCluster(count=2)
        refused("error of the work", engine, refusing)
        refused("part that ends its worker", engine, ending)
        refused("no room", RayCluster(count=1, cpus=64, wait_seconds=8), squaring)

        taken = 0

        def counted() -> Iterator[int]:
            nonlocal taken
            for number in range(100):
                taken += 1
                yield number

        with engine.workers(slow_at_first) as workers:
            list(workers.map(range(1, 9)))  # both have started
            results = workers.map(counted())
            next(results)
            say("most parts taken ahead", taken=taken)
            results.close()
            say("pass broken off", result=list(workers.map(range(1, 5))))

        facts = ray_workers.code_facts()
        ray_workers.code_facts = lambda: {**facts, "numpy": "0.1"}  # type: ignore[assignment]
        refused("other code on the node", engine, squaring)


if __name__ == "__main__":
    main()
