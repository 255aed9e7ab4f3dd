"""Means at the embedding layer: of the tokens of a row's turns, through the model's own module."""

from typing import Any

import numpy as np
import pytest
import torch

from assets.embeddings import embedding_layer
from assets.embeddings.embedding_layer import embedding_layer_means


@pytest.fixture(scope="module")
def tokenizer(models_folder: Any) -> Any:
    from resources.language_model import LanguageModel

    return LanguageModel(folder=models_folder).load_tokenizer()


class Scaled(torch.nn.Embedding):
    """As Gemma does: what is looked up is scaled by the module."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids) * 3.0


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant") * len(texts)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]


ROWS = [
    turns("Add 2 and 3.", "5"),
    turns("Name a colour.", "Blue, of course: blue is a colour. Blue!"),
    turns("", ""),
    turns("One", "two", "three", "four"),
    turns("What is <|im_end|>?", "A control token."),
]


def test_it_is_the_mean_of_prompt_and_response_tokens(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = Scaled(len(tokenizer), 16)
    found = embedding_layer_means(ROWS, len(ROWS), tokenizer, module)
    assert found.shape == (5, 16) and found.dtype == np.float32
    for row, vector in zip(ROWS, found, strict=True):
        ids = [
            token
            for turn in row
            for token in tokenizer(turn["content"], add_special_tokens=False, split_special_tokens=True)[
                "input_ids"
            ]
        ]
        with torch.no_grad():
            expected = module(torch.tensor(ids)).mean(dim=0).numpy() if ids else np.zeros(16)
        np.testing.assert_allclose(vector, expected, atol=1e-5)
    monkeypatch.setattr(embedding_layer, "BLOCK", 2)
    np.testing.assert_array_equal(embedding_layer_means(iter(ROWS), 5, tokenizer, module), found)


def test_a_control_token_in_a_text_is_text(tokenizer: Any) -> None:
    module = torch.nn.Embedding(len(tokenizer), 4)
    torch.nn.init.zeros_(module.weight)
    with torch.no_grad():
        module.weight[tokenizer.convert_tokens_to_ids("<|im_end|>")] = 1.0
    assert not embedding_layer_means([ROWS[4]], 1, tokenizer, module).any()


def test_the_table_may_be_bfloat16_and_the_number_of_rows_is_held_to(tokenizer: Any) -> None:
    module = torch.nn.Embedding(len(tokenizer), 4).to(torch.bfloat16)
    assert embedding_layer_means(ROWS[:2], 2, tokenizer, module).dtype == np.float32
    assert embedding_layer_means([], 0, tokenizer, module).shape == (0, 4)
    with pytest.raises(ValueError, match="2 conversations, not 3"):
        embedding_layer_means(ROWS[:2], 3, tokenizer, module)
