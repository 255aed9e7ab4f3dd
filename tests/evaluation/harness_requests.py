"""Requests of the harness, small enough for the embedded model to answer in a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

QUESTIONS = (
    ("What is the capital of France?", ("Paris", "London", "New York", "A city in Italy")),
    ("Which of these is a fruit?", ("an apple", "a hammer", "the sea")),
)


def choices() -> list[Any]:
    """Multiple choice by text and by letter, one with an empty context and one that ends in a space."""
    from lm_eval.api.instance import Instance

    pairs = [
        (f"Question: {question}\nAnswer:", f" {choice}") for question, found in QUESTIONS for choice in found
    ]
    pairs += [(f"Question: {QUESTIONS[0][0]}\nAnswer:", f" {letter}") for letter in "ABCD"]
    pairs += [("", "The capital"), ("Question: ", "What is")]
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


def texts(model: Any) -> list[Any]:
    """Prompts to continue, in the model's chat template, of unlike lengths and limits."""
    from lm_eval.api.instance import Instance

    settings: list[dict[str, Any]] = [
        {"until": ["."], "do_sample": False, "max_gen_toks": 12},
        {"until": ["."], "do_sample": False, "max_gen_toks": 12},
        {"until": [], "do_sample": False, "temperature": 0.0, "max_gen_toks": 6},
    ]
    asked = [QUESTIONS[0][0], f"{QUESTIONS[1][0]} Choose one and say why you chose it.", "Count to ten."]
    return [
        Instance(
            "generate_until",
            {},
            (model.apply_chat_template([{"role": "user", "content": text}]), given),
            number,
        )
        for number, (text, given) in enumerate(zip(asked, settings, strict=True))
    ]


@contextmanager
def untracked(label: str, total: float, unit: str) -> Iterator[Any]:
    """Progress that nobody watches."""
    from resources.progress import Progress

    yield Progress(label, total, unit, lambda text: None)
