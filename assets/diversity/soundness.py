"""Whether a table of clusters is what it says: complete, ranked, spread out, with enough originals among the chosen."""

from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.diversity.representatives import members
from assets.outcome import Outcome, no_faults, share_at_most


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
        return self.outcome.passed

    @property
    def outcome(self) -> Outcome:
        """The counts as what a check finds."""
        counts = asdict(self)
        chosen = counts.pop("representatives")
        faults = counts | {"tables_without_a_representative": int(chosen == 0)}
        found = no_faults(
            faults,
            sound=f"Every row is in one ranked cluster; {chosen:,} are representatives",
            remedy="Materialize diversity_clusters again; where it has no representative, raise representatives",
        )
        return Outcome(
            found.passed, {**found.measured, "representatives": chosen}, found.finding, found.remedy
        )


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


def not_collapsed(
    clusters: pa.Array, asked: int, maximum_share: float, maximum_empty_share: float
) -> Outcome:
    """Whether rows are spread over the clusters asked for: none holds nearly all, and few are empty.

    `clusters` is the column of that name. One cluster cannot collapse, and more clusters than rows leave some
    empty: both pass.
    """
    sizes = np.unique(clusters.to_numpy(), return_counts=True)[1]
    largest = float(sizes.max() / sizes.sum()) if len(sizes) else 0.0
    possible = min(asked, len(clusters))
    empty = 1 - len(sizes) / possible if possible else 0.0
    return Outcome(
        asked < 2 or (largest <= maximum_share and empty <= maximum_empty_share),
        {
            "clusters": asked,
            "largest_share": largest,
            "largest_share_at_most": maximum_share,
            "empty_share": empty,
            "empty_share_at_most": maximum_empty_share,
        },
        f"The largest of {asked:,} clusters holds {largest:.1%} of the rows ({maximum_share:.1%} is allowed), and "
        f"{empty:.1%} are empty ({maximum_empty_share:.1%} is allowed)",
        "Look at the map of diversity_clusters. Ask for fewer clusters, or embed other text or with another model "
        "where rows look alike; bounds are maximum_cluster_share and maximum_empty_share of diversity_clusters_checks",
    )


def share_of_mixes(mixed: int, rows: int, maximum: float, *, what: str, setting: str) -> Outcome:
    """The share of interpolated rows among `what`; `setting` names the bound."""
    return share_at_most(
        mixed,
        rows,
        maximum,
        what=f"of {what} are interpolated",
        remedy="Lower count of interpolated_instructions, or raise minimum_share_of_originals of "
        f"diversity_clusters; if so many are meant, raise maximum_share_of_mixes of {setting}",
    )
