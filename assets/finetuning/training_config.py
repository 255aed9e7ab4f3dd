"""How a training session trains, with the bounds of every setting."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from resources.errors import SultanaError

_REMEDIES = {
    "frozen_states_bytes": "Set it to 0, or train only some layers from the top, without noise: "
    "otherwise no states stay the same from step to step"
}

MethodName = Literal["lora", "dora", "qlora", "full"]
NoiseName = Literal["none", "neftune", "symnoise"]


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is fine-tuned."""

    method: MethodName = "lora"
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    layers: Literal["all"] | int = "all"  # or only so many from the top: backward stops below them
    learning_rate: float = 3e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    maximum_length: int = 512  # tokens
    micro_batch: int = 8  # rows at once; a step's result does not depend on it but for rounding
    gradient_clip: float = 1.0  # largest norm; 0 does not clip
    seed: int = 0
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of products; auto: as the model was loaded
    noise: NoiseName = "none"  # on the embeddings while training; symnoise doubles the cost of a step
    noise_scale: float = 5.0  # α of NEFTune and SymNoise
    detach_embeddings: bool = False  # no gradient through the embedding's output; a tied head's is kept
    gradient_checkpointing: bool = False  # compute layers again in the backward: less memory, more time
    frozen_states_bytes: int = (
        0  # kept of the states below the first trained layer; 0: computed at every step
    )
    packing: bool = False  # several rows in a line, unseen by one another; micro_batch then counts lines

    def __post_init__(self) -> None:
        bounds: tuple[tuple[str, object, bool], ...] = (
            ("method", self.method, self.method in get_args(MethodName)),
            ("rank", self.rank, self.rank >= 1),
            ("alpha", self.alpha, self.alpha > 0),
            ("dropout", self.dropout, 0 <= self.dropout < 1),
            ("learning_rate", self.learning_rate, 0 < self.learning_rate < math.inf),
            ("warmup_steps", self.warmup_steps, self.warmup_steps >= 0),
            ("weight_decay", self.weight_decay, self.weight_decay >= 0),
            ("maximum_length", self.maximum_length, self.maximum_length >= 2),
            ("micro_batch", self.micro_batch, self.micro_batch >= 1),
            ("gradient_clip", self.gradient_clip, self.gradient_clip >= 0),
            (
                "frozen_states_bytes",
                self.frozen_states_bytes,
                self.frozen_states_bytes == 0
                or (self.frozen_states_bytes > 0 and self.layers != "all" and self.noise == "none"),
            ),
            ("noise", self.noise, self.noise in get_args(NoiseName)),
            ("noise_scale", self.noise_scale, 0 <= self.noise_scale < math.inf),
        )
        for name, value, fits in bounds:
            if not fits:
                remedy = _REMEDIES.get(name, "Choose a value within its bounds")
                raise SultanaError(f"{name} cannot be {value}", remedy, code="setting-out-of-bounds")
