"""Whether every instruction has its vector, vectors have unit length, and where they have moved to."""

from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assets.outcome import Outcome, no_faults

AGAIN = "Move the table's folder away and materialize instruction_embeddings again"


def all_embedded(instructions: pa.Array, embedded: pa.Array) -> Outcome:
    """Whether each of the ids `instructions` is among `embedded`, and no id is there twice."""
    return no_faults(
        {
            "missing_vectors": len(instructions)
            - (pc.sum(pc.is_in(instructions, value_set=embedded)).as_py() or 0),
            "repeated_vectors": len(embedded) - pc.count_distinct(embedded).as_py(),
        },
        sound=f"Each of {len(instructions):,} instructions has one vector",
        remedy=AGAIN,
    )


def unit_length(
    batches: Iterable[pa.RecordBatch], maximum_error: float, erased: Collection[str] = ()
) -> Outcome:
    """Whether all vectors but those of the ids `erased` are finite and of length 1 within `maximum_error`."""
    worst, count = 0.0, 0
    without = pa.array(sorted(erased), pa.string())
    for batch in batches:
        batch = batch.filter(pc.invert(pc.is_in(batch["instruction_id"], value_set=without)))
        errors = np.abs(np.linalg.norm(_matrix(batch), axis=1) - 1)
        worst = max(worst, float(np.where(np.isfinite(errors), errors, np.inf).max(initial=0.0)))
        count += len(batch)
    return Outcome(
        worst <= maximum_error,
        # No database that metadata may be kept in has a number for infinity.
        {
            "vectors": count,
            "largest_error": worst if np.isfinite(worst) else "not finite",
            "at_most": maximum_error,
        },
        f"The length of {count:,} vectors differs from 1 by at most {worst:.2g}; {maximum_error:g} is allowed",
        f"{AGAIN}; if it stays wrong, the embedder gives vectors that are not finite or not normalised: use another",
    )


def mean_vector(batches: Iterable[pa.RecordBatch], ids: pa.Array) -> npt.NDArray[np.float64] | None:
    """The mean, (dimension,), of the vectors of `ids`; None where there is none. Holds one batch at a time."""
    total: npt.NDArray[np.float64] | None = None
    count = 0
    for batch in batches:
        chosen = pc.is_in(batch["instruction_id"], value_set=ids).to_numpy(zero_copy_only=False)
        part = _matrix(batch)[chosen].sum(axis=0, dtype=np.float64)
        total = part if total is None else total + part
        count += int(chosen.sum())
    return None if total is None or not count else total / count


def drift(
    now: npt.NDArray[np.float64] | None, before: npt.NDArray[np.float64] | None, maximum: float
) -> Outcome:
    """How far the mean of unit vectors has moved, from 0 to 2: the maximum mean discrepancy of a linear kernel.

    `before` is None where there is nothing to compare with.
    """
    if now is None or before is None:
        return Outcome(
            True,
            {"compared": False, "at_most": maximum},
            "There is no earlier materialization by this embedder to compare with",
            "",
        )
    moved = float(np.linalg.norm(now - before))
    return Outcome(
        moved <= maximum,
        {"compared": True, "drift": moved, "at_most": maximum},
        f"The mean embedding has moved by {moved:.3f} since the materialization before; {maximum:g} is allowed",
        "Look at what has changed in the sources (rows_per_task and sources of raw_instructions); if the new rows "
        "are meant, go on: the next materialization is compared with this one (maximum_drift of "
        "instruction_embeddings_checks is the bound)",
    )


def _matrix(batch: pa.RecordBatch) -> npt.NDArray[np.float32]:
    vectors = batch["vector"]
    found: npt.NDArray[np.float32] = np.asarray(vectors.flatten()).reshape(len(batch), vectors.type.list_size)
    return found
