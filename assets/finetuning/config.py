"""Configuration of fine-tuning, shared by checkpoints and by RAISE's episodes."""

from enum import StrEnum

import dagster as dg
from pydantic import Field


class Method(StrEnum):
    """What is trained."""

    lora = "lora"
    dora = "dora"
    qlora = "qlora"
    full = "full"


class Sharding(StrEnum):
    """What several processes divide among themselves beside the rows."""

    none = "none"
    fsdp = "fsdp"


class Schedule(StrEnum):
    """How the learning rate changes over the steps."""

    cosine = "cosine"
    linear = "linear"
    constant = "constant"


class Noise(StrEnum):
    """Noise on the embeddings while training."""

    none = "none"
    neftune = "neftune"
    symnoise = "symnoise"


class TrainingSettings(dg.Config):
    """How a model is fine-tuned; steps, batch size and the longest row come from the curriculum."""

    method: Method = Field(
        default=Method.lora,
        description="lora: low-rank adapters. dora: adapters and the norm of each output's weights (arXiv "
        "2402.09353). qlora: adapters on weights of 4 bits, on a CUDA device with the extra sultana[qlora] "
        "(arXiv 2305.14314). full: all weights.",
    )
    rank: int = Field(default=8, ge=1, le=1024, description="Rank of the adapters.")
    alpha: int = Field(default=16, ge=1, le=4096, description="Scale of the adapters.")
    top_layers: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Adapt only this many of the last layers; 0: all. Fewer is quicker.",
    )
    frozen_states_mebibytes: int = Field(
        default=1024,
        ge=0,
        le=1_048_576,
        description="Where top_layers is set and no noise: memory in MiB for the states that enter the first "
        "trained layer, which are then computed once a row instead of at every step. 0: none are kept.",
    )
    learning_rate: float = Field(default=5e-4, gt=0, le=1, description="Peak learning rate of AdamW.")
    schedule: Schedule = Field(default=Schedule.cosine, description="Course of the learning rate.")
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Decoupled weight decay.")
    gradient_clip: float = Field(default=1.0, gt=0, description="Largest norm of the gradient.")
    micro_batch: int = Field(default=8, ge=1, le=4096, description="Rows in one forward and backward pass.")
    packing: bool = Field(
        default=False,
        description="Lay several rows into one line, where they do not see one another; micro_batch then "
        "counts lines. Fewer passes with less padding; on a CPU it was not quicker, as rows are sorted by "
        "length already. Rows mixed above the embedding layer keep a line of their own.",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Compute layers a second time in the backward pass: the same result with most of a "
        "step's memory saved, for about a third more time (SmolLM2-135M, 8 rows of 200 tokens on a CPU).",
    )
    detach_embeddings: bool = Field(
        default=False,
        description="Take embeddings as constants: no gradient reaches the embedding table through them. "
        "Matters for method full alone; where the table is also the output head, that side is still trained.",
    )
    noise: Noise = Field(
        default=Noise.none,
        description="Noise on the embeddings while training. neftune: uniform (arXiv 2310.05914). symnoise: "
        "signs, each batch seen with the noise and with its opposite, at twice the cost (arXiv 2312.01523).",
    )
    noise_scale: float = Field(
        default=5.0, ge=0, le=1000, description="α: the noise is α / √(tokens of a row · width) in size."
    )


class CheckpointConfig(dg.Config):
    """How a curriculum becomes a checkpoint."""

    training: TrainingSettings = Field(default=TrainingSettings(), description="How the model is fine-tuned.")
    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Processes that share the rows of each step, one to a CUDA device where there are any; the "
        "result is that of one process but for rounding. One trains on this machine; several on the compute "
        "engine: this machine, or the workers of a Ray cluster, which then share a folder with it.",
    )
    sharding: Sharding = Field(
        default=Sharding.none,
        description="none: every process holds the whole model. fsdp: the weights of the layers, their "
        "gradients and moments are divided among the processes.",
    )
    save_every: int = Field(
        default=10, ge=1, description="Steps between resumable states; a killed run loses no more."
    )
    early_stopping_every: int = Field(
        default=0,
        ge=0,
        description="Steps between loss measurements on the early-stopping split and on the reward split, "
        "beside those before the first step and at the end. 0: only these.",
    )
    early_stopping_patience: int = Field(
        default=0,
        ge=0,
        description="Measurements without improvement after which training stops. 0: never. "
        "The weights of the best measurement are kept either way.",
    )
    early_stopping_examples: int = Field(default=64, ge=1, description="Examples measured, chosen by hash.")
    seed: int = Field(default=0, ge=0, description="Added to the partition's seed, for adapters and dropout.")


class CheckpointChecksConfig(dg.Config):
    """Bound of the check of `checkpoint`."""

    maximum_loss: float = Field(
        default=15.0,
        gt=0,
        le=1000,
        description="Largest loss, in nats a token, that training may end with; guessing among 50,000 tokens has "
        "10.8. Beyond it the checkpoint is not evaluated.",
    )
