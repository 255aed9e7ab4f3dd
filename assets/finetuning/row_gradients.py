"""The gradient of each row's own loss, from one backward over a batch.

A low-rank adapter's gradient is small: of SmolLM2-135M with rank 8 on six layers, 488,448 numbers a row. So
each row's is formed in full from the states and slopes that the backward has in hand anyway, at the cost of
two narrow products a layer, and whoever asks compares, projects or drops it. This is what LESS (arXiv 2402.04333
§4.1), GREATS and the order that RAISE starts from are made of.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from assets.finetuning.fused_lora import FusedLoraLinear
from resources.errors import SultanaError


@dataclass(frozen=True, eq=False)
class RowGradients:
    """Gradients of l rows of one pass.

    `rows` are the rows' places in what was asked for. `gradients` float32 (l, p) are of each row's Σ label
    weight x cross entropy, in the order of `Layout`; `label_weights` float64 (l,) the sums of label weights:
    dividing by them gives the gradient of the mean over a row's tokens.
    """

    rows: list[int]
    gradients: torch.Tensor
    label_weights: torch.Tensor


class Layout:
    """Where each trained parameter's gradient lies in a vector (p,): by name, in ascending order.

    Raises SultanaError where other weights than plain low-rank adapters are trained.
    """

    def __init__(self, model: Any, trained: Mapping[str, torch.nn.Parameter], dtype: torch.dtype) -> None:
        self._device = next(iter(trained.values())).device
        names = {id(parameter): name for name, parameter in trained.items()}
        self.names = sorted(trained)
        self.sizes = [trained[name].numel() for name in self.names]
        self.length = sum(self.sizes)
        starts = dict(zip(self.names, torch.tensor([0, *self.sizes]).cumsum(0).tolist(), strict=False))
        self._places: dict[FusedLoraLinear, tuple[slice, slice]] = {}
        found = 0
        for module in model.modules():
            if isinstance(module, FusedLoraLinear) and module.fuses(dtype, self._device.type):
                pair = (module.lora_A[module.active_adapters[0]], module.lora_B[module.active_adapters[0]])
                here = [names[id(one.weight)] for one in pair if id(one.weight) in names]
                if len(here) == 2:
                    first, second = (
                        slice(starts[name], starts[name] + trained[name].numel()) for name in here
                    )
                    self._places[module] = (first, second)
                    found += 2
        if found != len(trained):
            raise SultanaError(
                "The gradients of single rows were asked for, but not only plain LoRA adapters are trained",
                "Train with method lora, dropout 0, and products in the dtype of the weights",
                code="settings-conflict",
            )

    def flatten(self, gradients: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Tensors by parameter name as one vector (p,) float32; what is absent is 0."""
        return torch.cat(
            [
                gradients[name].detach().reshape(-1).float()
                if name in gradients
                else torch.zeros(size, device=self._device)
                for name, size in zip(self.names, self.sizes, strict=True)
            ]
        )

    @contextlib.contextmanager
    def recording(self, rows: int, device: torch.device) -> Iterator[torch.Tensor]:
        """While this lasts, a backward over `rows` lines fills the (rows, p) float32 tensor given."""
        found = torch.zeros(rows, self.length, device=device)

        def fill(places: tuple[slice, slice]) -> Any:
            def by_row(down: torch.Tensor, up: torch.Tensor) -> None:
                found[:, places[0]] += down.flatten(1)
                found[:, places[1]] += up.flatten(1)

            return by_row

        for module, places in self._places.items():
            module.by_row = fill(places)
        try:
            yield found
        finally:
            for module in self._places:
                module.by_row = None
