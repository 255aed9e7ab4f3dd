"""Weights of 4 bits (QLoRA, arXiv 2305.14314): NormalFloat with double quantisation, by bitsandbytes.

The linear layers of a loaded model are quantised in place; embedding, head and norms stay as they are. An
adapter trained so is an ordinary LoRA adapter, and is evaluated on the weights before quantisation.
"""

import importlib.util
from collections.abc import Iterable
from typing import Any

import torch

from resources.errors import SultanaError


def check_quantization() -> None:
    """Raise SultanaError where QLoRA cannot run: without a CUDA device, or without bitsandbytes."""
    if not torch.cuda.is_available():
        raise SultanaError(
            "Method qlora keeps weights in 4 bits, which needs a CUDA device, and this machine has none",
            "Set method to lora, which trains the same adapters on weights of 16 bits",
            code="device-missing",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise SultanaError(
            "Method qlora keeps weights in 4 bits by bitsandbytes, which is not installed",
            "Install it: pip install 'sultana[qlora]'; or set method to lora",
            code="package-missing",
        )


def quantize_linear(model: Any, names: Iterable[str]) -> None:
    """Put 4-bit layers in the place of the linear layers `names`; products are in the dtype they had.

    Raises SultanaError for a layer that is no `torch.nn.Linear`.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name in names:
        linear = model.get_submodule(name)
        if type(linear) is not torch.nn.Linear:
            raise SultanaError(
                f"The layer {name} of {type(model).__name__} is a {type(linear).__name__}, which has no 4-bit form",
                "Set method to lora",
                code="model-unsuitable",
            )
        layer = Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=False,
            compute_dtype=linear.weight.dtype,
            quant_type="nf4",
            device="meta",
        )
        layer.weight = Params4bit(
            linear.weight.data.cpu(), requires_grad=False, quant_type="nf4", compress_statistics=True
        ).to(linear.weight.device)
        layer.bias = linear.bias
        model.set_submodule(name, layer)
    model.is_loaded_in_4bit = True
