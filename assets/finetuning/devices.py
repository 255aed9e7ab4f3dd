"""Several processes that train one model: who takes which rows, and the sums over all of them.

Where torch.distributed is initialised, each process holds the whole model, takes a share of the rows of a
step and adds its gradients to those of the others, so that all end with the weights that one process would
have (up to the order of sums). Where it is not, nothing here does anything. Processes are started by
the compute engine, see processes.py; weights that are divided among them are those of sharding.py.
"""

from collections.abc import Iterable, Sequence

import torch


def process_number() -> tuple[int, int]:
    """The number of this process, from 0, and how many there are."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def sum_numbers(numbers: Sequence[float], device: torch.device) -> list[float]:
    """Each number summed over all processes."""
    if process_number()[1] == 1:
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(sums)
    return [float(one) for one in sums]


def from_first(number: float, device: torch.device) -> float:
    """The number that the first process has, exactly. It waits for all."""
    return sum_numbers([number if process_number()[0] == 0 else 0.0], device)[0]


def sum_gradients(parameters: Iterable[torch.nn.Parameter], device: torch.device) -> None:
    """Put the sum over all processes into each gradient. One that no process has stays None."""
    if process_number()[1] == 1:
        return
    trained = list(parameters)
    have = sum_numbers([0.0 if one.grad is None else 1.0 for one in trained], device)
    summed = [one for one, count in zip(trained, have, strict=True) if count]
    for dtype in sorted({one.dtype for one in summed}, key=str):
        alike = [one for one in summed if one.dtype == dtype]
        flat = torch.cat(
            [torch.zeros_like(one).flatten() if one.grad is None else one.grad.flatten() for one in alike]
        )
        torch.distributed.all_reduce(flat)
        for one, gradient in zip(alike, flat.split([one.numel() for one in alike]), strict=True):
            one.grad = gradient.view_as(one)
