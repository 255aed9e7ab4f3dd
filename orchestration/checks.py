"""Every asset check, in flow order."""

from assets.diversity.checks import diversity_clusters_checks
from assets.embeddings.checks import instruction_embeddings_checks
from assets.evaluation.checks import baseline_evaluation_checks, benchmark_splits_checks, evaluation_checks
from assets.finetuning.checks import checkpoint_checks
from assets.instructions.checks import instructions_checks, raw_instructions_checks
from assets.interpolation.checks import interpolated_instructions_checks
from assets.lineage.checks import leaderboard_checks
from assets.selection.checks import curriculum_checks

CHECKS = [
    raw_instructions_checks,
    benchmark_splits_checks,
    instructions_checks,
    instruction_embeddings_checks,
    interpolated_instructions_checks,
    diversity_clusters_checks,
    curriculum_checks,
    checkpoint_checks,
    baseline_evaluation_checks,
    evaluation_checks,
    leaderboard_checks,
]
