"""A model that is as it should be."""

import shutil
from pathlib import Path

import pytest
from small_models import tiny_llama
from tokenizers_of_families import byte_level, turns


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good") / "model"
    model = tiny_llama()
    model.save_pretrained(folder)
    tokenizer = byte_level(["<|end|>"], (), turns("<|", "|>", "<|end|>"), "<|end|>")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    shutil.copytree(good, tmp_path / "model")
    return tmp_path / "model"
