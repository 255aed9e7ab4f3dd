"""What is trained and how it is stored: low-rank adapters in PEFT's format, or all weights, as safetensors."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from assets.finetuning.adapter_folder import ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_settings
from assets.finetuning.quantization import check_quantization, quantize_linear
from assets.finetuning.sharding import whole
from assets.finetuning.training_config import MethodName, TrainingConfig
from resources.errors import SultanaError


def layer_list(model: Any) -> tuple[str, int]:
    """The name of the model's list of layers, below the decoder, and its length."""
    for name, module in model.get_decoder().named_children():
        if isinstance(module, torch.nn.ModuleList):
            return name, len(module)
    raise SultanaError(
        f"{type(model).__name__} has no list of layers",
        "Set layers to 'all', or use another model",
        code="model-unsuitable",
    )


def _top_layers(model: Any, layers: int) -> tuple[str, list[int]]:
    name, count = layer_list(model)
    if not 1 <= layers <= count:
        raise SultanaError(
            f"layers is {layers}, but the model has {count}",
            f"Set layers to 'all' or to a number from 1 to {count}",
            code="setting-out-of-bounds",
        )
    return name, list(range(count - layers, count))


def prepare_model(
    model: Any, config: TrainingConfig, dtype: torch.dtype
) -> tuple[Any | None, torch.dtype | None]:
    """Make a model, in place, what `config` trains: PEFT's wrapper around it (None where all weights are
    trained), and the dtype of products where it is not that of the weights.

    Raises SultanaError where the method cannot run here or the model does not allow it.
    """
    if config.method == "full":
        # bfloat16 weights would lose most updates: keep float32 and take only the products in bfloat16.
        model.float()
        choose_trained(model, config.layers)
        return None, None if dtype == torch.float32 else dtype
    if config.method == "qlora":
        check_quantization()
    model.to(dtype)
    adapter = add_adapter(
        model,
        method=config.method,
        rank=config.rank,
        alpha=config.alpha,
        dropout=config.dropout,
        target_modules=config.target_modules,
        layers=config.layers,
        seed=config.seed,
    )
    return adapter, None


def add_adapter(
    model: Any,
    *,
    method: MethodName = "lora",
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: str | tuple[str, ...],
    layers: str | int,
    seed: int,
) -> Any:
    """Freeze the model and put low-rank adapters into it, in place; returns PEFT's wrapper around it.

    `method` is "lora" (arXiv 2106.09685), "dora", which trains the norm of each output's weights too
    (arXiv 2402.09353), or "qlora", LoRA on weights of 4 bits (arXiv 2305.14314). `target_modules` is
    "all-linear" (every linear layer but the head, GPT-2's Conv1D among them) or names of layers; `layers`
    is "all" or the number of layers from the top that get adapters, below which no gradient is computed.
    Adapter weights are float32 and depend on `seed` only, the norms on the model's weights.
    """
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    linear = {name.rsplit(".", 1)[-1] for name in found}
    names = sorted(linear) if target_modules == "all-linear" else list(target_modules)
    if isinstance(target_modules, str) and target_modules != "all-linear":
        names = [target_modules]
    if not linear:
        raise SultanaError(
            f"{type(model).__name__} has no linear layers for adapters",
            "Set method to full, or use another model",
            code="model-unsuitable",
        )
    if unknown := sorted(set(names) - linear):
        raise SultanaError(
            f"target_modules names {', '.join(unknown)}, which the model does not have",
            f"Choose among {', '.join(sorted(linear))}, or set all-linear",
            code="choice-unknown",
        )
    pattern, chosen = (None, None) if layers == "all" else _top_layers(model, int(layers))
    if method == "qlora":
        quantize_linear(model, [name for name in found if name.rsplit(".", 1)[-1] in linear])
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=names,
        layers_to_transform=chosen,
        layers_pattern=pattern,
        use_dora=method == "dora",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in found.values()),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _wrap(model, config)


def _wrap(model: Any, config: Any) -> Any:
    """PEFT's wrapper around a frozen model, with our forward and float32 adapters."""
    from peft import get_peft_model

    from assets.finetuning.fused_lora import FusedLoraLinear, restart_norms

    if not getattr(model, "is_loaded_in_4bit", False):
        config._register_custom_module({torch.nn.Linear: FusedLoraLinear})
    model.requires_grad_(False)
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 by a deprecated name; drop this when it no longer does.
        warnings.simplefilter("ignore", FutureWarning)
        try:
            wrapped = get_peft_model(model, config, autocast_adapter_dtype=False)
        except ValueError as error:
            raise SultanaError(
                f"PEFT puts no adapters into {type(model).__name__}: {error}",
                "Set method to full, or use another model",
                code="model-unsuitable",
            ) from error
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    if config.use_dora:
        restart_norms(wrapped)
    return wrapped


def choose_trained(model: Any, layers: str | int) -> None:
    """Mark what full fine-tuning trains: everything, or the top layers and the final normalisation.

    Raises SultanaError where `layers` is out of range.
    """
    if layers == "all":
        model.requires_grad_(True)
        return
    name, chosen = _top_layers(model, int(layers))
    body = model.get_decoder()
    model.requires_grad_(False)
    for place in chosen:
        getattr(body, name)[place].requires_grad_(True)
    for child, module in body.named_children():
        if "norm" in child:
            module.requires_grad_(True)


def checkpoint_layers(model: Any) -> None:
    """Keep only the inputs of layers in training, and compute the layers again in the backward.

    Saves most of the memory of a step's states (SmolLM2-135M with LoRA, 8 rows of 200 tokens on a CPU: 1.8 GB
    less of 3.0) for about a third more time (4.2 s for 3.1). Losses and gradients stay the
    same, also with frozen embeddings. Raises SultanaError where the model cannot do it.
    """
    if not model.supports_gradient_checkpointing:
        raise SultanaError(
            f"{type(model).__name__} cannot checkpoint its layers",
            "Set gradient_checkpointing to false",
            code="model-unsuitable",
        )
    with warnings.catch_warnings():
        # Deprecated in transformers 5.23 for a name that 5.3 does not have; drop this with that floor.
        warnings.simplefilter("ignore", FutureWarning)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # Meant for reentrant checkpoints: it would send gradients through frozen layers down to the embedding.
    model.disable_input_require_grads()


def adapter_state(wrapped: Any) -> dict[str, torch.Tensor]:
    """The adapter's weights by PEFT's names. Where layers are divided, all processes have to call this."""
    from peft import get_peft_model_state_dict

    found = get_peft_model_state_dict(wrapped)
    return {name: whole(tensor.detach()).to("cpu").contiguous() for name, tensor in sorted(found.items())}


def model_state(model: Any) -> dict[str, torch.Tensor]:
    """All weights by name, those of divided layers put together: all processes have to call this then."""
    return {name: whole(tensor.detach()) for name, tensor in model.state_dict().items()}


def save_adapter(wrapped: Any, state: dict[str, torch.Tensor], folder: Path, base_model: str) -> None:
    """Write an adapter in PEFT's format. `base_model` names the base: a fingerprint, never a local path."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = wrapped.peft_config["default"].to_dict()
    config["base_model_name_or_path"] = base_model
    config["inference_mode"] = True
    text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
    (folder / ADAPTER_CONFIG).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def save_model(
    model: Any, state: dict[str, torch.Tensor], tokenizer: Any, folder: Path, base_model: str
) -> None:
    """Write all weights, the configuration and the tokenizer as transformers reads them."""
    from resources.language_model import quiet_transformers

    model.config._name_or_path = base_model
    with quiet_transformers():
        model.save_pretrained(folder, state_dict=state)
        tokenizer.save_pretrained(folder)


def load_weights(language_model_pair: tuple[Any, Any], folder: Path) -> tuple[Any, Any]:
    """Put saved weights into a freshly loaded base model: (model, tokenizer), ready to evaluate.

    `folder` holds what `TrainingSession.save_weights` wrote. Raises SultanaError where it holds neither an
    adapter nor a model, or where the adapter does not fit the base model.
    """
    from peft import LoraConfig, set_peft_model_state_dict

    model, tokenizer = language_model_pair
    if (folder / ADAPTER_CONFIG).is_file():
        settings = adapter_settings(folder)
        settings["base_model_name_or_path"] = None  # it names a fingerprint, which PEFT would warn about
        wrapped = _wrap(model, LoraConfig(**settings))
        outcome = set_peft_model_state_dict(wrapped, load_file(folder / ADAPTER_WEIGHTS))
        missing = [name for name in outcome.missing_keys if "lora_" in name]
        if missing or outcome.unexpected_keys:
            raise SultanaError(
                f"The adapter in {folder} does not fit the base model: {len(missing)} weights missing, "
                f"{len(outcome.unexpected_keys)} unknown",
                "Evaluate it with the base model that it was trained on",
                code="base-model-differs",
            )
        return wrapped.get_base_model().eval(), tokenizer
    if (folder / "config.json").is_file():
        from resources.language_model import LanguageModel

        dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
        return LanguageModel(str(folder), folder=folder.parent, dtype=dtype).load()
    raise SultanaError(
        f"{folder} holds neither {ADAPTER_CONFIG} nor config.json",
        "Give the folder of a checkpoint's weights",
        code="model-folder-incomplete",
    )
