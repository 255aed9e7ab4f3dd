"""The one Definitions object: every asset, check, job, schedule, sensor and resource of Sultana.

Loading it imports neither torch nor any other heavy library (a test holds that).
"""

import dagster as dg

from assets.diversity.assets import diversity_clusters
from assets.embeddings.assets import instruction_embeddings
from assets.evaluation.assets import baseline_evaluation, evaluation
from assets.evaluation.leaderboard_assets import leaderboard
from assets.evaluation.split_assets import benchmark_splits
from assets.finetuning.assets import checkpoint
from assets.instructions.assets import instructions, raw_instructions
from assets.instructions.retraction_assets import retractions
from assets.interpolation.assets import interpolated_instructions
from assets.lineage.assets import lineage_manifest
from assets.selection.assets import curriculum
from orchestration.alerts import ALERTS
from orchestration.asset_pages import described
from orchestration.automation import FOLLOWING, automated
from orchestration.checks import CHECKS
from orchestration.jobs import JOBS
from orchestration.lineage_events import announced
from orchestration.model_jobs import MODEL_JOBS
from orchestration.run_workers import claiming
from orchestration.schedules import SCHEDULES
from orchestration.sensors import sources_have_changed
from orchestration.settings import RESOURCES

defs = dg.Definitions(
    assets=announced(
        automated(
            described(
                [
                    raw_instructions,
                    benchmark_splits,
                    retractions,
                    instructions,
                    instruction_embeddings,
                    interpolated_instructions,
                    diversity_clusters,
                    curriculum,
                    checkpoint,
                    baseline_evaluation,
                    evaluation,
                    leaderboard,
                    lineage_manifest,
                ]
            )
        )
    ),
    asset_checks=CHECKS,
    jobs=[*JOBS, *MODEL_JOBS],
    schedules=SCHEDULES,
    sensors=[sources_have_changed, FOLLOWING, *ALERTS],
    resources=RESOURCES,
    executor=claiming(
        dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": {"spawn": {}}})
    ),
)
