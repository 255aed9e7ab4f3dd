"""Configuration of the stage `evaluation`: benchmark splits, scoring and the leaderboard."""

from enum import StrEnum

import dagster as dg
from pydantic import Field

from assets.evaluation.benchmarks.plan import BenchmarkSpec
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


class ScoredSplit(StrEnum):
    """Splits that a score may be measured on. Not reward: selection has seen it."""

    test = "test"
    early_stopping = "early_stopping"


class Benchmark(dg.Config):
    """A benchmark of lm-evaluation-harness, on questions of a local file or of the Hub."""

    task: str = Field(
        description="mmlu, arc_challenge, arc_easy, commonsense_qa, gsm8k, gsm8k_cot_zeroshot, ifeval, humaneval, "
        "humaneval_instruct, mbpp or mbpp_instruct."
    )
    path: str = Field(
        default="",
        description="Its questions: a file, folder or glob, or hf://datasets/owner/name. Empty: the data set "
        "that the harness's task names, of the Hub.",
    )
    few_shot: int = Field(
        default=-1, ge=-1, le=64, description="Examples before each question. -1: as many as the task's own."
    )
    few_shot_path: str = Field(
        default="", description="Questions that few-shot examples are drawn from, as path. Never scored."
    )
    examples: int = Field(default=0, ge=0, description="Questions asked, chosen by hash. 0: all.")
    revision: str = Field(default="", description="Commit of a Hub data set. Empty: the newest, recorded.")

    def spec(self) -> BenchmarkSpec:
        """The benchmark as it is read."""
        return BenchmarkSpec(**self.model_dump())


class EvaluationConfig(dg.Config):
    """How a model is scored."""

    split: ScoredSplit = Field(
        default=ScoredSplit.test, description="Split to score on: test or early_stopping."
    )
    loss_examples: int = Field(default=0, ge=0, description="Examples whose loss is measured. 0: all.")
    accuracy_examples: int = Field(default=0, ge=0, description="Examples answered by generation. 0: all.")
    maximum_new_tokens: int = Field(default=64, ge=1, le=4096, description="Tokens generated per answer.")
    maximum_length: int = Field(default=512, ge=16, le=131_072, description="Longest example, in tokens.")
    batch_tokens: int = Field(default=4096, ge=64, description="Tokens in one forward pass.")
    benchmarks: list[Benchmark] = Field(
        default=[], description="Benchmarks of lm-evaluation-harness to run as well."
    )
    apply_chat_template: bool | None = Field(
        default=None,
        description="Ask benchmarks through the model's chat template. Empty: where the model brings one.",
    )
    execute_generated_code: bool = Field(
        default=False,
        description="Run the code that models write for HumanEval and MBPP, in a sandbox (Linux only). "
        "Off: these benchmarks are refused.",
    )
    contamination_ngram: int = Field(
        default=8, ge=3, le=32, description="Words in an n-gram of the overlap test of questions."
    )
    contamination_threshold: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Share of a question's n-grams found in a row trained on, or in a reward row, from which "
        "the two overlap. Questions that overlap with reward rows are not asked.",
    )


class LeaderboardConfig(dg.Config):
    """What the leaderboard compares with."""

    reference: str = Field(
        default="random", description="Strategy that others are compared with, seed by seed."
    )
    bootstrap_samples: int = Field(
        default=2000, ge=100, le=100_000, description="Resamples of a paired bootstrap over questions."
    )
    bootstrap_seed: int = Field(default=0, ge=0, description="Seed of the bootstrap.")
