"""What a task and a row of the starter corpus are.

A row keeps the facts it was made from. `verify` derives the answer again from those facts, by another
route than the one that wrote the response, so that a row with a wrong answer can be told from a right
one without trusting its text.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.instructions.starter.drawing import Draw

LICENCE = "CC0-1.0"
Facts = dict[str, Any]
"""What a row is about: JSON values only, so that the marks can carry them."""

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Draft:
    """One exercise in words, before its register and its response style are chosen."""

    instruction: str
    answer: str
    input: str = ""
    sentence: str = ""  # the answer as a full sentence; empty: the task has none
    working: str = ""  # the steps to the answer; empty: the task has none
    noun: str = "answer"  # what the answer is, for a request such as "just the number"


@dataclass(frozen=True)
class Task:
    """A kind of exercise: how its facts are drawn, put into words and checked."""

    name: str
    family: str
    facts: Callable[[Draw], Facts]
    word: Callable[[Facts, Draw], Draft]
    check: Callable[[Facts, str], bool]  # (facts, response) -> is the response right?
    open_ended: bool = False  # several responses are right: no short answer to match


@dataclass(frozen=True)
class Check:
    """What one assistant turn must satisfy."""

    turn: int  # place of the assistant's message in the conversation, from 0
    task: str
    facts: Facts

    def key(self) -> str:
        """The parameters as one text; two rows with the same key are the same exercise."""
        return f"{self.task} {json.dumps(self.facts, sort_keys=True)}"


@dataclass(frozen=True)
class Row:
    """One row of the corpus, in no file shape yet."""

    task: str
    messages: tuple[tuple[str, str], ...]  # (role, content), the last one the assistant's
    answer: str | None  # the short answer; None: open-ended
    checks: tuple[Check, ...]
    instruction: str = ""  # single-turn rows: the two parts of the prompt
    input: str = ""

    @property
    def prompt(self) -> str:
        """The text of all turns but the last."""
        return "\n".join(content for role, content in self.messages[:-1] if role != "system")

    @property
    def response(self) -> str:
        """The text of the last turn."""
        return self.messages[-1][1]


def verify(checks: Sequence[Check], contents: Sequence[str], tasks: Mapping[str, Task]) -> bool:
    """Whether every checked turn is right. `contents`: the messages' texts, in order."""
    return all(tasks[check.task].check(check.facts, contents[check.turn]) for check in checks)


def closing_number(text: str) -> float | None:
    """The last number in a text, or None."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "").rstrip(".")) if found else None


def says_number(text: str, expected: float) -> bool:
    """Whether the last number of a text is `expected`."""
    number = closing_number(text)
    return number is not None and abs(number - expected) < 1e-6


def says(text: str, expected: str) -> bool:
    """Whether the last line of a text has `expected` as whole words (case is ignored)."""
    last = text.strip().rsplit("\n", 1)[-1].lower()
    return re.search(rf"(?<![\w-]){re.escape(expected.lower())}(?![\w-])", last) is not None


def says_one_of(text: str, expected: str, options: Sequence[str]) -> bool:
    """Whether the last sentence names `expected` and no other option that is not part of it."""
    last = re.split(r"(?<=[.!?])\s+|\n", text.strip())[-1]
    rivals = [option for option in options if option.lower() not in expected.lower()]
    return says(last, expected) and not any(says(last, rival) for rival in rivals)
