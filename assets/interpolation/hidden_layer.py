"""Mixing above the embedding layer: manifold mixup (Verma et al., 2019, arXiv 1806.05236 §2).

Both parents of a row pass through decoder layers 0 to k-1 alone, each from its own position 0: for a batch
of b rows the model gets 2b sequences. At the entry of layer k their states are put into the row's aligned
layout and mixed, and layers k and above run on b rows, at the positions of that layout. An experiment
switch: MDIT itself mixes at the embedding layer.

Layers are reached by hooks before their forward. Other tensors that a model hands its layers, such as
masks, are cut to b where they have 2b entries; `collate` sees to it that no other dimension has that size.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from assets.interpolation.mixing import Batch, weighted_sum
from resources.errors import SultanaError


def mixed_states(states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """States of both parents of b rows, (2b, n, h) with first parents first, mixed: (b, n, h)."""
    if batch.sources is None or batch.coefficients is None:
        raise ValueError("The batch is not to be mixed at a hidden layer")
    sources = batch.sources.unsqueeze(-1).expand(-1, -1, -1, states.shape[-1])
    first, second = states.view(2, -1, *states.shape[1:]).gather(2, sources)
    return weighted_sum(first, second, batch.coefficients)


@contextlib.contextmanager
def mixed_before(layers: Sequence[torch.nn.Module], batch: Batch) -> Iterator[None]:
    """While this lasts, `layers` mix what reaches layer `batch.layer`. The model is given 2b sequences.

    Raises SultanaError where the states that come to the layers have another shape.
    """
    _, rows, width = batch.ids.shape

    def cut(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[:rows] if value.dim() and value.shape[0] == 2 * rows else value
        if isinstance(value, tuple | list):
            return type(value)(cut(one) for one in value)
        if isinstance(value, dict):
            return {name: cut(one) for name, one in value.items()}
        return value

    def cut_given(
        module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        return cut(given), cut(named)

    def mix(
        module: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        states = given[0] if given else named["hidden_states"]
        if states.dim() != 3 or states.shape[:2] != (2 * rows, width):
            raise SultanaError(
                f"{type(module).__name__} gets states of shape {tuple(states.shape)}, "
                f"where {(2 * rows, width)} sequences and tokens were expected",
                "Mix at the embedding layer (layer 0), or use a model such as Llama, Qwen or Gemma",
                code="model-unsuitable",
            )
        mixed = mixed_states(states, batch)
        if given:
            return (mixed, *cut(given[1:])), cut(named)
        return (), {**cut(named), "hidden_states": mixed}

    hooks = [mix] + [cut_given] * (len(layers) - batch.layer - 1)
    handles = [
        layer.register_forward_pre_hook(hook, with_kwargs=True)
        for layer, hook in zip(layers[batch.layer :], hooks, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
