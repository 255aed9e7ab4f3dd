"""The door to the checks of the stage `diversity`."""

from collections.abc import Iterator

import dagster as dg
import pyarrow.compute as pc

from assets.checking import SCHEMA_AS_DECLARED, Checking, schema_spec
from assets.diversity.config import DiversityChecksConfig
from assets.materialized import follow
from assets.outcome import Outcome
from assets.records import DIVERSITY_CLUSTERS
from resources.definitions import Storage

ASSET = "diversity_clusters"
CLUSTERS_SOUND = "clusters_are_sound"
NOT_COLLAPSED = "clusters_have_not_collapsed"
MIXES = "share_of_mixes"


@dg.multi_asset_check(
    name="diversity_clusters_checks",
    specs=[
        schema_spec(ASSET),
        dg.AssetCheckSpec(
            CLUSTERS_SOUND,
            asset=ASSET,
            blocking=True,
            description="Every instruction and recipe is in one cluster, ranks count from 0 in each, and "
            "there are representatives, of which enough are originals.",
        ),
        dg.AssetCheckSpec(
            NOT_COLLAPSED,
            asset=ASSET,
            blocking=True,
            description="Rows are spread over the clusters: none holds nearly all of them, and few are empty. "
            "Strategies that select by cluster mean nothing otherwise.",
        ),
        dg.AssetCheckSpec(
            MIXES, asset=ASSET, description="Not too many of the representatives are interpolated rows."
        ),
    ],
    can_subset=True,
)
def diversity_clusters_checks(
    context: dg.AssetCheckExecutionContext, config: DiversityChecksConfig, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Soundness, spread and mixed rows of the clusters."""
    from assets.diversity.soundness import not_collapsed, share_of_mixes, soundness

    checking = Checking(context, storage)
    made = checking.made(ASSET)

    def sound() -> Outcome:
        instructions, recipes = (
            checking.column(follow(context.instance, made, asset), key)
            for asset, key in (("instructions", "instruction_id"), ("interpolated_instructions", "recipe_id"))
        )
        return soundness(
            checking.tables.read(made.table()),
            instructions,
            recipes,
            made.record["configuration"]["minimum_share_of_originals"],
        ).outcome

    def mixes() -> Outcome:
        rows = checking.tables.read(made.table(), columns=["kind", "representative"])
        kinds = rows.filter(rows["representative"])["kind"]
        return share_of_mixes(
            pc.sum(pc.equal(kinds, "interpolated")).as_py() or 0,
            len(kinds),
            config.maximum_share_of_mixes,
            what="the representatives",
            setting="diversity_clusters_checks",
        )

    yield from checking.results(
        {
            (ASSET, SCHEMA_AS_DECLARED): lambda: checking.schemas(made, DIVERSITY_CLUSTERS),
            (ASSET, CLUSTERS_SOUND): sound,
            (ASSET, NOT_COLLAPSED): lambda: not_collapsed(
                checking.column(made, "cluster"),
                made.record["facts"]["clusters"],
                config.maximum_cluster_share,
                config.maximum_empty_share,
            ),
            (ASSET, MIXES): mixes,
        }
    )
