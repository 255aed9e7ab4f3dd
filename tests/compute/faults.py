"""A worker, then a node, killed in the middle of each stage: `python -m tests.compute.faults [stage …]`.

Runs in a namespace of its own (see loopback.py). Prints a line of JSON for each stage: whether what it made
is equal to what this machine makes, how many workers were lost and how many parts were done again.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resources.compute.boundary import Factory
from resources.compute.ray_cluster import RayCluster
from resources.compute.ray_workers import RayWorkers
from resources.compute.this_machine import THIS_MACHINE
from tests.compute.loopback import PROJECT, add_node, cluster
from tests.compute.matrix import difference, made_by
from tests.compute.stages import STAGES

NODES = 3
SLOWED_PARTS, SLOWED_SECONDS = 16, 0.4
Kill = Callable[[int], None]
"""Kills something of the cluster, given the process of a busy worker."""


def parent_of(process: int) -> int:
    """The process that started it."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def kill_worker(process: int) -> None:
    """The worker alone, as the kernel does where memory runs out."""
    os.kill(process, signal.SIGKILL)


def node_killer(made: Any) -> Kill:
    """Kills the node under the worker, with all of its processes, without a word to the cluster."""

    def kill(process: int) -> None:
        raylet = parent_of(process)
        for node in made.list_all_nodes():
            if any(one.process.pid == raylet for one in node.all_processes["raylet"]):
                made.remove_node(node, allow_graceful=False)
                return
        raise AssertionError(f"no node has the worker {process}")

    return kill


class Faulty:
    """A Ray cluster of which something is killed after some results, while a worker is busy."""

    elsewhere = True

    def __init__(self, kills: Iterable[Kill]) -> None:
        self._cluster = RayCluster(count=NODES)
        self._kills = iter(kills)
        self._struck: set[int] = set()
        self.pools: list[RayWorkers[Any]] = []
        self.killed = 0

    @contextlib.contextmanager
    def workers(self, factory: Factory[Any]) -> Iterator[Any]:
        """See `boundary.Compute`."""
        with self._cluster.workers(_Slowed(factory)) as pool:
            self.pools.append(pool)
            yield _FaultyWorkers(self, pool)

    def strike(self, pool: RayWorkers[Any]) -> None:
        """Kills the next thing under a busy worker, once the loss before it is known."""
        if sum(one.workers_lost for one in self.pools) < self.killed:
            return
        busy = [process for _, process in pool.busy() if process not in self._struck]
        if busy and (kill := next(self._kills, None)) is not None:
            kill(busy[0])
            self._struck.add(busy[0])
            self.killed += 1


@dataclass(frozen=True)
class _Slowed:
    """Builds a worker that takes its time over its first parts, so that something is left to do after a loss."""

    factory: Factory[Any]

    def __call__(self) -> Callable[..., Any]:
        work, done = self.factory(), itertools.count()

        def slowed(part: Any, *shared: Any) -> Any:
            if next(done) < SLOWED_PARTS:
                time.sleep(SLOWED_SECONDS)
            return work(part, *shared)

        return slowed


class _FaultyWorkers:
    def __init__(self, faulty: Faulty, pool: RayWorkers[Any]) -> None:
        self._faulty, self._pool = faulty, pool

    def map(self, parts: Iterable[Any], *shared: Any) -> Iterator[Any]:
        for result in self._pool.map(parts, *shared):
            self._faulty.strike(self._pool)
            yield result


def smaller_parts() -> None:
    """More parts than workers, so that there is a middle to be killed in."""
    from assets.instructions import contamination, duplicates
    from assets.interpolation import centroids
    from assets.selection import auxiliary

    auxiliary.ROWS_AT_ONCE = 32
    contamination.BLOCK = duplicates.BLOCK = 1024
    centroids.PART = 4 * centroids.BLOCK


def main(stages: list[str]) -> None:
    """Prints the lines."""
    sys.path.insert(0, str(PROJECT / "tests" / "finetuning"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    smaller_parts()
    with tempfile.TemporaryDirectory() as folder, cluster(NODES) as made:
        for stage in stages or list(STAGES):
            expected, _ = made_by(THIS_MACHINE, stage, Path(folder))
            faulty = Faulty([kill_worker, node_killer(made)])
            started = time.monotonic()
            found, _ = made_by(faulty, stage, Path(folder))
            largest = max(difference(found[name], value) for name, value in expected.items())
            line = {
                "stage": stage,
                "killed": faulty.killed,
                "equal": largest == 0.0,
                "difference": largest,
                "workers_lost": sum(one.workers_lost for one in faulty.pools),
                "parts_done_again": sum(one.parts_done_again for one in faulty.pools),
                "seconds": round(time.monotonic() - started, 1),
            }
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
            add_node(made, num_cpus=1)


if __name__ == "__main__":
    main(sys.argv[1:])
