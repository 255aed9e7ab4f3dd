"""The engine of a Ray cluster: actors, each of which builds a stage's function once, and Ray Train's groups.

Actors of Ray Core, not Ray Data's `map_batches`: parts come from a generator as they are needed, k-means
and training pass over the same rows many times, with actors and rows kept from pass to pass, and a part that
ends its worker again and again is given up by name. `python -m tests.benchmarks.compute_engines` measures both.
"""

import contextlib
import importlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from resources.compute.boundary import Factory, Message, Result
from resources.compute.ray_group import ray_group
from resources.compute.ray_workers import RayWorkers
from resources.errors import SultanaError


@dataclass(frozen=True)
class RayCluster:
    """Workers on a running Ray cluster.

    `address` is host:port of its head, or empty for the one that RAY_ADDRESS names or that runs on this
    machine. `count` 0 is as many workers as there is room for. A worker takes `cpus` cores and `gpus` GPUs.
    `wait_seconds` is how long to wait for the first worker to start.
    """

    address: str = ""
    count: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    wait_seconds: float = 300.0
    elsewhere: ClassVar[bool] = True

    @contextlib.contextmanager
    def workers(self, factory: Factory[Result]) -> Iterator[RayWorkers[Result]]:
        """See `boundary.Compute`. Raises SultanaError where there is no Ray or no cluster."""
        ray = connect(self.address)
        count = self.count or self._room(ray)
        pool: RayWorkers[Result] = RayWorkers(
            ray, factory, count=count, cpus=self.cpus, gpus=self.gpus, wait_seconds=self.wait_seconds
        )
        try:
            yield pool
        finally:
            pool.close()

    def check_processes(self, count: int) -> None:
        """See `boundary.Compute`: what room there is shows when the group is started, as a cluster may grow."""

    def process_group(self, module: str, folder: Path, count: int) -> Generator[Message]:
        """See `boundary.Compute`. `folder` has to be one that all nodes see at the same path."""
        return ray_group(
            connect(self.address),
            module,
            folder,
            count,
            cpus=self.cpus,
            gpus=self.gpus,
            wait_seconds=self.wait_seconds,
        )

    def _room(self, ray: Any) -> int:
        """How many workers fit the nodes that there are; at least 1, for a cluster that grows on demand."""
        room = 0
        for node in ray.nodes():
            if node["Alive"]:
                found = node["Resources"]
                fits = [found.get("CPU", 0) // self.cpus]
                if self.gpus:
                    fits.append(found.get("GPU", 0) // self.gpus)
                room += int(min(fits))
        return max(1, room)


def connect(address: str) -> Any:
    """The module `ray`, connected to the cluster at `address`.

    Raises SultanaError where Ray is not installed or no cluster answers.
    """
    ray = load_ray()
    if ray.is_initialized():
        return ray
    if address.startswith("ray://"):
        raise SultanaError(
            f"The compute address {address} is one of Ray Client, which cannot hand over large results",
            "Run Sultana on a node of the cluster and give host:port of its head",
            code="ray-client-address",
        )
    try:
        ray.init(
            address=address or os.environ.get("RAY_ADDRESS") or "auto",
            log_to_driver=False,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SultanaError(
            f"No Ray cluster answers at {address or 'this machine'} ({reason})",
            "Start one with `ray start --head`, give resources.compute.config.address, or set its engine to local",
            code="ray-cluster-missing",
        ) from error
    return ray


def load_ray() -> Any:
    """The module `ray`, which is imported here alone. Raises SultanaError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise SultanaError(
            "The compute engine is ray, and Ray is not installed",
            'Run `pip install "sultana[ray]"`, or set resources.compute.config.engine to local',
            code="ray-not-installed",
        ) from error
