"""Questions that share text with rows that must not, or may not silently, have been seen before.

The test is that of the instructions (`contamination`): word n-grams, case and punctuation aside. Reward
rows and questions are compared both ways, since either may be the longer text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assets.evaluation.benchmarks.questions import Question
from assets.instructions.contamination import contaminated, overlapping_examples
from assets.instructions.text import benchmark_texts, conversation_text


def matching_reward(
    questions: Sequence[Question], reward: Sequence[Mapping[str, Any]], *, n: int, threshold: float
) -> set[str]:
    """Ids of the questions that hold a row of the reward split, or are held by one.

    `reward` are rows of BENCHMARK_SPLITS.
    """
    texts = [f"{conversation_text(row['messages'])}\n{row['response']}" for row in reward]
    held = set(_found(texts, questions, n, threshold))
    whole = [f"{one.prompt}\n{one.answer}" for one in questions]
    holding = contaminated(
        whole,
        [one.question_id for one in questions],
        *benchmark_texts(reward),
        n=n,
        threshold=threshold,
    )
    return held | {one.instruction_id for one in holding}


def trained_on(
    questions: Sequence[Question],
    conversations: Iterable[Sequence[Mapping[str, str]]],
    *,
    n: int,
    threshold: float,
) -> dict[str, float]:
    """Question id -> largest share of its n-grams that one conversation holds, where `threshold` is reached."""
    return _found([conversation_text(one) for one in conversations], questions, n, threshold)


def _found(texts: Sequence[str], questions: Sequence[Question], n: int, threshold: float) -> dict[str, float]:
    as_examples = [
        {
            "messages": [{"role": "user", "content": one.prompt}],
            "response": one.answer,
            "example_id": one.question_id,
        }
        for one in questions
    ]
    return overlapping_examples(texts, *benchmark_texts(as_examples), n=n, threshold=threshold)
