"""A Llama of random weights, small enough for the mathematics of training to be tested exactly."""

from typing import Any

import numpy as np
import torch

from assets.finetuning.encoding import Encoded

VOCABULARY = 61


def tiny_llama(seed: int = 0) -> Any:
    """A float32 Llama: 3 layers, 32 wide, tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=128,
            tie_word_embeddings=True,
            initializer_range=0.2,
            bos_token_id=1,
            eos_token_id=2,
        )
        config._attn_implementation = "sdpa"
        return LlamaForCausalLM(config).eval()


def tiny_tokenizer() -> Any:
    """A tokenizer to save beside a model; rows of these tests are made of ids."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {str(number): number for number in range(VOCABULARY)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="0")), eos_token="2"
    )


def random_row(number: int, prompt: int | None = None, response: int | None = None) -> Encoded:
    """A row of random tokens; its response is trained whole."""
    generator = np.random.default_rng(number)
    prompt = int(generator.integers(2, 12)) if prompt is None else prompt
    response = int(generator.integers(2, 12)) if response is None else response
    ids = generator.integers(3, VOCABULARY, prompt + response).astype(np.int32)
    return Encoded(f"row-{number}", ids, np.arange(len(ids)) >= prompt, prompt)
