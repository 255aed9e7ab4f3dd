"""FSDP: the weights of a model's layers, their gradients and moments, divided among the processes.

torch's `fully_shard`, which is what accelerate applies too, on every layer of the decoder; a layer is whole in
a process only while it computes. Embedding, head and norms outside the layers stay whole in every process,
since rows are mixed on embeddings and losses are taken from the head's weights, both outside the model's own
forward. Gradients are summed, not averaged: a session's loss is divided by the labels of all processes.

Every process has to run the layers equally often, also one whose share of a step has fewer rows.
"""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from assets.finetuning.devices import process_number, sum_numbers
from resources.errors import SultanaError

Sharding = Literal["none", "fsdp"]


def shard_layers(body: Any, layers: Iterable[torch.nn.Module]) -> None:
    """Divide the `layers` of a decoder among the processes, in place; parameters keep their names.

    The decoder is whole in every process when it is given. Raises SultanaError in a single process.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    _, count = process_number()
    if count == 1:
        raise SultanaError(
            "Sharding fsdp divides a model among processes, and there is one",
            "Set sharding to none, or processes to 2 or more",
            code="settings-conflict",
        )
    mesh = init_device_mesh(next(body.parameters()).device.type, (count,))
    divided: set[torch.nn.Parameter] = set()
    for layer in layers:
        unit: Any = fully_shard(layer, mesh=mesh)
        unit.set_gradient_divide_factor(1.0)
        unit.set_force_sum_reduction_for_comms(True)  # gloo has no other
        divided |= set(layer.parameters())
    others = {parameter for parameter in body.parameters() if parameter not in divided}
    fully_shard(body, mesh=mesh, ignored_params=others)


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether a process holds a part of the tensor only."""
    return isinstance(tensor, DTensor)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with the parts of all processes, which all have to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def divided_as(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A new tensor: this process's part of `tensor` where the parameter is divided, else a copy beside it."""
    if not isinstance(parameter, DTensor):
        return tensor.to(parameter.device, copy=True)
    # Every process has the whole tensor, so nothing has to be sent.
    return distribute_tensor(
        tensor.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )


def clip_gradients(parameters: Iterable[torch.nn.Parameter], limit: float, device: torch.device) -> float:
    """Scale gradients, of which some may be divided, to a norm of at most `limit`; the norm before."""
    gradients = [one.grad for one in parameters if one.grad is not None]
    parts = [one.to_local() for one in gradients if isinstance(one, DTensor)]
    plain = [one for one in gradients if not isinstance(one, DTensor)]
    (squares,) = sum_numbers([float(sum(one.double().square().sum() for one in parts))], device)
    norm = (squares + float(sum(one.double().square().sum() for one in plain))) ** 0.5
    scale = min(1.0, limit / (norm + 1e-6))
    if scale < 1.0:
        for one in (*parts, *plain):
            one.mul_(scale)
    return norm
