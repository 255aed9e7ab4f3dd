"""What a task is: a label that came with the row, its source, or a cluster of instruction embeddings.

MDIT interpolates between the samples of two tasks (section 3) and does not say what a task is where a
data set names none, as Alpaca does not. Clusters of the embedded instructions stand in for labels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from resources.errors import SultanaError


def label_column(task_by: str) -> str:
    """The column of INSTRUCTIONS that labels come from."""
    return "origins" if task_by == "source" else "task"


def labels_of(instructions: pa.Table, task_by: str) -> list[str | None]:
    """The label of each row, None where it has none; the table needs `label_column(task_by)`."""
    values = instructions[label_column(task_by)].to_pylist()
    return [origins[0]["source"] for origins in values] if task_by == "source" else values


def assign_tasks(
    ids: Sequence[str],
    labels: Sequence[str | None],
    vectors: npt.NDArray[np.float32] | None,
    *,
    task_by: str = "task",
    clusters: int = 16,
    seed: int = 0,
) -> list[str]:
    """The task of every row, in the order of `ids`; the same for a row whatever that order is.

    `labels` are the rows' own (task labels or sources), None or empty where there is none. `task_by` "task"
    and "source" take them and cluster only the rows without one; "clusters" clusters all. `vectors` are
    (rows, dimension) float32 of unit length, needed where anything is clustered. A cluster is called
    cluster_0, cluster_1, ...

    Raises SultanaError where rows need a cluster and there are no vectors.
    """
    if len(labels) != len(ids) or (vectors is not None and len(vectors) != len(ids)):
        raise ValueError("every row needs a label (or None) and, where vectors are given, a vector")
    if task_by not in ("task", "source", "clusters"):
        raise ValueError(f"task_by is 'task', 'source' or 'clusters', not {task_by!r}")
    tasks = ["" if task_by == "clusters" else (label or "") for label in labels]
    open_rows = sorted((place for place, task in enumerate(tasks) if not task), key=lambda place: ids[place])
    if not open_rows:
        return tasks
    if vectors is None:
        raise SultanaError(
            f"{len(open_rows)} of {len(ids)} instructions have no task label and no embedding to cluster by",
            "Materialize instruction_embeddings, or give every row a task label",
            code="task-labels-missing",
        )
    from assets.interpolation.centroids import fit_centroids, nearest

    points = np.ascontiguousarray(vectors[open_rows], dtype=np.float32)
    centroids = fit_centroids(points, clusters, seed)
    for place, cluster in zip(open_rows, nearest(points, centroids)[0].tolist(), strict=True):
        tasks[place] = f"cluster_{cluster}"
    return tasks
