"""Configuration of the stage `selection`: the pool, the budget and RAISE."""

from enum import StrEnum

import dagster as dg
from pydantic import Field

from assets.finetuning.config import TrainingSettings


class PoolRows(StrEnum):
    """Which rows of `diversity_clusters` a strategy may select."""

    representatives = "representatives"
    originals = "originals"
    all = "all"


class RaisePreset(StrEnum):
    """Settings that the other RAISE settings start from."""

    guarded = "guarded"
    paper = "paper"


class RaiseSettings(dg.Config):
    """RAISE (arXiv 2504.07282). What is left at 0 is the preset's."""

    preset: RaisePreset = Field(
        default=RaisePreset.guarded,
        description="guarded: exploration, repeat cap, best policy. paper: as published.",
    )
    rounds: int = Field(default=4, ge=1, le=1000, description="Updates of the policy (K).")
    rollouts: int = Field(
        default=2, ge=1, le=100, description="Training runs gathered before each update (G)."
    )
    baseline_rollouts: int = Field(
        default=1, ge=0, le=100, description="Random runs to compare the policy with."
    )
    reward_examples: int = Field(
        default=64, ge=1, description="Examples of the reward split measured, by hash."
    )
    measure_every: int = Field(default=1, ge=1, description="Steps between rewards.")
    training: TrainingSettings = Field(
        default=TrainingSettings(),
        description="How an episode trains; the same as the checkpoint's, as a rule.",
    )


class CurriculumConfig(dg.Config):
    """What is selected: steps × batch size rows, from a pool that all strategies share."""

    steps: int = Field(default=40, ge=1, le=1_000_000, description="Optimizer steps.")
    batch_size: int = Field(default=8, ge=1, le=65_536, description="Rows per optimizer step.")
    pool: PoolRows = Field(default=PoolRows.representatives, description="Rows that may be selected.")
    candidates: int = Field(
        default=1024,
        ge=0,
        description="Rows of the pool that strategies look at, stratified by cluster. 0: all.",
    )
    pool_seed: int = Field(
        default=0, ge=0, description="Seed of the candidates; equal for all strategies and seeds."
    )
    maximum_length: int = Field(
        default=512, ge=16, le=131_072, description="Longest row, in tokens; longer prompts are cut."
    )
    policy: RaiseSettings = Field(default=RaiseSettings(), description="Settings of the strategy raise.")
