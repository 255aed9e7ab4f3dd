"""Contamination: rows that hold a benchmark example, whole or in part."""

import gzip
import json
import random
from pathlib import Path

import pytest

from assets.instructions.contamination import COMMON_EXAMPLES, Collision, contaminated

WORDS = [f"word{number}" for number in range(3000)]


def text(rng: random.Random, length: int) -> str:
    return " ".join(rng.choices(WORDS, k=length))


def test_planted_examples_are_found_and_nothing_else() -> None:
    rng = random.Random(0)
    examples = [text(rng, rng.randint(20, 60)) for _ in range(100)]
    rows = [text(rng, 80) for _ in range(300)]
    for number in range(40):
        rows[number] = f"{text(rng, 10)}: {examples[number].upper()}! {text(rng, 10)}"
    found = contaminated(rows, [f"r{n:03}" for n in range(300)], examples, [f"e{n:03}" for n in range(100)])
    assert found == [Collision(f"r{n:03}", f"e{n:03}", 1.0) for n in range(40)]


def test_share_is_that_of_the_examples_ngrams() -> None:
    example = " ".join(WORDS[:27])  # 20 n-grams of 8 words
    row = " ".join(WORDS[:17]) + " and " + " ".join(WORDS[500:900])  # 10 of them
    assert contaminated([row], ["r"], [example], ["e"], threshold=0.5) == [Collision("r", "e", 0.5)]
    assert contaminated([row], ["r"], [example], ["e"], threshold=0.51) == []


def test_one_collision_a_row_the_largest_then_the_smallest_id() -> None:
    row = " ".join(WORDS[:40])
    examples = [" ".join(WORDS[:40]) + " x y", " ".join(WORDS[:30]), " ".join(WORDS[10:40])]
    assert contaminated([row], ["r"], examples, ["a", "c", "b"], threshold=0.1) == [Collision("r", "b", 1.0)]


def test_short_examples_must_occur_whole() -> None:
    rows = ["Well: what is 12 + 7, 19 you say", "what is 12 + 7 or 19", "yes", "oh yes indeed it is"]
    ids = ["inside", "apart", "equal", "longer"]
    found = contaminated(rows, ids, ["What is 12 + 7? 19", "Yes."], ["sum", "yes"])
    assert found == [Collision("equal", "yes", 1.0), Collision("inside", "sum", 1.0)]


def test_wording_that_many_examples_share_names_none() -> None:
    rng = random.Random(1)
    wording = text(rng, 40)
    examples = [f"{wording} {text(rng, 20)}" for _ in range(COMMON_EXAMPLES + 5)]
    ids = [f"e{number:02}" for number in range(len(examples))]
    rows = [f"{wording} {text(rng, 20)}", examples[3]]
    assert contaminated(rows, ["template", "copy"], examples, ids) == [Collision("copy", "e03", 1.0)]


def test_an_example_may_be_given_as_several_texts() -> None:
    rng = random.Random(2)
    prompt, response = text(rng, 30), text(rng, 40)
    row = f"{prompt}\n{text(rng, 50)}"
    assert contaminated([row], ["r"], [f"{prompt}\n{response}"], ["e"], threshold=0.7) == []
    several = contaminated([row], ["r"], [f"{prompt}\n{response}", prompt], ["e", "e"], threshold=0.7)
    assert several == [Collision("r", "e", 1.0)]


def test_order_of_rows_and_examples_changes_nothing() -> None:
    rng = random.Random(3)
    examples = [(f"e{number}", text(rng, 30)) for number in range(50)]
    rows = [(f"r{n}", one + " " + text(rng, 30)) for n, (_, one) in enumerate(examples)]
    expected = contaminated(
        [one for _, one in rows], [n for n, _ in rows], [one for _, one in examples], [n for n, _ in examples]
    )
    assert len(expected) == 50
    rng.shuffle(rows)
    rng.shuffle(examples)
    assert expected == contaminated(
        [one for _, one in rows], [n for n, _ in rows], [one for _, one in examples], [n for n, _ in examples]
    )


def test_nothing_to_compare_with() -> None:
    assert contaminated(["a row of text"], ["r"], [], []) == []
    assert contaminated([], [], ["an example that is long enough to look for"], ["e"]) == []
    assert contaminated(["", "?"], ["a", "b"], ["", "!"], ["c", "d"]) == []


@pytest.mark.slow
def test_training_rows_of_gsm8k_in_flan(shared_data: Path) -> None:
    def read(name: str) -> list[dict[str, str]]:
        with gzip.open(shared_data / name, "rb") as file:
            return [json.loads(line) for line in file]

    rows = read("instructions/flan_cot_33k.jsonl.gz")
    examples = read("benchmarks/gsm8k_train.jsonl.gz")
    found = contaminated(
        [f"{row['instruction']}\n{row['output']}" for row in rows],
        [str(number) for number in range(len(rows))],
        [example["question"] for example in examples],
        [str(number) for number in range(len(examples))],
        threshold=0.7,
    )
    assert len(found) > 0.99 * len(examples)
