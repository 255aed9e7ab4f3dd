"""A few benchmark questions, in the layouts of the Hub's data sets and of the other files in circulation."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ARC = [
    {
        "id": "one",
        "question": "Which object is the hottest?",
        "choices": {"text": ["an ice cube", "the Sun", "a cup of tea"], "label": ["A", "B", "C"]},
        "answerKey": "B",
    },
    {
        "id": "two",
        "question": "What do plants need to make food?",
        "choices": {"text": ["sunlight", "sand", "plastic", "noise"], "label": ["1", "2", "3", "4"]},
        "answerKey": "1",
    },
]
ARC_REWORDED = [
    {
        "task": "ARC-Challenge",
        "instruction": "Please choose the correct answer to the question: Which object is the hottest?\n\n"
        "Answer1: an ice cube Answer2: the Sun Answer3: a cup of tea\n\n"
        "Answer format: answer1/answer2/answer3",
        "input": "",
        "output": "the correct answer is answer2",
        "answer": "answer2",
    },
    {
        "task": "ARC-Easy",
        "instruction": "Please choose the correct answer to the question: What do plants need to make food?\n\n"
        "Answer1: sunlight Answer2: sand Answer3: plastic Answer4: noise\n\n"
        "Answer format: answer1/answer2/answer3/answer4",
        "input": "",
        "output": "the correct answer is answer1",
        "answer": "answer1",
    },
]
COMMONSENSE = [
    {
        "id": "three",
        "question": " Where would you put a plate after washing it? ",
        "choices": {
            "text": ["cupboard", "garden", "river", "sky", "car"],
            "label": ["A", "B", "C", "D", "E"],
        },
        "answerKey": "A",
    }
]
COMMONSENSE_OF_ITS_AUTHORS = [
    {
        "answerKey": row["answerKey"],
        "id": row["id"],
        "question": {
            "question_concept": "plate",
            "stem": row["question"],
            "choices": [
                {"label": label, "text": text}
                for label, text in zip(row["choices"]["label"], row["choices"]["text"], strict=True)
            ],
        },
    }
    for row in COMMONSENSE
]
GSM8K = [
    {
        "question": f"Ann has {number} apples and buys 3 more. How many has she?",
        "answer": f"She has {number}+3=<<{number}+3={number + 3}>>{number + 3} apples.\n#### {number + 3}",
    }
    for number in (4, 5, 6, 7)
]
MMLU = [
    {
        "subject": "anatomy",
        "question": "Where is the femur?",
        "choices": ["In the leg", "In the arm", "In the head", "In the hand"],
        "answer": 0,
    },
    {
        "subject": "astronomy",
        "question": "Which planet is closest to the Sun?",
        "choices": ["Earth", "Mars", "Mercury", "Venus"],
        "answer": 2,
    },
]
IFEVAL = [
    {
        "key": 1,
        "prompt": "Name three colours. Use no commas.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{}],
    },
    {
        "key": 2,
        "prompt": "Write about tea in at least 2 words and mention milk.",
        "instruction_id_list": ["length_constraints:number_words", "keywords:existence"],
        "kwargs": [{"num_words": 2, "relation": "at least"}, {"keywords": ["milk"]}],
    },
]
HUMANEVAL = [
    {
        "task_id": "HumanEval/0",
        "prompt": 'def double(number):\n    """Twice the number."""\n',
        "entry_point": "double",
        "canonical_solution": "    return 2 * number\n",
        "test": "def check(candidate):\n    assert candidate(3) == 6\n    assert candidate(0) == 0\n",
    }
]
MBPP = [
    {
        "task_id": number,
        "text": f"Write a function to add {number}.",
        "code": f"def add(x):\r\n  return x + {number}",
        "test_setup_code": "",
        "test_list": [f"assert add({x}) == {x + number}" for x in (1, 2, 3)],
        "challenge_test_list": [],
    }
    for number in (2, 3, 4, 12, 700)
]


def written(folder: Path, name: str, rows: Sequence[dict[str, Any]]) -> str:
    """A gzipped JSON Lines file of the rows; its path."""
    path = folder / f"{name}.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
    return str(path)
