"""A training on Ray of which something is killed: `python -m tests.compute.training_faults [case …]`.

A worker, then a node under a worker, in the middle; then the process that waits for the training. Runs in a
namespace of its own (see loopback.py). Prints a line of JSON for each case.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from assets.finetuning.training_row import StepMetrics
from resources.compute.boundary import Message
from resources.compute.ray_cluster import RayCluster, connect
from resources.compute.ray_process import BEGUN
from resources.compute.this_machine import THIS_MACHINE
from tests.compute.faults import kill_worker, node_killer
from tests.compute.loopback import PROJECT, add_node, cluster
from tests.compute.training_jobs import PROCESSES, SHARDINGS, job, say, small_model, trained

NODES = 3
STEPS = 60
FIRST_KILL = 20
SECOND_KILL = 35
WAITS = "tests.compute.training_waits"


@dataclass
class Watched:
    """A Ray cluster that says which processes train."""

    elsewhere: ClassVar[bool] = True
    workers: Any = None

    def __post_init__(self) -> None:
        self.begun: list[dict[str, Any]] = []

    def check_processes(self, count: int) -> None:
        """See `boundary.Compute`."""

    def process_group(self, module: str, folder: Path, count: int) -> Generator[Message]:
        """See `boundary.Compute`."""
        for message in RayCluster().process_group(module, folder, count):
            if BEGUN in message:
                self.begun.append(message[BEGUN])
            yield message

    def process(self, number: int) -> int:
        """The process id of a process of the present attempt."""
        return next(one["process"] for one in reversed(self.begun) if one["number"] == number)


def killing(watched: Watched, kills: dict[int, tuple[int, Callable[[int], None]]]) -> Callable[..., None]:
    """At some steps kills a process by its number, or what it runs on; each once."""

    def stepped(metrics: StepMetrics) -> None:
        if metrics.step in kills:
            number, kill = kills.pop(metrics.step)
            kill(watched.process(number))

    return stepped


def exists(process: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def actors(ray: Any) -> list[str]:
    """The classes of the actors that are alive."""
    from ray._private.state import actors as every

    return sorted(one["ActorClassName"] for one in every().values() if one["State"] == "ALIVE")


def free_cores(ray: Any, wanted: float, seconds: float) -> float:
    """The cores of the cluster that nobody has; waits until they are `wanted`."""
    deadline = time.monotonic() + seconds
    while (found := ray.available_resources().get("CPU", 0.0)) < wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    return float(found)


def killed_waiter(folder: Path) -> None:
    """Kills the process that waits for a training, and says what is left of it on the cluster."""
    ray = connect("")
    before = free_cores(ray, NODES, 60)
    with subprocess.Popen(
        [sys.executable, "-m", WAITS, str(folder)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as waiter:
        assert waiter.stdout is not None
        processes = [int(waiter.stdout.readline().split()[1]) for _ in range(PROCESSES)]
        lines = [waiter.stdout.readline().strip() for _ in range(10)]
        running = [exists(one) for one in processes]
        waiter.send_signal(signal.SIGKILL)
        killed = time.monotonic()
    while any(map(exists, processes)) and time.monotonic() < killed + 120:
        time.sleep(0.2)
    ended = time.monotonic() - killed
    steps = sorted(path.name for path in (folder / "waited").glob("step-*"))
    after = free_cores(ray, before, 60)
    time.sleep(5)
    later = sorted(path.name for path in (folder / "waited").glob("step-*"))
    say(
        "waiter killed",
        steps=[lines[0], lines[-1]],
        running=running,
        left=[exists(one) for one in processes],
        seconds=round(ended, 1),
        cores=[before, after],
        checkpoints=[steps, later],
        actors=actors(ray),
    )


def broken_off(folder: Path) -> None:
    """Breaks off the wait for a training, and says what is left of it on the cluster."""
    ray = connect("")
    before = free_cores(ray, NODES, 60)
    watched = Watched()

    def stepped(metrics: StepMetrics) -> None:
        raise InterruptedError(metrics.step)

    try:
        trained(watched, job("none", 2000), small_model(folder / "model"), folder / "broken", stepped)
    except InterruptedError:
        started = time.monotonic()
    processes = [watched.process(number) for number in range(PROCESSES)]
    while any(map(exists, processes)) and time.monotonic() < started + 60:
        time.sleep(0.2)
    say(
        "broken off",
        left=[exists(one) for one in processes],
        seconds=round(time.monotonic() - started, 1),
        cores=[before, free_cores(ray, before, 60)],
        actors=actors(ray),
    )


def main(cases: list[str]) -> None:
    """Prints the lines."""
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    with tempfile.TemporaryDirectory() as name, cluster(NODES) as made:
        folder = Path(name)
        model = small_model(folder / "model")
        if not cases or "kills" in cases:
            for sharding in SHARDINGS:
                kills = {SECOND_KILL: (0, node_killer(made))}
                if sharding == "none":
                    kills[FIRST_KILL] = (1, kill_worker)
                here = trained(THIS_MACHINE, job(sharding, STEPS), model, folder / f"here-{sharding}")
                watched = Watched()
                ray = trained(
                    watched,
                    job(sharding, STEPS),
                    model,
                    folder / f"ray-{sharding}",
                    killing(watched, kills),
                )
                say(f"killed {sharding}", here=here, ray=ray, attempts=len(watched.begun) / PROCESSES)
                add_node(made, num_cpus=1)
        if not cases or "waiter" in cases:
            killed_waiter(folder)
        if not cases or "break" in cases:
            broken_off(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
