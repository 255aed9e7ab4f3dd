"""The door to the checks of the stage `selection`: the ledger of a strategy and seed."""

from collections.abc import Iterator
from functools import cache

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets.checking import SCHEMA_AS_DECLARED, Checking, schema_spec
from assets.ledger import read_curriculum
from assets.materialized import follow
from assets.outcome import Outcome
from assets.records import CURRICULUM
from assets.selection.config import CurriculumChecksConfig
from assets.selection.soundness import DiversityBounds, diversity, no_worse_than_random, soundness
from resources.definitions import Storage
from resources.text import id_filter

ASSET = "curriculum"
LEDGER_SOUND = "ledger_is_complete"
DIVERSITY = "curriculum_is_diverse"
MIXES = "share_of_mixes"
AGAINST_RANDOM = "policy_is_no_worse_than_random"


@dg.multi_asset_check(
    name="curriculum_checks",
    specs=[
        schema_spec(ASSET),
        dg.AssetCheckSpec(
            LEDGER_SOUND,
            asset=ASSET,
            blocking=True,
            description="Every step holds a full batch without a row twice, every row is one of "
            "diversity_clusters, and none is selected more often than allowed.",
        ),
        dg.AssetCheckSpec(
            DIVERSITY,
            asset=ASSET,
            description="The curriculum holds enough distinct rows, from enough clusters.",
        ),
        dg.AssetCheckSpec(
            MIXES, asset=ASSET, description="Not too many of the entries are interpolated rows."
        ),
        dg.AssetCheckSpec(
            AGAINST_RANDOM,
            asset=ASSET,
            description="RAISE's policy ends with a loss on the reward split that is no higher than that of "
            "random runs in the same environment.",
        ),
    ],
    can_subset=True,
)
def curriculum_checks(
    context: dg.AssetCheckExecutionContext, config: CurriculumChecksConfig, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """Completeness, diversity and worth of a curriculum."""
    from assets.diversity.soundness import share_of_mixes

    checking = Checking(context, storage)
    made = checking.made(ASSET)
    facts = made.record["facts"]
    identity = str(facts["curriculum_id"])
    clusters = follow(context.instance, made, "diversity_clusters")

    @cache
    def ledger() -> pa.Table:
        return checking.tables.read(made.table(), filter=id_filter("curriculum_id", [identity]))

    def complete() -> Outcome:
        return soundness(
            read_curriculum(ledger(), identity),
            checking.column(clusters, "row_id").to_pylist(),
            steps=facts["steps"],
            batch_size=facts["batch_size"],
            cap=facts["repeat_cap"],
        ).outcome

    def diverse() -> Outcome:
        return diversity(
            ledger()["row_id"].to_pylist(),
            ledger()["cluster"].to_pylist(),
            checking.column(clusters, "cluster").unique().to_pylist(),
            facts["candidates"],
            DiversityBounds(config.minimum_distinct_share, config.minimum_cluster_share),
        )

    def mixes() -> Outcome:
        kinds = ledger()["kind"]
        return share_of_mixes(
            pc.sum(pc.equal(kinds, "interpolated")).as_py() or 0,
            len(kinds),
            config.maximum_share_of_mixes,
            what="the curriculum's entries",
            setting="curriculum_checks",
        )

    yield from checking.results(
        {
            (ASSET, SCHEMA_AS_DECLARED): lambda: checking.schemas(made, CURRICULUM),
            (ASSET, LEDGER_SOUND): complete,
            (ASSET, DIVERSITY): diverse,
            (ASSET, MIXES): mixes,
            (ASSET, AGAINST_RANDOM): lambda: no_worse_than_random(facts, config.random_tolerance),
        }
    )
