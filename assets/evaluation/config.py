"""Configuration of the stage `evaluation`: benchmark splits, scoring and the leaderboard."""

import dagster as dg
from pydantic import Field

from assets.instructions.config import Source, StarterCorpus


class BenchmarkSplitsConfig(dg.Config):
    """Where the three splits come from. With none named, the starter corpus brings all three."""

    reward: list[Source] = Field(default=[], description="What selection is rewarded on.")
    early_stopping: list[Source] = Field(
        default=[], description="What training may stop on. Empty: a share of the reward sources, by hash."
    )
    test: list[Source] = Field(
        default=[], description="What checkpoints are compared on; nothing else sees it."
    )
    early_stopping_share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="Share of the reward sources taken where early_stopping is empty.",
    )
    maximum_examples: int = Field(
        default=0, ge=0, description="Examples kept per split, chosen by hash. 0: all that the sources hold."
    )
    contamination_ngram: int = Field(
        default=8, ge=3, le=32, description="Words in an n-gram of the overlap test."
    )
    contamination_threshold: float = Field(
        default=0.7, gt=0, le=1, description="Share of n-grams in common from which two splits overlap."
    )
    starter: StarterCorpus = Field(
        default=StarterCorpus(), description="The starter corpus, where nothing is named."
    )


class EvaluationConfig(dg.Config):
    """How a model is scored."""

    split: str = Field(default="test", description="Split to score on: test, early_stopping or reward.")
    loss_examples: int = Field(default=0, ge=0, description="Examples whose loss is measured. 0: all.")
    accuracy_examples: int = Field(default=0, ge=0, description="Examples answered by generation. 0: all.")
    maximum_new_tokens: int = Field(default=64, ge=1, le=4096, description="Tokens generated per answer.")
    maximum_length: int = Field(default=512, ge=16, le=131_072, description="Longest example, in tokens.")
    batch_tokens: int = Field(default=4096, ge=64, description="Tokens in one forward pass.")


class LeaderboardConfig(dg.Config):
    """What the leaderboard compares with."""

    reference: str = Field(
        default="random", description="Strategy that others are compared with, seed by seed."
    )
