"""The three benchmark splits: disjoint by id and free of each other's n-grams.

Test outranks early stopping, which outranks reward: an example that shares its text with one of a higher
split leaves the lower split, so that nothing tuned on ever meets what is scored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.identity import digest, example_id
from assets.instructions.contamination import contaminated
from assets.instructions.text import benchmark_texts, conversation_text

PRIORITY = ("test", "early_stopping", "reward")


@dataclass(frozen=True)
class Splits:
    """Rows of BENCHMARK_SPLITS sorted by id, and what was left out: (reason, split) -> examples."""

    examples: list[dict[str, Any]]
    left_out: dict[tuple[str, str], int]


def prompt_digest(example: Mapping[str, Any]) -> str:
    """What tells prompts apart: a hash of roles and contents."""
    return digest([[turn["role"], turn["content"]] for turn in example["messages"]])


def _text(example: Mapping[str, Any]) -> str:
    return f"{conversation_text(example['messages'])}\n{example['response']}"


def share_by_hash(examples: Iterable[Mapping[str, Any]], share: float) -> tuple[list[Any], list[Any]]:
    """Splits examples in two by the hash of their prompt: (`share` of them, the rest)."""
    first: list[Any] = []
    rest: list[Any] = []
    for example in examples:
        (first if int(prompt_digest(example)[:8], 16) < share * 2**32 else rest).append(example)
    return first, rest


def sharing_text(
    lower: Mapping[str, Mapping[str, Any]],
    higher: Sequence[Mapping[str, Any]],
    *,
    n: int,
    threshold: float,
) -> list[str]:
    """The ids among `lower` (id -> example) whose text holds an example of `higher`, as `contaminated` finds it."""
    ids = sorted(lower)
    found = contaminated(
        [_text(lower[key]) for key in ids], ids, *benchmark_texts(higher), n=n, threshold=threshold
    )
    return [one.instruction_id for one in found]


def make_splits(
    found: Mapping[str, Sequence[Mapping[str, Any]]], *, maximum_examples: int, n: int, threshold: float
) -> Splits:
    """Disjoint splits from examples read per split.

    `found` maps a split to examples with the keys messages, response, answer, task, source, file and
    position. `maximum_examples` per split (0: all) are chosen by hash; `n` and `threshold` are those of
    `contaminated`.
    """
    left_out: dict[tuple[str, str], int] = {}

    def leave_out(reason: str, split: str) -> None:
        left_out[reason, split] = left_out.get((reason, split), 0) + 1

    prompts: set[str] = set()
    chosen: dict[str, list[dict[str, Any]]] = {}
    higher: list[dict[str, Any]] = []
    for split in PRIORITY:
        kept: dict[str, dict[str, Any]] = {}
        for example in found.get(split, ()):
            prompt = prompt_digest(example)
            if prompt in prompts:
                leave_out("same prompt as another example", split)
                continue
            prompts.add(prompt)
            key = example_id(split, example["messages"], example["response"])
            kept[key] = {
                **example,
                "example_id": key,
                "split": split,
                "task": example["task"] or "no task label",
            }
        for key in sharing_text(kept, higher, n=n, threshold=threshold):
            del kept[key]
            leave_out("shares text with a higher split", split)
        # Ids are hashes, so the first in order are a random choice that never depends on file order.
        ids = sorted(kept)
        if maximum_examples:
            for _ in ids[maximum_examples:]:
                leave_out("beyond maximum_examples", split)
            ids = ids[:maximum_examples]
        chosen[split] = [kept[key] for key in ids]
        higher += chosen[split]
    examples = sorted(
        (example for rows in chosen.values() for example in rows), key=lambda row: row["example_id"]
    )
    return Splits(examples, left_out)
