"""Configuration of the stage `selection`: the pool, the budget, and each strategy's own settings."""

from enum import StrEnum

import dagster as dg
from pydantic import Field

from assets.finetuning.config import TrainingSettings

_COLUMN = "a score column of the instructions, named in a source's score_fields"


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
    """Strategy raise (arXiv 2504.07282)."""

    preset: RaisePreset = Field(
        default=RaisePreset.guarded,
        description="guarded: exploration, repeat cap, best policy. paper: as published.",
    )
    rounds: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="Updates of the policy (K). Empty: 1 after the gradients of rows (aligned_rows), 4 without, 20 "
        "with the preset paper. 0: the policy to start from selects as it is.",
    )
    rollouts: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="Training runs gathered before each update (G); guarded, the first of them does not explore. "
        "Empty: 2, or 1 with the preset paper.",
    )
    baseline_rollouts: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Random runs to compare the policy with. Empty: 1, or none with the preset paper.",
    )
    measure_every: int | None = Field(
        default=None,
        ge=1,
        description="Steps between rewards. Empty: so many that a training run has at most 16, or 1 with the "
        "preset paper.",
    )
    aligned_rows: int | None = Field(
        default=None,
        ge=-1,
        description="Rows whose gradients are taken after a warm-up: the policy is first fitted to the order in "
        "which they turn the curriculum's gradient towards the reward split's. 0: all rows. -1: none. Empty: "
        "all up to 8,192, but none with the preset paper or where other weights than LoRA adapters are trained.",
    )
    warm_up: int = Field(
        default=8, ge=0, le=10_000, description="Steps on random rows before those gradients are taken."
    )
    alignment_column: bool | None = Field(
        default=None,
        description="That order is also a column of the state, the 40th; needs the gradients of all rows. Empty: "
        "where those are taken.",
    )
    select_every: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="Steps whose batches are chosen at once (appendix F): scores are computed so much more seldom.",
    )
    initial_policy: str = Field(
        default="",
        description="Folder of a trained policy to start from, on this pool or another: a curriculum's metadata "
        "names the one it wrote. Empty: a new one.",
    )


class AuxiliarySettings(dg.Config):
    """The model that strategies raise and superfiltering score rows with."""

    model: str = Field(
        default="",
        description="Empty: the language model. Otherwise 'embedded', a local folder, or a Hugging Face model "
        "id: RAISE took one larger than the model that is trained, Superfiltering a smaller one.",
    )
    revision: str = Field(default="", description="Commit of a Hugging Face model; required with a model id.")
    dtype: str = Field(default="auto", description="auto, float32 or bfloat16.")
    maximum_length: int = Field(
        default=0,
        ge=0,
        le=131_072,
        description="Longest row in tokens of the auxiliary model; longer prompts are cut. 0: twice the "
        "curriculum's maximum_length, since another model's tokens may be more.",
    )


class IfdSettings(dg.Config):
    """Strategy ifd (arXiv 2308.12032)."""

    pre_experience_rows_per_cluster: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Rows of each cluster that the language model is trained on, once, before it scores: 10 of "
        "100 clusters in the paper. 0: it scores as it is.",
    )


class DeitaSettings(dg.Config):
    """Strategy deita (arXiv 2312.15685)."""

    threshold: float = Field(
        default=0.9,
        ge=-1,
        le=1,
        description="A row is kept where its highest cosine similarity to the rows kept is at most this.",
    )
    complexity: str = Field(
        default="", description=f"Complexity of a row: {_COLUMN}. Empty: the response's length stands in."
    )
    quality: str = Field(
        default="", description=f"Quality of a row: {_COLUMN}. Empty: the response's length stands in."
    )


class AlpagasusSettings(dg.Config):
    """Strategy alpagasus (arXiv 2307.08701)."""

    column: str = Field(default="rating", description=f"A judge's rating of a row: {_COLUMN}.")
    threshold: float = Field(default=4.5, description="Rows rated at least this may be selected.")


class KmeansQualitySettings(dg.Config):
    """Strategy kmeans_quality (arXiv 2409.11378)."""

    column: str = Field(
        default="", description=f"Quality of a row: {_COLUMN}. Empty: the response's length stands in."
    )


class DsirSettings(dg.Config):
    """Strategy dsir (arXiv 2302.03169)."""

    buckets: int = Field(
        default=10_000, ge=2, le=10_000_000, description="Buckets that words and word pairs are hashed to."
    )
    pseudo_count: float = Field(
        default=0.0,
        ge=0,
        le=1000,
        description="Added to the count of each bucket in the reward split. 0 in the paper; its authors advise "
        "more where the split is small.",
    )


class LessSettings(dg.Config):
    """Strategy less (arXiv 2402.04333)."""

    dimensions: int = Field(
        default=8192, ge=1, le=65_536, description="Dimensions that gradients are projected to, at random."
    )
    warmup_share: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Share of the pool, drawn at random, that the model is first trained on.",
    )
    epochs: int = Field(
        default=4,
        ge=1,
        le=100,
        description="Passes over those rows. Gradients are taken after each, so the cost is that many "
        "backward passes over the pool.",
    )


class GradientAlignmentSettings(dg.Config):
    """Strategy gradient_alignment (after GREATS, NeurIPS 2024)."""

    candidates: int = Field(
        default=32,
        ge=0,
        le=1_000_000,
        description="Rows drawn at each step, of which the best are trained on; 0: all rows of the pool.",
    )
    reward_examples: int = Field(
        default=16,
        ge=1,
        le=1_000_000,
        description="Examples of the reward split drawn at each step, whose gradient the rows are compared with.",
    )


class CurriculumConfig(dg.Config):
    """What is selected: steps × batch size rows, from a pool that all strategies share."""

    steps: int = Field(
        default=40,
        ge=1,
        le=1_000_000,
        description="Optimizer steps. Strategy full takes what its passes over the pool need.",
    )
    batch_size: int = Field(default=8, ge=1, le=65_536, description="Rows per optimizer step.")
    passes: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Times that a strategy which decides once passes over the rows it selects (so it selects "
        "steps × batch_size / passes of them), and times at most that one which decides at each step selects "
        "a row.",
    )
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
    reward_examples: int = Field(
        default=64,
        ge=0,
        description="Examples of the split 'reward' that strategies select for, by hash. 0: all.",
    )
    training: TrainingSettings = Field(
        default=TrainingSettings(),
        description="How strategies train on the way (raise, less, gradient_alignment, ifd); the same as the "
        "checkpoint's, as a rule.",
    )
    auxiliary: AuxiliarySettings = Field(
        default=AuxiliarySettings(), description="The model that raise and superfiltering score with."
    )
    policy: RaiseSettings = Field(default=RaiseSettings(), description="Settings of the strategy raise.")
    ifd: IfdSettings = Field(default=IfdSettings(), description="Settings of the strategy ifd.")
    deita: DeitaSettings = Field(default=DeitaSettings(), description="Settings of the strategy deita.")
    alpagasus: AlpagasusSettings = Field(
        default=AlpagasusSettings(), description="Settings of the strategy alpagasus."
    )
    kmeans_quality: KmeansQualitySettings = Field(
        default=KmeansQualitySettings(), description="Settings of the strategy kmeans_quality."
    )
    dsir: DsirSettings = Field(default=DsirSettings(), description="Settings of the strategy dsir.")
    less: LessSettings = Field(default=LessSettings(), description="Settings of the strategy less.")
    gradient_alignment: GradientAlignmentSettings = Field(
        default=GradientAlignmentSettings(), description="Settings of the strategy gradient_alignment."
    )


class CurriculumChecksConfig(dg.Config):
    """Bounds of the checks of `curriculum`; beyond one, the check warns."""

    minimum_distinct_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Smallest share of distinct rows, of as many as the curriculum could hold.",
    )
    minimum_cluster_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Smallest share of clusters covered, of as many as the curriculum could cover.",
    )
    maximum_share_of_mixes: float = Field(
        default=0.75, ge=0, le=1, description="Largest share of entries that are interpolated rows."
    )
    random_tolerance: float = Field(
        default=0.02,
        ge=0,
        le=10,
        description="Nats a token by which the loss of RAISE's policy on the reward split may end above that of "
        "random runs, which are few and vary.",
    )
