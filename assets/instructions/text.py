"""A conversation as one text: what duplicates and contamination are looked for in."""

from collections.abc import Mapping, Sequence
from typing import Any


def conversation_text(messages: Sequence[Mapping[str, str]]) -> str:
    """The contents of the turns, one after the other, without system turns: many rows share those."""
    return "\n".join(turn["content"] for turn in messages if turn["role"] != "system")


def benchmark_texts(examples: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The texts that must not be trained on, and the id of the example that each is of.

    Each example is there twice: prompt with response, and prompt alone, since copies often bring
    reasoning of their own. `examples` have messages, response and example_id.
    """
    texts: list[str] = []
    ids: list[str] = []
    for example in examples:
        prompt = conversation_text(example["messages"])
        texts += [f"{prompt}\n{example['response']}", prompt]
        ids += [example["example_id"]] * 2
    return texts, ids
