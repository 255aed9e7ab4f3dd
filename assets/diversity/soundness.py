"""Whether a table of clusters is what it says: complete, ranked, and with enough originals among the chosen."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.diversity.representatives import members


@dataclass(frozen=True)
class Soundness:
    """Counts of faults, all 0 in a sound table that has rows.

    `missing` and `unknown` rows are in the inputs or in the table only; `repeated` are in the table more
    than once; `wrong_kind` are called an original and are a recipe, or the other way round.
    `clusters_misranked`: their ranks are not 0 to n - 1. `clusters_short_of_originals`: with a smaller
    share of originals among their representatives than the setting allows. `representatives` are counted,
    and at least one is needed.
    """

    missing: int
    unknown: int
    repeated: int
    wrong_kind: int
    clusters_misranked: int
    clusters_short_of_originals: int
    representatives: int

    @property
    def holds(self) -> bool:
        """Whether there is no fault."""
        counts = (self.missing, self.unknown, self.repeated, self.wrong_kind)
        more = (self.clusters_misranked, self.clusters_short_of_originals)
        return not any(counts + more) and self.representatives > 0


def soundness(
    clusters: pa.Table, instructions: pa.Array, recipes: pa.Array, minimum_share_of_originals: float
) -> Soundness:
    """The faults of a DIVERSITY_CLUSTERS table made from the ids of `instructions` and `recipes`."""
    inputs = pa.concat_arrays([instructions, recipes])
    place = pc.index_in(clusters["row_id"].combine_chunks(), value_set=inputs)
    known = place.drop_null().to_numpy()
    times = np.bincount(known, minlength=len(inputs))
    mixed = pc.equal(clusters["kind"], "interpolated").to_numpy().astype(np.bool_)
    is_recipe = pc.greater_equal(place, len(instructions)).fill_null(True).to_numpy(zero_copy_only=False)
    ranks = clusters["rank"].to_numpy()
    chosen = clusters["representative"].to_numpy().astype(np.bool_)
    misranked = short = 0
    for rows in members(clusters["cluster"].to_numpy()):
        misranked += not np.array_equal(np.sort(ranks[rows]), np.arange(len(rows)))
        picked = rows[chosen[rows]]
        short += int((~mixed[picked]).sum()) < minimum_share_of_originals * len(picked) - 1e-9
    return Soundness(
        missing=int((times == 0).sum()),
        unknown=place.null_count,
        repeated=int((times[times > 1] - 1).sum()),
        wrong_kind=int((mixed != is_recipe)[place.is_valid().to_numpy(zero_copy_only=False)].sum()),
        clusters_misranked=int(misranked),
        clusters_short_of_originals=int(short),
        representatives=int(chosen.sum()),
    )
