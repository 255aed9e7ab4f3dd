"""A training in a folder that no node of the cluster sees: `python -m tests.compute.training_apart FOLDER`.

To be run in a mount namespace of its own with FOLDER mounted anew. Prints with what error the training ends.
"""

import sys
from pathlib import Path

from resources.compute.ray_cluster import RayCluster
from resources.errors import SultanaError
from tests.compute.training_jobs import job, say, small_model, trained


def main(folder: Path) -> None:
    """Prints the line."""
    try:
        trained(RayCluster(), job("none", 4), small_model(folder / "model"), folder / "training")
    except SultanaError as error:
        say("apart", code=error.code, problem=error.problem)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
