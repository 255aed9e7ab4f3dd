"""The reward sets: what strategies that select for something are shown of the benchmarks' train sides."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from assets.identity import digest
from tests.experiments.benchmarks import (
    STARTER,
    Question,
    apart_from,
    first_by_hash,
    reward_questions,
    scored_questions,
    shared_folder,
)
from tests.experiments.cache import Cache
from tests.experiments.measure import worded

REWARDS: dict[str, tuple[str, ...]] = {
    "gsm8k": ("GSM8K",),
    "arc": ("ARC-Challenge",),
    "commonsenseqa": ("CommonsenseQA",),
    "mmlu": ("MMLU",),
    "union": ("ARC-Challenge", "CommonsenseQA", "GSM8K", "MMLU"),
    STARTER: (STARTER,),
}
"""The benchmarks that each reward set is of, in equal shares; the same benchmarks are what it is scored on."""
VERSION = "1"


def reward_set(name: str, examples: int, cache: Cache) -> list[Question]:
    """At most `examples` questions of the train side that hold no question of the test side."""
    wanted = REWARDS[name]
    share = max(1, examples // len(wanted))

    def make() -> list[dict[str, Any]]:
        given = [
            one for one in reward_questions(cache.folder, starter=name == STARTER) if one.benchmark in wanted
        ]
        scored = scored_questions(cache.folder, starter=name == STARTER)
        # More than are needed, since some may hold a scored question.
        return [
            asdict(one) for one in first_by_hash(apart_from(first_by_hash(given, 4 * share), scored), share)
        ]

    return _questions(cache.json("reward", [VERSION, name, examples], make))


def scored_set(examples: int, cache: Cache, *, starter: bool = False) -> list[Question]:
    """At most `examples` questions of the test side of each benchmark."""

    def make() -> list[dict[str, Any]]:
        return [
            asdict(one) for one in first_by_hash(scored_questions(cache.folder, starter=starter), examples)
        ]

    return _questions(cache.json("test", [VERSION, examples, starter or shared_folder() is None], make))


def as_split(asked: list[Question]) -> list[Mapping[str, Any]]:
    """The questions as rows of the split `reward`."""
    rows: list[Mapping[str, Any]] = []
    for number, one in enumerate(asked):
        prompt, response = worded(one)
        rows.append(
            {
                "example_id": f"{number:06d}-{digest(one.text)[:8]}",
                "task": one.benchmark,
                "messages": [{"role": "user", "content": prompt}],
                "response": response,
                "answer": one.answer,
            }
        )
    return rows


def _questions(rows: list[dict[str, Any]]) -> list[Question]:
    return [Question(**(row | {"choices": tuple(row["choices"])})) for row in rows]
