"""How many faults are put in, and the seed that they are drawn from."""

import os
import sys

SEED_VARIABLE = "SULTANA_FAULT_SEED"
SEED = int(os.environ.get(SEED_VARIABLE) or 8)
"""With the same seed the same operations are done and the same instants drawn; give it to see a failure again."""


def count(name: str, default: int) -> int:
    """The number of faults of one kind: as the environment variable `name` says, else the default."""
    return int(os.environ.get(name) or default)


def tell(sentence: str) -> None:
    """What was done and with what seed: pytest shows it of a test that fails, and of all with -s."""
    sys.stderr.write(f"{sentence}\n")
