"""Vectors by id, in the order that the caller asks for."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from resources.errors import SultanaError
from resources.large_arrays import zeros
from resources.table_refs import TableRef
from resources.tables import LanceTables


def vectors_of(tables: LanceTables, ref: TableRef, ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """The vectors of `ids` (n of them) from an embeddings table: (n, dimension) float32, in that order.

    Vectors that memory should not hold lie in a file (resources/large_arrays.py). Raises SultanaError where an id has
    no vector.
    """
    place = {key: number for number, key in enumerate(ids)}
    found: npt.NDArray[np.float32] | None = None
    seen = 0
    for batch in tables.batches(ref):
        vectors = np.asarray(batch["vector"].flatten()).reshape(len(batch), -1)
        if found is None:
            found = zeros((len(ids), vectors.shape[1]))
        rows = [
            (number, place[key])
            for number, key in enumerate(batch["instruction_id"].to_pylist())
            if key in place
        ]
        if rows:
            source, target = np.array(rows).T
            found[target] = vectors[source]
            seen += len(rows)
    if found is None or seen != len(place):
        raise SultanaError(
            f"{len(place) - seen} of {len(place)} instructions have no vector in {ref.table} version {ref.version}",
            "Materialize instruction_embeddings again",
            code="vectors-missing",
        )
    return found
