"""The state of a policy training as tensors and numbers, so that a killed one goes on to the same end.

It is saved after every training run, through the door of all checkpoints. What the run under way had done is
lost with a kill; what follows is computed again from seeds and gives the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from assets.finetuning.training_state import restore, tensors_of
from assets.selection.raise_policy.ppo import Update
from assets.selection.raise_policy.result import RoundReport
from assets.selection.raise_policy.rollout import Episode
from assets.selection.raise_policy.select import Batch

_PARTS = tuple(field.name for field in fields(Batch))


def network_tensors(prefix: str, network: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """Weights and moments, by names that begin with `prefix`."""
    found = tensors_of(dict(network.named_parameters()), optimizer)
    return {f"{prefix}/{name}": tensor for name, tensor in found.items()}


def restore_network(
    prefix: str, network: nn.Module, optimizer: AdamW, tensors: Mapping[str, Tensor], updates: int
) -> None:
    """Put what `network_tensors` gave back, after `updates` optimizer steps."""
    restore(dict(network.named_parameters()), optimizer, part_of(tensors, prefix), updates)


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def episode_tensors(prefix: str, episode: Episode) -> dict[str, Tensor]:
    """What was selected, (T, B) each; the performances are numbers and are kept as such."""
    return {
        f"{prefix}/{part}": torch.stack([getattr(batch, part) for batch in episode.batches])
        for part in _PARTS
    }


def restored_episode(prefix: str, tensors: Mapping[str, Tensor], performances: Sequence[float]) -> Episode:
    """The episode of `episode_tensors`, with its P_0 ... P_T."""
    found = part_of(tensors, prefix)
    steps = len(found["rows"])
    batches = tuple(Batch(*(found[part][step] for part in _PARTS)) for step in range(steps))
    return Episode(tuple(performances), batches)


def report_numbers(report: RoundReport) -> dict[str, Any]:
    """A round's report as JSON values."""
    return asdict(report)


def restored_report(numbers: Mapping[str, Any]) -> RoundReport:
    """The report of `report_numbers`."""
    return RoundReport(
        numbers["round"],
        numbers["policy_sha256"],
        tuple(tuple(curve) for curve in numbers["performances"]),
        tuple(numbers["distinct_rows"]),
        Update(**numbers["update"]),
    )
