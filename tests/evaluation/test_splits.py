"""Benchmark splits are disjoint, by prompt and by text."""

from typing import Any

from assets.evaluation.splits import make_splits, share_by_hash

WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
]


def example(prompt: str, response: str = "yes", task: str = "t") -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": prompt}],
        "response": response,
        "answer": response,
        "task": task,
        "source": "s",
        "file": "f",
        "position": 1,
    }


def long_prompt(number: int) -> str:
    return " ".join(f"{word}{number}" for word in WORDS)


def test_an_example_goes_to_the_highest_split_that_names_it() -> None:
    shared = example(long_prompt(1))
    splits = make_splits(
        {
            "test": [shared, example(long_prompt(2))],
            "early_stopping": [shared, example(long_prompt(3))],
            "reward": [
                example(long_prompt(2) + " indeed"),  # shares its text with a test row
                example(long_prompt(4)),
            ],
        },
        maximum_examples=0,
        n=8,
        threshold=0.5,
    )
    found = {(one["split"], one["messages"][0]["content"].split()[0]) for one in splits.examples}
    assert found == {("test", "one1"), ("test", "one2"), ("early_stopping", "one3"), ("reward", "one4")}
    assert splits.left_out == {
        ("same prompt as another example", "early_stopping"): 1,
        ("shares text with a higher split", "reward"): 1,
    }


def test_order_of_files_changes_nothing() -> None:
    rows = [example(long_prompt(number)) for number in range(40)]
    one = make_splits({"test": rows, "reward": []}, maximum_examples=10, n=8, threshold=0.5)
    two = make_splits({"test": rows[::-1], "reward": []}, maximum_examples=10, n=8, threshold=0.5)
    assert one.examples == two.examples and len(one.examples) == 10
    assert one.left_out == {("beyond maximum_examples", "test"): 30}


def test_a_share_by_hash_is_a_partition() -> None:
    rows = [example(long_prompt(number)) for number in range(400)]
    first, rest = share_by_hash(rows, 0.25)
    assert len(first) + len(rest) == 400 and 60 < len(first) < 140
    again, _ = share_by_hash(rows[::-1], 0.25)
    assert {str(one) for one in again} == {str(one) for one in first}
