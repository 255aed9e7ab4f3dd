"""A small model, where a test does not need the embedded one."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "finetuning"))

from small_models import tiny_llama


@pytest.fixture
def make_model() -> Callable[..., Any]:
    return tiny_llama
