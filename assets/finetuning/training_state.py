"""AdamW, and trained weights and its moments as named tensors: all that a bit-exact resume needs but the step."""

from collections.abc import Mapping

import torch

from assets.finetuning.sharding import divided_as, is_sharded, whole
from assets.finetuning.training_config import TrainingConfig

MOMENTS = ("exp_avg", "exp_avg_sq")


def new_optimizer(trained: Mapping[str, torch.nn.Parameter], config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over these parameters, before its first step."""
    kinds = [[one for one in trained.values() if is_sharded(one) is sharded] for sharded in (False, True)]
    return torch.optim.AdamW(
        [{"params": kind} for kind in kinds if kind],  # one call cannot take both
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )


def moments_of(
    trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The running means of gradients and of their squares, by parameter name, of those that were stepped."""
    state = optimizer.state
    first, second = (
        {name: state[one][moment] for name, one in trained.items() if one in state} for moment in MOMENTS
    )
    return first, second


def tensors_of(
    trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.AdamW
) -> dict[str, torch.Tensor]:
    """Copies on the CPU: `weights/NAME`, and `exp_avg/NAME` and `exp_avg_sq/NAME` where there are moments.

    What is divided among processes is put together: all of them have to call this.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in trained.items():
        tensors[f"weights/{name}"] = _copy(parameter)
        for moment in MOMENTS:
            if moment in optimizer.state[parameter]:
                tensors[f"{moment}/{name}"] = _copy(optimizer.state[parameter][moment])
    return tensors


def restore(
    trained: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.AdamW,
    tensors: Mapping[str, torch.Tensor],
    step: int,
) -> None:
    """Put what `tensors_of` gave back into the weights and a fresh optimizer, after `step` steps."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(divided_as(tensors[f"weights/{name}"], parameter))
            if f"exp_avg/{name}" in tensors:
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step), device=parameter.device),
                    **{moment: divided_as(tensors[f"{moment}/{name}"], parameter) for moment in MOMENTS},
                }


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return whole(tensor.detach()).to("cpu", copy=True).contiguous()
