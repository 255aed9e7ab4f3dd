"""A language model that has had a brief look at the pool, before it judges difficulty (IFD, section 2.1).

Cherry trains on some rows of each cluster for one epoch, taken where a cluster is neither dense nor sparse:
between the quartiles of the distance to its centre. Clusters are those of the pool, distances those of the
sentence vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.identity import digest
from resources.errors import SultanaError

if TYPE_CHECKING:
    from assets.selection.auxiliary import CausalModel
    from assets.selection.inputs import Inputs

QUARTILES = (25.0, 75.0)


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model trained in this process, that scores rows; `name` is a hash of all that it was trained with."""

    base: "CausalModel"
    network: Any
    name: str

    def fingerprint(self) -> str:
        """A hash of the base model, the rows and the configuration."""
        return self.name

    def resolved_dtype(self) -> str:
        """The dtype of the weights."""
        return self.base.resolved_dtype()

    def describe(self) -> dict[str, Any]:
        """Facts of the base model."""
        return self.base.describe()

    def load(self) -> tuple[Any, Any]:
        """The model as trained, and its tokenizer."""
        return self.network, self.load_tokenizer()

    def load_tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return self.base.load_tokenizer()


def pre_experience_rows(inputs: "Inputs", rows_per_cluster: int) -> Sequence[int]:
    """Positions of at most `rows_per_cluster` rows of each cluster, in seeded order."""
    generator = np.random.default_rng(inputs.seed)
    chosen = []
    for label in np.unique(inputs.pool.clusters):
        members = np.flatnonzero(inputs.pool.clusters == label)
        vectors = inputs.vectors[members]
        distances = np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
        low, high = np.percentile(distances, QUARTILES)
        middle = members[(distances >= low) & (distances <= high)]
        chosen.append(generator.permutation(middle if len(middle) else members)[:rows_per_cluster])
    return [int(place) for place in generator.permutation(np.concatenate(chosen))]


def pre_experienced(inputs: "Inputs", rows_per_cluster: int) -> TrainedModel:
    """The language model after one epoch over `rows_per_cluster` rows of each cluster.

    Raises SultanaError where `rows_per_cluster` is below 1.
    """
    if rows_per_cluster < 1:
        raise SultanaError(
            f"Pre-experience on {rows_per_cluster} rows of each cluster was asked for",
            "Ask for 1 or more",
            code="setting-out-of-bounds",
        )
    rows = [inputs.rows[place] for place in pre_experience_rows(inputs, rows_per_cluster)]
    size = inputs.budget.batch_size
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    session = inputs.session(len(batches))
    session.check(rows)
    with inputs.progress("pre-experience", len(batches), "steps") as progress:
        for batch in batches:
            session.step(batch)
            progress.advance()
    name = digest([session.config_digest, [[row.row_id for row in batch] for batch in batches]])
    return TrainedModel(inputs.model, session.model, name)
