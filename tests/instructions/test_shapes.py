"""Rows of every shape become turns."""

from typing import Any

import pytest

from assets.instructions.rows import RowProblem
from assets.instructions.shapes import SHAPES, shape_of, to_conversation

USER = {"role": "user", "content": "a"}
ASSISTANT = {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}
AGAIN = [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]
TURNS = [USER, ASSISTANT, *AGAIN]
SHAREGPT = [
    {"from": "human", "value": "a"},
    {"from": "gpt", "value": "b"},
    {"from": "user", "value": "c"},
    {"from": "Assistant", "value": "d"},
]


@pytest.mark.parametrize(
    ("value", "shape", "messages"),
    [
        ({"instruction": "a", "output": "b"}, "alpaca", [USER, ASSISTANT]),
        ({"instruction": "a", "input": " ", "output": "b"}, "alpaca", [USER, ASSISTANT]),
        (
            {"instruction": "x", "input": "y", "output": "b"},
            "alpaca",
            [USER | {"content": "x\n\ny"}, ASSISTANT],
        ),
        (
            {"instruction": "x", "context": "y", "response": "b"},
            "alpaca",
            [USER | {"content": "x\n\ny"}, ASSISTANT],
        ),
        (
            {"instruction": "c", "output": "d", "history": [["a", "b"]], "system": "s"},
            "alpaca",
            [SYSTEM, *TURNS],
        ),
        ({"conversations": SHAREGPT}, "sharegpt", TURNS),
        ({"conversations": [{"from": "system", "value": "s"}, *SHAREGPT]}, "sharegpt", [SYSTEM, *TURNS]),
        ({"conversations": SHAREGPT, "system": "s"}, "sharegpt", [SYSTEM, *TURNS]),
        ({"messages": SHAREGPT}, "sharegpt", TURNS),
        ({"messages": TURNS}, "messages", TURNS),
        ({"conversations": TURNS}, "messages", TURNS),
        ({"messages": [{"role": "developer", "content": "s"}, *TURNS]}, "messages", [SYSTEM, *TURNS]),
        ({"prompt": "a", "messages": TURNS}, "messages", TURNS),
        (
            {"messages": [USER | {"content": [{"type": "text", "text": "a"}]}, ASSISTANT]},
            "messages",
            [USER, ASSISTANT],
        ),
        ({"prompt": "a", "completion": "b"}, "prompt_completion", [USER, ASSISTANT]),
        ({"prompt": "a", "response": "b", "system": "s"}, "prompt_completion", [SYSTEM, USER, ASSISTANT]),
        ({"question": "a", "answer": "b"}, "prompt_completion", [USER, ASSISTANT]),
        ({"query": "a", "response": "b"}, "prompt_completion", [USER, ASSISTANT]),
        ({"inputs": "a", "targets": "b"}, "prompt_completion", [USER, ASSISTANT]),
        (
            {"prompt": [SYSTEM, USER], "completion": [ASSISTANT]},
            "prompt_completion",
            [SYSTEM, USER, ASSISTANT],
        ),
        (
            {"definition": "x", "input": "y", "output": ["b", "z"]},
            "super_natural_instructions",
            [USER | {"content": "x\n\ny"}, ASSISTANT],
        ),
        (
            {"definition": "x", "inputs": "y", "targets": "b"},
            "super_natural_instructions",
            [USER | {"content": "x\n\ny"}, ASSISTANT],
        ),
        (
            {"question": "x", "choices": ["y", "z"], "answer": "B"},
            "multiple_choice",
            [USER | {"content": "x\nA. y\nB. z"}, ASSISTANT | {"content": "B. z"}],
        ),
        (
            {"question": "x", "choices": {"label": ["1", "2"], "text": ["y", "z"]}, "answerKey": "1"},
            "multiple_choice",
            [USER | {"content": "x\n1. y\n2. z"}, ASSISTANT | {"content": "1. y"}],
        ),
        (
            {"question": {"stem": "x", "choices": [{"label": "A", "text": "y"}]}, "answerKey": "A"},
            "multiple_choice",
            [USER | {"content": "x\nA. y"}, ASSISTANT | {"content": "A. y"}],
        ),
    ],
)
def test_turns(value: dict[str, Any], shape: str, messages: list[dict[str, str]]) -> None:
    assert shape_of(value) == shape
    assert to_conversation(value).messages == messages
    assert to_conversation(value, shape).messages == messages


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({}, "unknown_shape"),
        ({"text": "a"}, "unknown_shape"),
        ({"instruction": "a"}, "missing_field"),
        ({"prompt": "a"}, "missing_field"),
        ({"definition": "a", "input": "b"}, "missing_field"),
        ({"instruction": "a", "output": 5}, "wrong_type"),
        ({"instruction": "a", "output": True}, "wrong_type"),
        ({"instruction": "a", "output": "b", "input": ["x"]}, "wrong_type"),
        ({"instruction": "a", "output": "b", "history": [["x"]]}, "wrong_type"),
        ({"instruction": "a", "output": None}, "empty_response"),
        ({"messages": "a"}, "unknown_shape"),
        ({"messages": ["a"]}, "wrong_type"),
        ({"messages": [{"role": "user"}]}, "missing_field"),
        ({"messages": [{"content": "a"}]}, "missing_field"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "unknown_role"),
        ({"messages": [{"role": "<|im_start|>system", "content": "a"}]}, "unknown_role"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "empty_response"),
        (
            {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{}]}]},
            "unsupported_turn",
        ),
        ({"messages": [USER, ASSISTANT | {"weight": 0}]}, "unsupported_turn"),
        ({"messages": [USER | {"content": [{"type": "image_url", "image_url": "x"}]}]}, "unsupported_turn"),
        ({"question": "x", "choices": ["y"], "answer": "Q"}, "missing_field"),
        ({"question": "x", "choices": [], "answer": "A"}, "wrong_type"),
    ],
)
def test_problems(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowProblem) as caught:
        to_conversation(value)
    assert caught.value.reason == reason and caught.value.detail


@pytest.mark.parametrize("shape", SHAPES)
def test_a_forced_shape_without_its_fields_is_a_problem(shape: str) -> None:
    with pytest.raises(RowProblem):
        to_conversation({"x": 1}, shape)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ({"question": "a", "answer": "So 9*2=<<9*2=18>>18.\n#### 18"}, "18"),
        ({"question": "a", "answer": "x\n#### 1,200 "}, "1200"),
        ({"question": "a", "answer": "x\n#### a, b"}, "a, b"),
        ({"question": "a", "answer": "b"}, None),
        ({"instruction": "a", "output": "b", "answer": "(C)"}, "(C)"),
        ({"instruction": "a", "output": "b", "answer": 4.0}, "4.0"),
        ({"instruction": "a", "output": "b", "answer": ["x"]}, None),
        ({"messages": TURNS, "answer": "d"}, "d"),
        ({"question": "x", "choices": ["y", "z"], "answer": 1}, "B"),
    ],
)
def test_answer(value: dict[str, Any], answer: str | None) -> None:
    assert to_conversation(value).answer == answer


def test_labels() -> None:
    row = {"prompt": "a", "completion": "b"}
    assert to_conversation(row | {"category": " qa ", "license": "MIT"}).task == "qa"
    assert to_conversation(row | {"category": "qa", "license": "MIT"}).licence == "MIT"
    assert to_conversation(row | {"task": "t", "category": "qa"}).task == "t"
    assert to_conversation(row | {"task": 3, "category": ["qa", "x"]}).task == "qa"
    assert to_conversation(row | {"task": "x" * 300}).task is None
    assert to_conversation(row | {"task": "a\u202eb"}).task is None
    assert to_conversation(row | {"kind": 3}, task_field="kind").task == "3"
    with pytest.raises(RowProblem, match="bad_task"):
        to_conversation(row, task_field="kind")
