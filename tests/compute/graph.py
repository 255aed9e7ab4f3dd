"""The graph up to a curriculum, made here and on Ray by Dagster: `python -m tests.compute.graph`.

Nothing differs but one setting. Runs in a namespace of its own (see loopback.py). Prints a line of JSON for
each asset: its data version here, and on Ray.
"""

import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dagster as dg

ASSETS = (
    "raw_instructions",
    "benchmark_splits",
    "retractions",
    "instructions",
    "quarantine",
    "dropped_instructions",
    "instruction_embeddings",
    "interpolated_instructions",
    "diversity_clusters",
    "baseline_evaluation",
)
STARTER = {"rows": 300, "seed": 0}
OPS: dict[str, Any] = {
    "raw_instructions": {"config": {"starter": STARTER}},
    "benchmark_splits": {"config": {"starter": STARTER, "maximum_examples": 24}},
    "interpolated_instructions": {"config": {"count": 200}},
    "diversity_clusters": {"config": {"clusters": 8}},
    "baseline_evaluation": {
        "config": {
            "loss_examples": 12,
            "accuracy_examples": 6,
            "maximum_new_tokens": 8,
            "maximum_length": 256,
        }
    },
}
CURRICULUM = {
    "curriculum": {"config": {"steps": 2, "batch_size": 8, "candidates": 48, "maximum_length": 128}}
}


def made(data: Path, compute: dict[str, Any]) -> dict[str, str]:
    """The data version of each asset, made in an instance and a data folder of its own."""
    from assets.materialized import materializations
    from orchestration.definitions import defs

    resources = {"storage": {"config": {"folder": str(data)}}, "compute": {"config": compute}}
    partition = dg.MultiPartitionKey({"strategy": "ifd", "seed": "0"})
    with dg.DagsterInstance.ephemeral(tempdir=str(data)) as instance:
        instance.add_dynamic_partitions("strategy", ["ifd"])
        instance.add_dynamic_partitions("seed", ["0"])
        for selection, ops, key in ((ASSETS, OPS, None), (("curriculum",), CURRICULUM, partition)):
            done = dg.materialize(
                list(defs.assets or ()),
                selection=list(selection),
                instance=instance,
                resources=defs.resources,
                run_config={"ops": ops, "resources": resources},
                partition_key=key,
            )
            assert done.success
        found = {name: materializations(instance, name)[0].data_version for name in ASSETS}
        return {
            **found,
            "curriculum": materializations(instance, "curriculum", str(partition))[0].data_version,
        }


def main() -> None:
    """Prints the lines."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    from tests.compute.loopback import cluster

    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder, cluster(2):
        versions, seconds = {}, {}
        for name, compute in {"here": {"engine": "local"}, "ray": {"engine": "ray", "workers": 2}}.items():
            data = Path(folder) / name
            data.mkdir()
            models = Path(folder) / "models"
            models.mkdir(exist_ok=True)
            (data / "models").symlink_to(models)
            started = time.monotonic()
            versions[name] = made(data, compute)
            seconds[name] = round(time.monotonic() - started, 1)
        for asset, version in versions["here"].items():
            line = {"asset": asset, "here": version, "ray": versions["ray"][asset]}
            sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.write(json.dumps({"asset": "seconds", **seconds}) + "\n")


if __name__ == "__main__":
    main()
