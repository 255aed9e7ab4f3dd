"""Texts continued together, in rows that are refilled, are those that each prompt gets alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from assets.evaluation.benchmarks import generation
from assets.evaluation.benchmarks.generation import cut, generate_until
from assets.evaluation.loaded import held


class Words:
    """A tokenizer of 61 words, as far as decoding goes."""

    eos_token_id = 2

    def decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        return "".join(f" w{token}" for token in tokens if token != 2)


def prompts(count: int) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(3, 61, int(generator.integers(1, 20))).tolist() for _ in range(count)]


def alone(model: Any, prompt: list[int], most: int) -> list[int]:
    """Greedy decoding without a cache."""
    ids = list(prompt)
    while len(ids) - len(prompt) < most:
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == 2:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_rows_that_are_refilled_change_nothing(
    make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(generation, "ROWS", {"cpu": rows, "cuda": rows})
    model, asked = make_model(), prompts(9)
    expected = [alone(model, prompt, 12) for prompt in asked]
    # Texts of unlike lengths: each ends with a word of its own, so that rows come free one by one.
    stop = f"w{expected[0][2]} "
    done: list[int] = []
    found = generate_until(
        held(model, Words()), asked, until=[stop, ""], maximum_new_tokens=12, on_texts=done.append
    )
    assert found == [cut(Words().decode(tokens), [stop]) for tokens in expected]
    assert sum(done) == len(asked)
    assert len({len(text) for text in found}) > 1


def test_a_text_ends_with_the_end_token(make_model: Callable[..., Any]) -> None:
    model, asked = make_model(), prompts(4)
    model.generation_config.eos_token_id = [alone(model, asked[0], 1)[0]]
    found = generate_until(held(model, Words()), asked, until=[], maximum_new_tokens=5)
    assert found[0] == Words().decode(model.generation_config.eos_token_id)


def test_other_caches_are_left_to_transformers() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=8,
            initializer_range=0.2,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).eval()
    asked = prompts(3)
    found = generate_until(held(model, Words()), asked, until=[], maximum_new_tokens=6)
    assert found == [Words().decode(alone(model, prompt, 6)) for prompt in asked]


def test_nothing_asked_gives_nothing(make_model: Callable[..., Any]) -> None:
    assert generate_until(held(make_model(), Words()), [], until=[], maximum_new_tokens=4) == []
