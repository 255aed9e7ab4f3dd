"""Every stage on Ray by 1, 2 and 3 workers against this machine: `python -m tests.compute.matrix [stage …]`.

Runs in a namespace of its own (see loopback.py). Prints a line of JSON for each stage and number of workers:
`equal`, whether all is equal bit by bit, and `difference`, the largest of any number.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from resources.compute.boundary import Compute
from resources.compute.ray_cluster import RayCluster
from resources.compute.this_machine import THIS_MACHINE
from tests.compute.loopback import PROJECT, cluster
from tests.compute.stages import STAGES, Made

WORKERS = (1, 2, 3)
AS_MANY_THREADS = {"embedding", "scores", "gradients", "gradient-alignment", "evaluation"}
"""Stages whose last bits depend on the number of threads: here, and in a worker, one."""


def difference(found: Any, expected: Any) -> float:
    """0 where both are equal bit by bit, else the largest difference of a number, or infinity."""
    if isinstance(expected, np.ndarray):
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return float("inf")
        if found.tobytes() == expected.tobytes():
            return 0.0
        return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()) or float("nan")
    return 0.0 if found == expected else float("inf")


def made_by(compute: Compute, stage: str, folder: Path) -> tuple[Made, float]:
    """What a stage makes, and the seconds that it takes."""
    import torch

    if stage in AS_MANY_THREADS:
        torch.set_num_threads(1)
    started = time.monotonic()
    work = STAGES[stage]
    made = work(compute, folder) if "folder" in work.__annotations__ else work(compute)
    return made, time.monotonic() - started


def main(stages: list[str]) -> None:
    """Prints the lines."""
    sys.path.insert(0, str(PROJECT / "tests" / "finetuning"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as folder, cluster(max(WORKERS)):
        for stage in stages or list(STAGES):
            expected, seconds = made_by(THIS_MACHINE, stage, Path(folder))
            sys.stdout.write(json.dumps({"stage": stage, "workers": 0, "seconds": round(seconds, 1)}) + "\n")
            sys.stdout.flush()
            for count in WORKERS:
                found, seconds = made_by(RayCluster(count=count), stage, Path(folder))
                largest = max(difference(found[name], value) for name, value in expected.items())
                line = {"stage": stage, "workers": count, "equal": largest == 0.0, "difference": largest}
                sys.stdout.write(json.dumps({**line, "seconds": round(seconds, 1)}) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
