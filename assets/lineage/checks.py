"""The door to the check of the leaderboard: it rests on promotions, which the stage `lineage` knows."""

from collections.abc import Iterator

import dagster as dg

from assets.checking import Checking
from assets.lineage.config import LeaderboardChecksConfig
from assets.lineage.promotion import read_history
from assets.lineage.soundness import champion_holds
from assets.materialized import every_materialization
from assets.outcome import Outcome
from resources.definitions import Storage

ASSET = "leaderboard"
CHAMPION_HOLDS = "champion_has_not_regressed"


@dg.multi_asset_check(
    name="leaderboard_checks",
    specs=[
        dg.AssetCheckSpec(
            CHAMPION_HOLDS,
            asset=ASSET,
            description="The champion is no worse on the newest evaluations than the version that it replaced, or than "
            "the base model.",
        )
    ],
)
def leaderboard_checks(
    context: dg.AssetCheckExecutionContext, config: LeaderboardChecksConfig, storage: Storage
) -> Iterator[dg.AssetCheckResult]:
    """The champion against what it replaced, from recorded decisions and evaluations."""
    checking = Checking(context, storage)

    def holds() -> Outcome:
        evaluations, baselines = (
            [one.record for one in every_materialization(context.instance, asset)]
            for asset in ("evaluation", "baseline_evaluation")
        )
        # The model that checkpoints are registered as now.
        model = evaluations[0]["facts"]["model"] if evaluations else ""
        return champion_holds(
            model,
            read_history(checking.tables, model),
            [one for one in evaluations if one["facts"]["model"] == model],
            baselines,
            loss_tolerance=config.loss_tolerance,
            accuracy_tolerance=config.accuracy_tolerance,
        )

    yield from checking.results({(ASSET, CHAMPION_HOLDS): holds})
