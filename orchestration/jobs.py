"""Jobs: the part of the graph before training, the part per strategy and seed, and the comparison."""

import dagster as dg

DATA_ASSETS = (
    "raw_instructions",
    "benchmark_splits",
    "instructions",
    "quarantine",
    "dropped_instructions",
    "instruction_embeddings",
    "interpolated_instructions",
    "diversity_clusters",
)
MODEL_ASSETS = ("curriculum", "checkpoint", "evaluation", "lineage_manifest")
COMPARISON_ASSETS = ("baseline_evaluation", "leaderboard")

JOBS = [
    dg.define_asset_job(
        "prepare_instructions",
        selection=dg.AssetSelection.assets(*DATA_ASSETS),
        description="From sources to diversity clusters.",
    ),
    dg.define_asset_job(
        "train_and_evaluate",
        selection=dg.AssetSelection.assets(*MODEL_ASSETS),
        description="One strategy and seed: curriculum, checkpoint, evaluation and lineage manifest.",
    ),
    dg.define_asset_job(
        "compare_strategies",
        selection=dg.AssetSelection.assets(*COMPARISON_ASSETS),
        description="The base model's scores and the leaderboard over all strategies and seeds.",
    ),
]
