"""Jobs: parts of the graph, and the whole of it with each preset's settings filled into the Launchpad."""

from typing import Any

import dagster as dg

from orchestration.settings import preset_names, read_preset

DATA_ASSETS = (
    "raw_instructions",
    "benchmark_splits",
    "retractions",
    "instructions",
    "quarantine",
    "dropped_instructions",
    "instruction_embeddings",
    "interpolated_instructions",
    "diversity_clusters",
)
MODEL_ASSETS = ("curriculum", "checkpoint", "evaluation", "lineage_manifest")
COMPARISON_ASSETS = ("baseline_evaluation", "leaderboard")

TRAINING = dg.define_asset_job(
    "train_and_evaluate",
    selection=dg.AssetSelection.assets(*MODEL_ASSETS),
    description="One strategy and seed: curriculum, checkpoint, evaluation and lineage manifest.",
)


def _with_preset(name: str) -> Any:
    settings = read_preset(name)
    chosen = " or ".join(str(one) for one in settings["partitions"]["strategy"])
    seeds = ", ".join(str(one) for one in settings["partitions"]["seed"])
    return dg.define_asset_job(
        f"preset_{name}",
        selection=dg.AssetSelection.assets(*DATA_ASSETS, *MODEL_ASSETS, *COMPARISON_ASSETS),
        config=settings["run_config"],
        description=f"From sources to the leaderboard for one strategy and seed, with the preset '{name}' "
        f"(meant for {chosen} with seeds {seeds}). Change any setting in the Launchpad; what is fresh is reused.",
        tags={"sultana/preset": name},
    )


JOBS = [
    dg.define_asset_job(
        "prepare_instructions",
        selection=dg.AssetSelection.assets(*DATA_ASSETS),
        description="From sources to diversity clusters.",
    ),
    TRAINING,
    *(_with_preset(name) for name in preset_names()),
    dg.define_asset_job(
        "compare_strategies",
        selection=dg.AssetSelection.assets(*COMPARISON_ASSETS),
        description="The base model's scores and the leaderboard over all strategies and seeds.",
    ),
]
