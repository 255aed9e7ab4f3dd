"""The configuration class of every op: what the command line checks before anything runs."""

import dagster as dg

from assets.diversity.config import DiversityConfig
from assets.embeddings.config import EmbeddingsConfig
from assets.evaluation.config import BenchmarkSplitsConfig, EvaluationConfig, LeaderboardConfig
from assets.finetuning.config import CheckpointConfig
from assets.instructions.config import InstructionsConfig, RawInstructionsConfig
from assets.interpolation.config import InterpolationConfig
from assets.lineage.config import LineageConfig
from assets.selection.config import CurriculumConfig

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
}
