"""A training by two processes on Ray against the same by accelerate: `python -m tests.compute.training`.

Runs in a namespace of its own (see loopback.py). Prints a line of JSON for each case.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from resources.compute import ray_group
from resources.compute.ray_cluster import RayCluster
from resources.compute.this_machine import THIS_MACHINE
from resources.errors import SultanaError
from resources.language_model import LanguageModel
from tests.compute.loopback import PROJECT, cluster
from tests.compute.training_jobs import SHARDINGS, job, refused_job, say, small_model, trained

STEPS = 8


def apart(folder: Path) -> None:
    """A training by a process whose folder no node sees, since it has mounted another one there."""
    folder.mkdir()
    mounted = 'mount -t tmpfs none "$1" && exec "$2" -m tests.compute.training_apart "$1"'
    command = ["unshare", "-m", "sh", "-c", mounted, "sh", str(folder), sys.executable]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    sys.stdout.write(done.stdout)
    sys.stdout.flush()


def given_up(folder: Path) -> None:
    """A group that is lost at each attempt before it has got anywhere."""
    folder.mkdir()
    ray_group.TRIES = 2
    try:
        list(RayCluster().process_group("tests.compute.training_dies", folder, 2))
    except SultanaError as error:
        say("given up", code=error.code, problem=error.problem)


def no_room(folder: Path, model: LanguageModel) -> None:
    """Processes that are larger than any node."""
    try:
        trained(RayCluster(cpus=64, wait_seconds=3), job("none", 4), model, folder)
    except SultanaError as error:
        say("no room", code=error.code, problem=error.problem)


def refused(folder: Path, model: LanguageModel) -> None:
    """A job that cannot be trained, here and on Ray."""
    for place, engine in {"here": THIS_MACHINE, "ray": RayCluster()}.items():
        try:
            trained(engine, refused_job(), model, folder / place)
        except SultanaError as error:
            say(f"refused {place}", code=error.code, problem=error.problem)


def equal(folder: Path, model: LanguageModel) -> None:
    """The same job here and on Ray."""
    for sharding in SHARDINGS:
        started = time.monotonic()
        here = trained(THIS_MACHINE, job(sharding, STEPS), model, folder / f"here-{sharding}")
        middle = time.monotonic()
        ray = trained(RayCluster(), job(sharding, STEPS), model, folder / f"ray-{sharding}")
        seconds = [round(middle - started, 1), round(time.monotonic() - middle, 1)]
        say(sharding, here=here, ray=ray, seconds=seconds)


def main() -> None:
    """Prints the lines."""
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    with tempfile.TemporaryDirectory() as name, cluster(2):
        folder = Path(name)
        model = small_model(folder / "model")
        no_room(folder / "room", model)
        apart(folder / "apart")
        given_up(folder / "given-up")
        refused(folder / "refused", model)
        equal(folder / "equal", model)


if __name__ == "__main__":
    main()
