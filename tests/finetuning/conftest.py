"""A small model and rows for it, where a test does not need the embedded one."""

from collections.abc import Callable
from typing import Any

import pytest
from small_models import random_row, tiny_llama

from assets.finetuning.encoding import Encoded


@pytest.fixture
def make_model() -> Callable[..., Any]:
    return tiny_llama


@pytest.fixture
def make_row() -> Callable[..., Encoded]:
    return random_row
