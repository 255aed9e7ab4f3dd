"""Trained weights and AdamW's moments as named tensors: all that a bit-exact resume needs but the step."""

from collections.abc import Mapping

import torch

from assets.finetuning.sharding import divided_as, whole

MOMENTS = ("exp_avg", "exp_avg_sq")


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
