"""A training by two processes on Ray against the same by accelerate: `python -m tests.compute.training`.

Runs in a namespace of its own (see loopback.py). Prints a line of JSON for each case.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from resources.compute.ray_cluster import RayCluster
from resources.compute.this_machine import THIS_MACHINE
from resources.errors import SultanaError
from tests.compute.loopback import cluster
from tests.compute.training_jobs import SHARDINGS, job, refused_job, small_model, trained

STEPS = 8


def say(case: str, **facts: Any) -> None:
    """A line of JSON."""
    sys.stdout.write(json.dumps({"case": case, **facts}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Prints the lines."""
    os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    with tempfile.TemporaryDirectory() as name, cluster(2):
        folder = Path(name)
        model = small_model(folder / "model")
        for sharding in SHARDINGS:
            started = time.monotonic()
            here = trained(THIS_MACHINE, job(sharding, STEPS), model, folder / f"here-{sharding}")
            middle = time.monotonic()
            ray = trained(RayCluster(), job(sharding, STEPS), model, folder / f"ray-{sharding}")
            seconds = [round(middle - started, 1), round(time.monotonic() - middle, 1)]
            say(sharding, here=here, ray=ray, seconds=seconds)
        for place, engine in {"here": THIS_MACHINE, "ray": RayCluster()}.items():
            try:
                trained(engine, refused_job(), model, folder / f"refused-{place}")
            except SultanaError as error:
                say(f"refused {place}", code=error.code, problem=error.problem)
        try:
            trained(RayCluster(cpus=64, wait_seconds=5), job("none", 4), model, folder / "room")
        except SultanaError as error:
            say("no room", code=error.code, problem=error.problem)


if __name__ == "__main__":
    main()
