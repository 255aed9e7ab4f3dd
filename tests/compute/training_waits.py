"""A process that waits for a long training on Ray, to be killed: `python -m tests.compute.training_waits FOLDER`.

Prints `process ID` for each process of the training, then `step N` for each step.
"""

import sys
from pathlib import Path

from tests.compute.training_faults import Watched
from tests.compute.training_jobs import PROCESSES, job, small_model, trained

STEPS = 2000


def main(folder: Path) -> None:
    """Waits."""
    watched = Watched()
    said = 0

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def stepped(metrics: object) -> None:
        nonlocal said
        while said < PROCESSES:
            say(f"process {watched.process(said)}")
            said += 1
        say(f"step {metrics.step}")  # type: ignore[attr-defined]

    trained(watched, job("none", STEPS), small_model(folder / "model"), folder / "waited", stepped)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
