"""A base model that loads at once, and an adapter for it that changes what it says."""

from pathlib import Path
from typing import Any

import torch

from resources.language_model import LanguageModel


def make_tiny_base(folder: Path, models_folder: Path, dtype: str = "float32") -> LanguageModel:
    """A Llama of random weights with the tokenizer of the embedded model, saved in `dtype`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = LanguageModel(folder=models_folder).load_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return LanguageModel(str(folder), dtype="float32")


def save_adapter(base: LanguageModel, folder: Path) -> Any:
    """An adapter saved by peft in `folder`; the base model with it, in evaluation mode."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    model = get_peft_model(
        base.load()[0], LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    model.peft_config["default"].base_model_name_or_path = base.fingerprint()
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    return model.eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """What the model says of some tokens, (1, 37, vocabulary)."""
    found: torch.Tensor = model(input_ids=torch.arange(3, 40)[None]).logits
    return found
