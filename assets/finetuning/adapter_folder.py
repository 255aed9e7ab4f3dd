"""What an adapter's configuration may say, settled before PEFT reads it.

Sultana writes adapters of one kind: low-rank, on layers that are listed by name. Whatever else PEFT's configuration
can ask for (a base model to fetch, layers chosen by a regular expression, layers multiplied, modules replaced,
classes to import) stays at its default, or the adapter is refused.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resources.errors import SultanaError
from resources.model_folder import read_settings
from resources.text import escape_terminal

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,127}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def _whole(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 0 <= value <= most


def _modules(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= 10_000
        and all(isinstance(one, str) and _MODULE.fullmatch(one) for one in value)
    )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1e6


_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "peft_type": lambda value: value == "LORA",
    "task_type": lambda value: value == "CAUSAL_LM",
    "peft_version": lambda value: isinstance(value, str) and len(value) < 64,
    "base_model_name_or_path": lambda value: isinstance(value, str) and bool(_FINGERPRINT.fullmatch(value)),
    "inference_mode": lambda value: isinstance(value, bool),
    "r": _whole(65_536),
    "lora_alpha": _number,
    "lora_dropout": lambda value: _number(value) and value < 1,
    "target_modules": _modules,
    "layers_to_transform": lambda value: (
        isinstance(value, list) and len(value) <= 10_000 and all(map(_whole(10_000), value))
    ),
    "layers_pattern": lambda value: isinstance(value, str) and bool(_MODULE.fullmatch(value)),
    "use_dora": lambda value: isinstance(value, bool),
    "fan_in_fan_out": lambda value: isinstance(value, bool),
}


def adapter_settings(folder: Path) -> dict[str, Any]:
    """The configuration of the adapter in `folder`.

    Raises SultanaError where it, or the folder's weights, are not as Sultana writes them.
    """
    from peft import LoraConfig

    found = read_settings(folder / ADAPTER_CONFIG)
    defaults = LoraConfig().to_dict()
    for key, value in found.items():
        fits = _ALLOWED.get(key)
        if key not in defaults or not (_same(value, defaults[key]) or (fits is not None and fits(value))):
            raise SultanaError(
                f"The adapter in {folder} says {escape_terminal(key, 60)} = {escape_terminal(repr(value), 60)}, "
                "which no adapter made here says",
                "Use an adapter that Sultana trained, as it was registered",
                code="adapter-settings",
            )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise SultanaError(
            f"The adapter in {folder} has no {ADAPTER_WEIGHTS}",
            "Use an adapter that Sultana trained, as it was registered",
            code="adapter-weights",
        )
    return found


def _same(value: Any, default: Any) -> bool:
    """Whether a value says nothing: it is the default, or empty."""
    return value is None or value == default or (value in ({}, []) and not default)
