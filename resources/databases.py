"""The SQLite databases of a data folder, by their paths below it: what is examined, backed up and restored."""

from collections.abc import Sequence
from pathlib import Path

LOG = "lance/commits.sqlite"
REGISTRY = "mlflow/mlflow.db"
# A run's state is told to its own database first, then to the index, then to the list of runs: so they are copied
# the other way round.
RUNS = "dagster/history/runs.db"
INSTANCE = (
    RUNS,
    "dagster/history/runs/index.db",
    "dagster/history/runs/*.db",
    "dagster/schedules/*.db",
)
EVERY = (LOG, REGISTRY, *INSTANCE)


def present(folder: Path, patterns: Sequence[str], ending: str = "") -> list[Path]:
    """The databases of these patterns in a data folder, or the files beside them with this ending, each once."""
    paths = (path for pattern in patterns for path in sorted(folder.glob(f"{pattern}{ending}")))
    return list(dict.fromkeys(paths))
