"""The configuration class of every op: what the command line checks before anything runs."""

import dagster as dg

from assets.diversity.config import DiversityChecksConfig, DiversityConfig
from assets.embeddings.config import EmbeddingsChecksConfig, EmbeddingsConfig
from assets.evaluation.config import BenchmarkSplitsConfig, EvaluationConfig, LeaderboardConfig
from assets.finetuning.config import CheckpointChecksConfig, CheckpointConfig
from assets.instructions.config import (
    InstructionsChecksConfig,
    InstructionsConfig,
    RawInstructionsChecksConfig,
    RawInstructionsConfig,
)
from assets.interpolation.config import InterpolationConfig
from assets.lineage.config import LeaderboardChecksConfig, LineageConfig
from assets.selection.config import CurriculumChecksConfig, CurriculumConfig

CONFIGURATIONS: dict[str, type[dg.Config]] = {
    "raw_instructions": RawInstructionsConfig,
    "benchmark_splits": BenchmarkSplitsConfig,
    "instructions": InstructionsConfig,
    "instruction_embeddings": EmbeddingsConfig,
    "interpolated_instructions": InterpolationConfig,
    "diversity_clusters": DiversityConfig,
    "curriculum": CurriculumConfig,
    "checkpoint": CheckpointConfig,
    "baseline_evaluation": EvaluationConfig,
    "evaluation": EvaluationConfig,
    "leaderboard": LeaderboardConfig,
    "lineage_manifest": LineageConfig,
    "raw_instructions_checks": RawInstructionsChecksConfig,
    "instructions_checks": InstructionsChecksConfig,
    "instruction_embeddings_checks": EmbeddingsChecksConfig,
    "diversity_clusters_checks": DiversityChecksConfig,
    "curriculum_checks": CurriculumChecksConfig,
    "checkpoint_checks": CheckpointChecksConfig,
    "leaderboard_checks": LeaderboardChecksConfig,
}
