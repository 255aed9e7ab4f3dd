"""PEFT's low-rank adapters on a linear layer, LoRA and DoRA, with fewer passes over memory.

y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ (LoRA, arXiv 2106.09685 §4.1) with W frozen. PEFT's own forward casts x to the
adapter's float32 and adds a scaled product of full width; here the adapter is cast to the dtype of x, the
scale falls on the narrow product, and both sums go into the accumulator of a product. The adapter stays
float32 for the optimizer. Where PEFT's forward does more (dropout, merged or disabled adapters, quantised
weights, other variants), it is used as it is.

DoRA scales each output of W + s·B·A to a trained norm m (arXiv 2402.09353, eq. 5): the same product times
m / ‖W + s·B·A‖, whose divisor carries no gradient (§4.3). PEFT forms W + s·B·A whole in float32 at each step;
here ‖W + s·B·A‖² = ‖W‖² + 2s·Σ(W·Aᵀ ∘ B) + s²·Σ(B·(A·Aᵀ) ∘ B), whose products are as narrow as the adapter.
"""

from collections.abc import Callable
from typing import Any

import torch
from peft.tuners import lora
from peft.tuners.lora.variants import DoraLinearVariant


class _LowRankProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
        by_row: Callable[[torch.Tensor, torch.Tensor], None] | None,
    ) -> torch.Tensor:
        flat = states.reshape(-1, states.shape[-1])
        down, up = down.to(flat.dtype), up.to(flat.dtype)
        narrow = flat.mm(down.t()).mul_(scale)
        out = torch.nn.functional.linear(flat, weight, bias).addmm_(narrow, up.t())
        ctx.save_for_backward(flat, weight, down, up, narrow)
        ctx.scale = scale
        ctx.shape = states.shape
        ctx.by_row = by_row
        return out.view(*states.shape[:-1], out.shape[-1])

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        flat, weight, down, up, narrow = ctx.saved_tensors
        slope = slopes[0].reshape(-1, slopes[0].shape[-1])
        for_up = slope.t().mm(narrow)
        narrow_slope = slope.mm(up).mul_(ctx.scale)
        for_down = narrow_slope.t().mm(flat)
        if ctx.by_row is not None:
            rows = ctx.shape[:2]
            ctx.by_row(
                narrow_slope.view(*rows, -1).mT @ flat.view(*rows, -1),
                slope.view(*rows, -1).mT @ narrow.view(*rows, -1),
            )
        for_states = None
        if ctx.needs_input_grad[0]:
            for_states = slope.mm(weight).addmm_(narrow_slope, down).view(ctx.shape)
        return for_states, None, None, for_down.float(), for_up.float(), None, None


class FusedLoraLinear(lora.Linear):
    """A drop-in for PEFT's `lora.Linear`, registered through `LoraConfig._register_custom_module`.

    `by_row`, where set, is called in the backward with the gradients of A (l, r, in) and B (l, out, r) of each
    line of the batch apart: two narrow products on top of the backward (row_gradients.py).
    """

    by_row: Callable[[torch.Tensor, torch.Tensor], None] | None = None

    def fuses(self, dtype: torch.dtype, device_type: str) -> bool:
        """Whether the forward of states of this dtype is the one written here, and not PEFT's."""
        return self._fuses(dtype, device_type) and self.active_adapters[0] not in self.lora_variant

    def _fuses(self, dtype: torch.dtype, device_type: str) -> bool:
        names = self.active_adapters
        return (
            len(names) == 1
            and names[0] in self.lora_A
            and not self.disable_adapters
            and not self.merged
            and type(self.lora_variant.get(names[0])) in (type(None), DoraLinearVariant)
            and isinstance(self.lora_dropout[names[0]], torch.nn.Identity)
            and type(self.base_layer) is torch.nn.Linear
            and not self.base_layer.weight.requires_grad
            and self.base_layer.weight.dtype == dtype
            and not torch.is_autocast_enabled(device_type)
        )

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As PEFT's: (..., in) -> (..., out) in the dtype of x."""
        if args or kwargs or not self._fuses(x.dtype, x.device.type):
            out: torch.Tensor = super().forward(x, *args, **kwargs)
            return out
        name = self.active_adapters[0]
        has_norms = name in self.lora_variant
        out = _LowRankProduct.apply(
            x,
            self.base_layer.weight,
            None if has_norms else self.base_layer.bias,
            self.lora_A[name].weight,
            self.lora_B[name].weight,
            self.scaling[name],
            self.by_row,
        )
        if has_norms:
            # In float32: a factor near 1 has too few digits in bfloat16.
            scaled = out * (self.lora_magnitude_vector[name].weight / self._norms(name))
            out = (scaled if self.base_layer.bias is None else scaled + self.base_layer.bias).to(x.dtype)
        return out

    @torch.no_grad()
    def _norms(self, name: str) -> torch.Tensor:
        """The norm of each output's weights with the adapter in them, float32 (out,)."""
        weight, scale = self.base_layer.weight, self.scaling[name]
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        crossed = (weight @ down.to(weight.dtype).t()).float()
        return (
            torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32).square()
            + (up * (2 * scale * crossed + scale**2 * up @ (down @ down.t()))).sum(1)
        ).sqrt()


def restart_norms(wrapped: Any) -> None:
    """Let DoRA's norms be those of the weights to float32's precision, so that it starts at the model as it is."""
    for module in wrapped.modules():
        for norms in getattr(module, "lora_magnitude_vector", {}).values():
            weight = module.base_layer.weight
            if getattr(module, "fan_in_fan_out", False):
                weight = weight.t()
            norms.weight.data = torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32)
