"""Configuration of fine-tuning as the training session takes it."""

from typing import TYPE_CHECKING

from assets.finetuning.config import CheckpointConfig, TrainingSettings
from resources.compute.boundary import Compute
from resources.compute.this_machine import THIS_MACHINE

if TYPE_CHECKING:
    from assets.finetuning.training_config import TrainingConfig


def training_config(settings: TrainingSettings, maximum_length: int, seed: int) -> "TrainingConfig":
    """`settings` for rows of at most `maximum_length` tokens; all that is random depends on `seed`."""
    from assets.finetuning.training_config import TrainingConfig

    return TrainingConfig(
        method=settings.method.value,
        rank=settings.rank,
        alpha=settings.alpha,
        layers=settings.top_layers or "all",
        frozen_states_bytes=_frozen_states_bytes(settings),
        learning_rate=settings.learning_rate,
        schedule=settings.schedule.value,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        gradient_clip=settings.gradient_clip,
        maximum_length=maximum_length,
        micro_batch=settings.micro_batch,
        packing=settings.packing,
        gradient_checkpointing=settings.gradient_checkpointing,
        detach_embeddings=settings.detach_embeddings,
        noise=settings.noise.value,
        noise_scale=settings.noise_scale,
        seed=seed,
    )


def check_settings(config: CheckpointConfig, compute: Compute = THIS_MACHINE) -> None:
    """Raise SultanaError for settings that the engine, this machine, or one another, does not allow."""
    from assets.finetuning.processes import check_sharding
    from assets.finetuning.quantization import check_quantization

    method = config.training.method.value
    if method == "qlora":
        check_quantization()
    if config.processes > 1 or config.sharding.value != "none":
        keeps = _frozen_states_bytes(config.training) > 0
        check_sharding(config.processes, config.sharding.value, method, keeps)
        compute.check_processes(config.processes)


def _frozen_states_bytes(settings: TrainingSettings) -> int:
    keeps = settings.top_layers > 0 and settings.noise.value == "none"
    return settings.frozen_states_mebibytes * 2**20 if keeps else 0
